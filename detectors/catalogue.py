"""The catalogue of features: what each number means, and how far it may be trusted.

Order is the column order of every feature matrix. A feature is removed or changes its meaning only together with
`CATALOGUE_VERSION`, so that a model fitted on one meaning is never fed another.

`raises` names honest customers who move it to the suspicious side; `fakes` says what it costs an attacker to move it back.
`source` names a paper, the joint advisory AA26-251A of CISA, NSA and FBI (2026), or the campaigns that model providers
disclosed in 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

CATALOGUE_VERSION = "2"

Side = Literal["high", "low", "both"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column.

    Attributes:
        name: stable identifier.
        unit: of the value.
        low: smallest possible value.
        high: largest possible value; inf when unbounded.
        window: what time it looks back on.
        suspicious: side on which harvesting is expected.
        scale: "log" when values span orders of magnitude and should be compared by ratio, else "linear".
        meaning: what it measures.
        absent: when it is undefined.
        raises: honest customers on its suspicious side.
        fakes: what moves it back, and at what cost.
        source: where it comes from.
        scope: what it is computed for.
    """

    name: str
    unit: str
    low: float
    high: float
    window: str
    suspicious: Side
    scale: Literal["linear", "log"]
    meaning: str
    absent: str
    raises: str
    fakes: str
    source: str
    scope: str = "key"


_FEW = "fewer than five answered exchanges that write text in the window"
_NEVER = "never"
_WORDLESS = "fewer than five exchanges with text"
_UNJUDGED = (
    "it brings no reasoning back, it is the key of an organisation (which is judged), or it cannot be known yet what it "
    "was given: see `detectors.profile.provenance`"
)


def _share(name: str, side: Side, meaning: str, raises: str, fakes: str, source: str, absent: str = _FEW) -> Feature:
    return Feature(name, "share", 0.0, 1.0, "7 d", side, "linear", meaning, absent, raises, fakes, source)


def _floor(name: str, what: str, raises: str) -> Feature:
    return _share(
        f"{name}_floor", "high", f"lower end of the 95 % interval of the share of exchanges that {what}", raises,
        "cover traffic: its price", "Wilson 1927; disclosed campaigns",
    )  # fmt: skip


def _count(name: str, meaning: str, raises: str, fakes: str, source: str) -> Feature:
    return Feature(name, "exchanges", 0.0, inf, "7 d", "high", "log", meaning, _NEVER, raises, fakes, source)


CATALOGUE: tuple[Feature, ...] = (
    # --- Volume and rhythm
    Feature(
        "requests_1h", "requests", 0.0, inf, "1 h", "high", "log",
        "number of exchanges in the last hour, decayed",
        _NEVER, "every bulk customer", "more keys: free", "velocity rules of card-testing defences",
    ),
    Feature(
        "requests_24h", "requests", 0.0, inf, "24 h", "high", "log",
        "number of exchanges in the last day, decayed",
        _NEVER, "every bulk customer", "more keys: free", "velocity rules of card-testing defences",
    ),
    Feature(
        "ramp_ratio", "share", 0.0, 1.0, "life", "high", "linear",
        "share of its highest hourly volume that the key had already reached in its first hour: near 1 without any ramp",
        "the key was made over three days before it was first seen, or it is unknown when, or it has under 20 exchanges",
        "migrations of a running workload to a new key", "a day of warming up per key: cheap", "AA26-251A: no ramp",
    ),
    Feature(
        "interarrival_cv", "ratio", 0.0, inf, "24 h", "low", "log",
        "standard deviation of the gaps between exchanges over their mean; 1 for a Poisson stream",
        "fewer than ten gaps", "cron jobs, rate-limited batch clients", "jitter: free", "ServeGen, arXiv 2505.09999",
    ),
    Feature(
        "interarrival_regularity", "share", 0.0, 1.0, "24 h", "high", "linear",
        "regularity of the gaps between exchanges: exp(−standard deviation of their logarithm); 1: a metronome",
        "fewer than ten gaps", "cron jobs, rate-limited batch clients", "jitter: free", "ServeGen, arXiv 2505.09999",
    ),
    Feature(
        "circadian_flatness", "share", 0.0, 1.0, "7 d", "high", "linear",
        "entropy of the active hours over the hours of the day, over its maximum; 1 when every hour is used alike",
        "active over less than 24 hours or in fewer than six of them",
        "11–23 % of bulk clients, worldwide products, monitoring", "sleep eight hours: free",
        "AA26-251A: round-the-clock use; ServeGen",
    ),
    Feature(
        "longest_idle_h", "hours", 0.0, 168.0, "7 d", "low", "linear",
        "longest run of whole clock hours without an exchange between two active ones",
        "active over less than 24 hours", "worldwide products, monitoring", "sleep eight hours: free",
        "AA26-251A: round-the-clock use; ServeGen",
    ),
    # --- Templates
    Feature(
        "skeleton_entropy", "share", 0.0, 1.0, "7 d", "low", "linear",
        "entropy of the head or the tail of the last user turn (whichever varies less), over its maximum",
        _FEW, "classifiers, pipelines, every product that wraps user input",
        "a paraphrase per request: an extra model call each", "disclosed campaigns: one template on many keys",
    ),
    _share(
        "skeleton_top_share", "high",
        "share of exchanges that carry the most common constant element: system prompt, head, tail or a shingle",
        "products with one system prompt, pipelines", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one template on many keys",
    ),
    _share(
        "user_top_share", "high",
        "share of exchanges with the most common head, tail or shingle of the last user turn: a fragment put there shows",
        "pipelines, graders, starter templates", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one fragment in every request",
    ),
    _share(
        "slot_novelty", "high",
        "share of different contents among the exchanges under a common skeleton",
        "document pipelines, localisation, products", "ask again: costs tokens",
        "Persona Hub, arXiv 2406.20094: a slot that never repeats",
        "fewer than five exchanges under a skeleton",
    ),
    _share(
        "near_duplicate_rate", "low",
        "share of exchanges that resemble one of the last 32 (0.7 in excess of the template they share), exact repeats "
        "left out; "
        "deduplicated pools show none",
        "translators, people who ask each thing once", "near-copies: costs tokens",
        "Self-Instruct, arXiv 2212.10560: deduplicated pools",
    ),
    _share(
        "multiplicity_peak", "high",
        "share of exchanges asking for several samples, or being the k-th of exactly k equal requests for the most common "
        "k ≥ 2",
        "self-consistency users, evaluations with repeats", "spread the repeats over keys: free",
        "RFT, arXiv 2308.01825: k answers to each question",
    ),
    _share(
        "contract_top_share", "high",
        "share of exchanges with the most common output contract (tags, JSON keys, headings, schema, tools asked for)",
        "every structured pipeline, agents with one tool set", "a parser per contract: cheap, but each loses answers",
        "disclosed campaigns: an answer that a parser can read",
    ),
    # --- Shape
    _share(
        "single_turn_ratio", "high",
        "share of exchanges that hold one user turn and no earlier answer",
        "pipelines, evaluators, editors", "fake history: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "mean_turn_depth", "turns", 1.0, 65.0, "7 d", "both", "log",
        "mean number of answers an exchange would bring the conversation to",
        _FEW, "agents (deep), pipelines (flat)", "fake history: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "output_input_ratio", "ratio", 0.0, inf, "7 d", "high", "log",
        "ratio of output tokens to input tokens", _FEW, "writers, code generation, reasoning models",
        "longer prompts: costs input tokens",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    Feature(
        "output_tokens_mean", "tokens", 0.0, inf, "7 d", "high", "log",
        "mean output tokens of an answer", _FEW, "writers, code generation, reasoning models", "short answers: worth less",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    Feature(
        "input_tokens_mean", "tokens", 0.0, inf, "7 d", "both", "log",
        "mean input tokens of an exchange", _FEW, "retrieval (long), chat (short)", "padding: costs input tokens",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    _share(
        "max_tokens_hugging", "high",
        "share of the exchanges with a token limit whose answer fills it",
        "editors, classifiers with tiny limits", "a higher limit: free", "Alpaca, Self-Instruct: little in, much out",
        "fewer than five exchanges with a limit",
    ),
    Feature(
        "parameter_entropy", "bits", 0.0, 16.0, "7 d", "both", "linear",
        "entropy of the sampling settings (temperature, top_p, n, octave of max_tokens, logprobs, format, effort)",
        _FEW, "playgrounds (high), every program (low)", "copy honest settings: free",
        "Alpaca, Self-Instruct: one setting for all",
    ),
    # --- Logits and samples
    _share(
        "logprobs_share", "high", "share of exchanges that ask for log-probabilities", "label classifiers, evaluations",
        "none: without them there is no logit to take", "Carlini et al., arXiv 2403.06634",
    ),
    _share(
        "logit_bias_share", "high", "share of exchanges with a logit bias", "label classifiers with one fixed map",
        "none where logprobs are capped", "Carlini et al., arXiv 2403.06634",
    ),
    Feature(
        "logit_bias_diversity", "maps", 0.0, inf, "life", "high", "log",
        "number of different bias maps ever sent; error 10 % above eight",
        "no bias was ever sent", "hardly any: a product has one map or a few", "none: the attack needs thousands",
        "Finlayson et al., arXiv 2403.09539",
    ),
    Feature(
        "samples_mean", "samples", 1.0, 128.0, "7 d", "high", "log",
        "mean number of samples asked for (n)", _FEW, "self-consistency users, evaluations",
        "repeat the request instead: input tokens", "RFT, arXiv 2308.01825: k answers to each question",
    ),
    # --- Intents
    _share(
        "elicitation_share", "high",
        "share of exchanges that ask for the reasoning to be written out, in a form or in words",
        "tutors, audit and explanation products, prompt engineers", "answers without reasoning: worth less",
        "disclosed campaigns: reasoning demanded",
    ),
    _share(
        "elicitation_constancy", "high",
        "share of the exchanges that ask for reasoning which carry the most common constant element among them",
        "audit and explanation products", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one fragment in every request",
        "fewer than five eliciting exchanges in the window",
    ),
    _share(
        "answer_supplied_share", "high",
        "share of exchanges that bring a finished answer along and ask for the reasoning behind it",
        "audit and explanation products, graders", "drop the labels: free, but confuses the model",
        "AA26-251A: the reasoning behind a finished answer",
    ),
    _share(
        "judge_share", "high",
        "share of exchanges that have something graded: a scale or grading words, and a verdict-sized answer",
        "evaluation vendors, moderation", "ask for long verdicts: costs output tokens",
        "disclosed campaigns: the model as a reward model",
    ),
    _share(
        "task_generation_share", "high",
        "share of exchanges that make tasks, personas or dialogues: a numbered list continued, two speakers written, or "
        "asked in words",
        "education, content, test data", "one item per call, plain wording: cheap",
        "Self-Instruct, arXiv 2212.10560; Baize, arXiv 2304.01196",
    ),
    _share(
        "rewrite_share", "high", "share of exchanges that have a text rewritten, cleaned or made harder",
        "document tools, editors, localisation", "plain wording: cheap", "Evol-Instruct, arXiv 2304.12244",
    ),
    Feature(
        "probe_refusals", "skeletons", 0.0, inf, "24 h", "high", "log",
        "number of different skeletons that were refused, decayed",
        _NEVER, "red teams, safety researchers, abusive end users of a product",
        "probe elsewhere: another account", "disclosed campaigns: the probe phase",
    ),
    _share(
        "answer_tag_share", "high", "share of answers that begin with a tag",
        "prompt-engineered products that parse tags", "another delimiter: free until it is listed",
        "disclosed campaigns: reasoning in tags",
        "fewer than five answers whose text was kept",
    ),
    # --- Breadth and change
    Feature(
        "coverage_growth", "exponent", 0.0, 1.0, "7–14 d", "both", "linear",
        "Heaps exponent: logarithm of the content cells visited over that of the exchanges; 1 when each is about "
        "something new",
        "fewer than 20 exchanges with text", "search and question-answering products", "a narrow harvest: worth less",
        "Heaps 1978",
    ),
    Feature(
        "baseline_shift", "distance", 0.0, 1.0, "24 h against 7 d", "high", "linear",
        "root mean square difference of the behaviour shares of the last day from those of the week",
        "seen for less than 48 hours, or too few exchanges in the day", "launches, new features", "drift slowly: time",
        "account-takeover defences: against its own past",
    ),
    _share(
        "refusal_rate", "high", "share of answers that are refusals", "red teams, products with unruly users",
        "ask harmless things: free",
        "disclosed campaigns: the probe phase",
    ),
    Feature(
        "model_pivot_share", "share", 0.0, 1.0, "24 h", "high", "linear",
        "share of the last day's exchanges that went to models first called within that day",
        "seen for less than 48 hours, or fewer than five exchanges in the day", "launch-day benchmarks, upgrades",
        "wait two days: time",
        "AA26-251A: a new model within 24 hours",
    ),
    _share(
        "retry_rate", "both", "share of exchanges that are retries of the client library", "clients behind tight limits",
        "switch retries off: free", "ServeGen, arXiv 2505.09999", "fewer than five exchanges in the window",
    ),
    _share(
        "limited_rate", "high", "share of exchanges refused for a rate limit", "bursty honest clients",
        "read the headers: free", "ServeGen, arXiv 2505.09999",
        "fewer than five exchanges in the window",
    ),
    Feature(
        "network_diversity", "prefixes", 0.0, inf, "life", "high", "log",
        "number of different address prefixes; error 10 % above eight", "no address was recorded",
        "CI runners, shared team keys, mobile users", "one exit per key: cheap", "AA26-251A: one account, many addresses",
    ),
    Feature(
        "client_diversity", "stacks", 0.0, inf, "life", "high", "log",
        "number of different client header fingerprints; error 10 % above eight", "no client headers were recorded",
        "aggregators, shared team keys", "one stack per key: free", "disclosed campaigns: resold access",
    ),
    Feature(
        "language_diversity", "languages", 1.0, 16.0, "7 d", "high", "linear",
        "effective number of scripts and languages of the last user turn (exponential of their entropy)",
        "fewer than five exchanges with text", "localisation, worldwide products, aggregators",
        "one language per key: free", "disclosed campaigns: resold access",
    ),
    # --- Value taken
    _share(
        "valuable_share", "high",
        "share of answers worth training on: 200 tokens or more, reasoned, or a tool step; no refusals",
        "writers, agents, reasoning users", "short answers: worth less",
        "LIMO, arXiv 2502.03387; s1, arXiv 2501.19393: a thousand traces suffice",
    ),
    Feature(
        "valuable_total", "responses", 0.0, inf, "life", "high", "log",
        "number of different valuable responses ever taken; error 7.4 % above 16", _NEVER, "every long-lived customer",
        "more keys: free", "LIMO, arXiv 2502.03387; s1, arXiv 2501.19393: a thousand traces suffice",
    ),
    _share(
        "reasoning_share", "high", "share of answers with hidden reasoning", "users of reasoning models",
        "another model: worth less",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    _share(
        "tool_share", "both", "share of exchanges with tools", "agents", "none needed",
        "disclosed campaigns: one capability",
    ),
    # --- Abilities
    _share(
        "code_share", "both", "share of exchanges about code, by marks that programs have", "programmers, code products",
        "none needed: a harvest of something else", "disclosed campaigns: one capability",
    ),
    _share(
        "maths_share", "both", "share of exchanges that hold sums or formulas",
        "tutors, finance, evaluations of mathematics",
        "none needed: a harvest of something else", "disclosed campaigns: one capability",
    ),
    _share(
        "ability_concentration", "both",
        "share of the most common of seven abilities drawn on: code, mathematics, tools, grading, making, writing, "
        "extracting",
        "pipelines and agents (one), aggregators (many)", "mix pools on a key: cheap",
        "disclosed campaigns: one capability",
    ),
    _share(
        "thinking_share", "high", "share of hidden reasoning in the output tokens", "users of reasoning models",
        "a smaller thinking budget: worth less", "disclosed campaigns: reasoning demanded",
    ),
    _share(
        "forced_answer_share", "high", "share of answers that begin with a tag that the request asked for",
        "prompt-engineered products that parse tags", "another delimiter: free until it is listed",
        "disclosed campaigns: reasoning in tags", "fewer than five answers whose text was kept",
    ),
    Feature(
        "constant_elicitations", "exchanges", 0.0, inf, "7 d", "high", "log",
        "number of exchanges that ask for reasoning with an element that earlier ones carried too: a fragment added to a "
        "few of many chats counts in full",
        _NEVER, "explanation products, tutors", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: reasoning demanded inside relayed chats",
    ),
    _share(
        "constant_elicitation_share", "high",
        "share of exchanges that ask for reasoning with an element that earlier ones carried too",
        "explanation products, tutors", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one fragment in every request",
    ),
    # --- Conversations and sizes
    _share(
        "chain_continuation", "low", "share of exchanges that go on with a conversation seen before",
        "pipelines, evaluators, editors", "go on with conversations: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "depth_spread", "turns", 0.0, 65.0, "7 d", "both", "log", "standard deviation of the depth of a conversation", _FEW,
        "agents (wide), pipelines (none)", "fake history: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "input_spread", "log tokens", 0.0, 20.0, "7 d", "both", "linear",
        "standard deviation of the logarithm of the input tokens", _FEW, "chat (wide), forms (narrow)",
        "padding: costs input tokens", "Alpaca, Self-Instruct: one template, short slots",
    ),
    Feature(
        "output_spread", "log tokens", 0.0, 20.0, "7 d", "both", "linear",
        "standard deviation of the logarithm of the tokens written", _FEW, "chat (wide), classifiers (none)",
        "hardly possible: the model writes", "Alpaca, Self-Instruct: one kind of answer",
    ),
    _share(
        "system_prompt_share", "both", "share of exchanges with a system prompt", "products (all), scripts (none)",
        "send one: free", "Magpie, arXiv 2406.08464: no system prompt",
    ),
    Feature(
        "tokens_24h", "tokens", 0.0, inf, "24 h", "high", "log",
        "input and output tokens of the last day, decayed; among peers of one plan and age this is usage against plan",
        _NEVER, "every bulk customer", "more keys: free", "AA26-251A: subscription-to-usage mismatch",
    ),
    _share(
        "weekend_share", "both", "share of exchanges on Saturday or Sunday (UTC)", "products of leisure, monitoring",
        "rest at weekends: free", "AA26-251A: round-the-clock use; ServeGen",
    ),
    # --- Contents
    Feature(
        "topic_spread", "distance", -1.0, 2.0, "400 exchanges", "both", "linear",
        "how far the exchanges of an entity lie apart: 1 less the mean kernel between two of them",
        "fewer than five exchanges with text", "search and chat (wide), pipelines (narrow)", "a narrow harvest: worth less",
        "kernel mean embeddings, Gretton et al., JMLR 2012",
    ),
    Feature(
        "harvest_mean", "log ratio", -16.0, 16.0, "400 exchanges", "high", "linear",
        "mean logarithm of the density ratio, harvest to honest, of single exchanges",
        "fewer than five exchanges with text", "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest",
    ),
    _share(
        "harvest_high_share", "high", "share of exchanges that harvesters send at least e² times as often as others",
        "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", "fewer than five exchanges with text",
    ),
    _share(
        "harvest_peak_share", "high", "share of exchanges that harvesters send at least e⁴ times as often as others",
        "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", "fewer than five exchanges with text",
    ),
    Feature(
        "leak_evidence", "log wealth", 0.0, inf, "life", "high", "linear",
        "highest logarithm ever of the wealth won by betting that the valuable responses go to a harvester",
        "fewer than five different valuable responses", "evaluations, contracted data making",
        "cover traffic of valuable answers: its price", "e-detectors, Shin, Ramdas and Rinaldo 2024",
    ),
    Feature(
        "leak_taken", "responses", 0.0, inf, "life", "high", "log",
        "number of different valuable responses, each weighed by the suspicion of its exchange",
        _NEVER, "every long-lived customer", "more keys: free",
        "LIMO, arXiv 2502.03387; s1, arXiv 2501.19393: a thousand traces suffice",
    ),
    _share(
        "leak_mean", "high", "mean suspicion of the different valuable responses", "evaluations, contracted data making",
        "cover traffic of valuable answers: its price", "e-detectors, Shin, Ramdas and Rinaldo 2024",
        "fewer than five different valuable responses",
    ),
    # --- Sure shares and plain numbers: where a share of few would mislead, or where cover traffic thins a share out
    _floor("elicitation", "ask for the reasoning to be written out", "tutors, explanation products, prompt engineers"),
    _floor("answer_supplied", "ask for the reasoning behind an answer they bring along", "explanation products, graders"),
    _floor("judge", "have something graded", "evaluation vendors, moderation"),
    _floor("task_generation", "make tasks, personas or dialogues", "education, content, test data"),
    _floor("rewrite", "have a text rewritten, cleaned or made harder", "document tools, editors, localisation"),
    _count(
        "answers_supplied", "number of exchanges that bring a finished answer along and ask for the reasoning behind it",
        "explanation products, graders", "drop the labels: free, but confuses the model",
        "AA26-251A: the reasoning behind a finished answer",
    ),
    _count(
        "constant_forced_answers",
        "number of answers that begin with a tag asked for, under an output contract that earlier ones had too",
        "products that parse tags", "a contract per request: a parser each", "disclosed campaigns: reasoning in tags",
    ),
    _count(
        "items_repeated", "number of different requests that were asked more than once",
        "self-consistency users, evaluations with repeats, monitoring", "spread the repeats over keys: free",
        "RFT, arXiv 2308.01825: k answers to each question",
    ),
    _share(
        "repeat_exactness", "high",
        "of the exchanges that were asked more than once, the share asked exactly k times, for the most common k",
        "self-consistency users, evaluations with repeats", "vary k: free", "RFT, arXiv 2308.01825",
        "fewer than ten exchanges that were asked more than once",
    ),
    _share(
        "judged_near_share", "high",
        "of the exchanges that have something graded, the share that resembles one of the last 32: candidates for one "
        "question come in bursts",
        "evaluation vendors", "shuffle the candidates: free", "disclosed campaigns: the model as a reward model",
        "fewer than five exchanges that have something graded",
    ),
    # --- Contents, more of them
    Feature(
        "harvest_spread", "log ratio", 0.0, 16.0, "400 exchanges", "both", "linear",
        "standard deviation of the logarithm of the density ratio of single exchanges: a mixture spreads it",
        _WORDLESS, "aggregators, agencies", "one pool per key: cheap",
        "the shipped ratio, see the card of artefact harvest",
    ),
    _share(
        "harvest_low_share", "low", "share of exchanges that harvesters send at most e⁻² times as often as others",
        "pipelines with forms of their own", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", _WORDLESS,
    ),
    _share(
        "harvest_top_share", "high", "share of exchanges that harvesters send at least e⁶ times as often as others",
        "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", _WORDLESS,
    ),
    Feature(
        "harvest_recent_mean", "log ratio", -16.0, 16.0, "100 exchanges", "high", "linear",
        "mean logarithm of the density ratio of the last exchanges", _WORDLESS, "evaluations, contracted data making",
        "cover traffic: its price", "the shipped ratio, see the card of artefact harvest",
    ),
    Feature(
        "topic_shift", "distance", -1.0, 4.0, "100 against 1,600 exchanges", "high", "linear",
        "squared kernel distance of the last exchanges from the long mean, less what chance makes of it",
        "fewer than 300 exchanges with text", "launches, new end users", "drift slowly: time",
        "kernel mean embeddings, Gretton et al., JMLR 2012",
    ),
    _share(
        "topic_evenness", "both", "entropy of the exchanges over 64 regions of meaning, over its maximum",
        "search and chat (even), pipelines (uneven)", "a narrow harvest: worth less",
        "disclosed campaigns: breadth, then one capability", "fewer than 20 exchanges with text",
    ),
    _share(
        "topic_top_share", "both", "share of exchanges in the most common of 64 regions of meaning",
        "pipelines (most), search and chat (few)", "mix pools on a key: cheap", "disclosed campaigns: one capability",
        "fewer than 20 exchanges with text",
    ),
    # --- Concurrency and limits
    Feature(
        "fano_factor", "ratio", 0.0, inf, "7 d", "both", "log",
        "variance over mean of the exchanges in ten minutes, in hours with traffic; 1 for a Poisson stream",
        "fewer than two hours with traffic or than 20 exchanges in them", "cron jobs (low), batch runs (high)",
        "jitter, pauses: free", "BurstGPT, arXiv 2401.17644; ServeGen, arXiv 2505.09999",
    ),
    Feature(
        "in_flight_mean", "exchanges", 0.0, 16.0, "7 d", "high", "log",
        "mean number of the last sixteen exchanges that had not ended when one began",
        "fewer than five exchanges with a known duration", "batch clients, products with many end users",
        "more keys: free", "ServeGen, arXiv 2505.09999",
    ),
    _share(
        "in_flight_steadiness", "high",
        "share of exchanges that began with as many others in flight as the one before, at least one: a fixed pool of "
        "workers",
        "batch clients", "vary the workers: free", "ServeGen, arXiv 2505.09999",
        "hardly any overlap, or fewer than five exchanges with a known duration",
    ),
    Feature(
        "backoff_s", "seconds", 0.0, 3600.0, "7 d", "both", "log",
        "geometric mean of the time to the next exchange after one refused for a rate limit",
        "fewer than five refusals for a rate limit", "libraries with their own back-off (seconds), eager scripts (none)",
        "wait longer: time", "retry rules of the client libraries",
    ),
    # --- Relays
    Feature(
        "open_chains", "conversations", 0.0, 32.0, "7 d", "high", "log",
        "mean number of conversations that went on within the ten minutes before an exchange, of the last 32",
        _FEW, "products with many end users, aggregators", "one conversation per key: free",
        "disclosed campaigns: resold access",
    ),
    _share(
        "end_user_share", "low", "share of exchanges that name an end user", "scripts, backends of one team",
        "make names up: free", "disclosed campaigns: resold access",
    ),
    Feature(
        "end_user_diversity", "end users", 0.0, inf, "life", "both", "log",
        "number of different end users named; error 10 % above eight", "no end user was ever named",
        "products with many end users", "make names up: free", "disclosed campaigns: resold access",
    ),
    _share(
        "client_mismatch_share", "high",
        "share of exchanges whose user-agent names a library without its other headers, or the other way round",
        "proxies that drop headers, own clients", "send both: free", "disclosed campaigns: resold access",
        "fewer than five exchanges that say what sent them",
    ),
    # --- What comes back
    _share(
        "parameter_novelty", "both", "share of exchanges with sampling settings that are not among the known ones",
        "playgrounds (many), every program (few)", "copy honest settings: free",
        "Alpaca, Self-Instruct: one setting for all",
    ),
    _share(
        "output_echo_share", "high",
        "share of exchanges outside a conversation that hold one of the last 24 answers: rewritten, cleaned",
        "editors, translators, agents that hand texts on", "another key for the next step: free",
        "Evol-Instruct, arXiv 2304.12244: the output is the next input",
    ),
    _count(
        "output_echoes", "number of exchanges outside a conversation that hold one of the last 24 answers",
        "editors, translators, agents that hand texts on", "another key for the next step: free",
        "Evol-Instruct, arXiv 2304.12244: the output is the next input",
    ),
    Feature(
        "foreign_reasoning", "blocks", 0.0, inf, "7 d", "high", "log",
        "number of different blocks of reasoning brought back that were never given to this entity", _UNJUDGED,
        "conversations begun at another endpoint of the provider", "bring none back: gatherers lose continuation",
        "AA26-251A: reasoning pooled between accounts",
    ),
    _share(
        "foreign_reasoning_share", "high",
        "of the exchanges that bring reasoning back, the share with a block that was never given to this entity",
        "conversations begun at another endpoint of the provider", "bring none back: gatherers lose continuation",
        "AA26-251A: reasoning pooled between accounts", _UNJUDGED,
    ),
    _share(
        "moved_reasoning_share", "high",
        "of the exchanges that bring reasoning back, the share with a block that was given in another conversation",
        "agents that shorten their history", "keep the history: costs input tokens",
        "AA26-251A: reasoning pooled between accounts", _UNJUDGED,
    ),
    _share(
        "thinking_hugging", "high", "share of the exchanges with a thinking budget whose reasoning fills it",
        "users of hard problems with small budgets", "a larger budget: costs tokens",
        "disclosed campaigns: reasoning demanded", "fewer than five exchanges with a thinking budget",
    ),
    Feature(
        "spend_velocity", "tokens", 0.0, inf, "24 h", "high", "log",
        "tokens of the last day per day of the account's age", "it is unknown when the account was made",
        "migrations of a running workload to a new key", "age accounts: time and subscriptions",
        "AA26-251A: no ramp; velocity rules of card-testing defences",
    ),
    Feature(
        "account_age_d", "days", 0.0, inf, "now", "low", "log", "age of the account",
        "it is unknown when the account was made", "every new customer", "age accounts: time and subscriptions",
        "velocity rules of card-testing defences",
    ),
)  # fmt: skip

INDEX: dict[str, int] = {feature.name: column for column, feature in enumerate(CATALOGUE)}
