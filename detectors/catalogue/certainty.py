"""Lower ends of intervals, plain numbers, and mixtures: where a share of few, or one among cover traffic, would mislead."""

from __future__ import annotations

from detectors.catalogue.feature import WORDLESS, Feature, count, floor, share

CERTAINTY: tuple[Feature, ...] = (
    # --- Sure shares and plain numbers: where a share of few would mislead, or where cover traffic thins a share out
    floor("elicitation", "ask for the reasoning to be written out", "tutors, explanation products, prompt engineers"),
    floor("answer_supplied", "ask for the reasoning behind an answer they bring along", "explanation products, graders"),
    floor("judge", "have something graded", "evaluation vendors, moderation"),
    floor("task_generation", "make tasks, personas or dialogues", "education, content, test data"),
    floor("rewrite", "have a text rewritten, cleaned or made harder", "document tools, editors, localisation"),
    count(
        "answers_supplied", "number of exchanges that bring a finished answer along and ask for the reasoning behind it",
        "explanation products, graders", "drop the labels: free, but confuses the model",
        "AA26-251A: the reasoning behind a finished answer",
    ),
    count(
        "constant_forced_answers",
        "number of answers that begin with a tag asked for, under an output contract that earlier ones had too",
        "products that parse tags", "a contract per request: a parser each", "disclosed campaigns: reasoning in tags",
    ),
    count(
        "items_repeated", "number of different requests that were asked more than once",
        "self-consistency users, evaluations with repeats, monitoring", "spread the repeats over keys: free",
        "RFT, arXiv 2308.01825: k answers to each question",
    ),
    share(
        "repeat_exactness", "high",
        "of the exchanges that were asked more than once, the share asked exactly k times, for the most common k",
        "self-consistency users, evaluations with repeats", "vary k: free", "RFT, arXiv 2308.01825",
        "fewer than ten exchanges that were asked more than once",
    ),
    share(
        "judged_near_share", "high",
        "of the exchanges that have something graded, the share that resembles one of the last 32: candidates for one "
        "question come in bursts",
        "evaluation vendors", "shuffle the candidates: free", "disclosed campaigns: the model as a reward model",
        "fewer than five exchanges that have something graded",
    ),
    # --- Contents, more of them
    Feature(
        "harvest_spread", "log ratio", 0.0, 16.0, "400 exchanges", "both", "linear",
        "standard deviation of how like a harvest's its exchanges are, one by one: a mixture with cover spreads it",
        WORDLESS, "aggregators, agencies", "one pool per key: cheap",
        "the shipped ratio, see the card of artefact harvest",
    ),
    share(
        "harvest_low_share", "low", "share of exchanges that harvesters send at most e⁻² times as often as others",
        "pipelines with forms of their own", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", WORDLESS,
    ),
    share(
        "harvest_top_share", "high", "share of exchanges that harvesters send at least e⁶ times as often as others",
        "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", WORDLESS,
    ),
    Feature(
        "harvest_recent_mean", "log ratio", -16.0, 16.0, "100 exchanges", "high", "linear",
        "mean likeness of its last exchanges to those of harvests", WORDLESS, "evaluations, contracted data making",
        "cover traffic: its price", "the shipped ratio, see the card of artefact harvest",
    ),
    Feature(
        "topic_shift", "distance", -1.0, 4.0, "100 against 1,600 exchanges", "high", "linear",
        "squared kernel distance of the last exchanges from the long mean, less what chance makes of it",
        "fewer than 300 exchanges with text", "launches, new end users", "drift slowly: time",
        "kernel mean embeddings, Gretton et al., JMLR 2012",
    ),
    share(
        "topic_evenness", "both", "entropy of the exchanges over 64 regions of meaning, over its maximum",
        "search and chat (even), pipelines (uneven)", "a narrow harvest: worth less",
        "disclosed campaigns: breadth, then one capability", "fewer than 20 exchanges with text",
    ),
    share(
        "topic_top_share", "both", "share of exchanges in the most common of 64 regions of meaning",
        "pipelines (most), search and chat (few)", "mix pools on a key: cheap", "disclosed campaigns: one capability",
        "fewer than 20 exchanges with text",
    ),
)  # fmt: skip
