"""What an entity asks for: logits, samples, intents."""

from __future__ import annotations

from math import inf

from detectors.catalogue.feature import FEW, NEVER, Feature, share

ASKING: tuple[Feature, ...] = (
    # --- Logits and samples
    share(
        "logprobs_share", "high", "share of exchanges that ask for log-probabilities", "label classifiers, evaluations",
        "none: without them there is no logit to take", "Carlini et al., arXiv 2403.06634",
    ),
    share(
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
        "mean number of samples asked for (n)", FEW, "self-consistency users, evaluations",
        "repeat the request instead: input tokens", "RFT, arXiv 2308.01825: k answers to each question",
    ),
    # --- Intents
    share(
        "elicitation_share", "high",
        "share of exchanges that ask for the reasoning to be written out, in a form or in words",
        "tutors, audit and explanation products, prompt engineers", "answers without reasoning: worth less",
        "disclosed campaigns: reasoning demanded",
    ),
    share(
        "elicitation_constancy", "high",
        "share of the exchanges that ask for reasoning which carry the most common constant element among them",
        "audit and explanation products", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one fragment in every request",
        "fewer than five eliciting exchanges in the window",
    ),
    share(
        "answer_supplied_share", "high",
        "share of exchanges that bring a finished answer along and ask for the reasoning behind it",
        "audit and explanation products, graders", "drop the labels: free, but confuses the model",
        "AA26-251A: the reasoning behind a finished answer",
    ),
    share(
        "judge_share", "high",
        "share of exchanges that have something graded: a scale or grading words, and a verdict-sized answer",
        "evaluation vendors, moderation", "ask for long verdicts: costs output tokens",
        "disclosed campaigns: the model as a reward model",
    ),
    share(
        "task_generation_share", "high",
        "share of exchanges that make tasks, personas or dialogues: a numbered list continued, two speakers written, or "
        "asked in words",
        "education, content, test data", "one item per call, plain wording: cheap",
        "Self-Instruct, arXiv 2212.10560; Baize, arXiv 2304.01196",
    ),
    share(
        "rewrite_share", "high", "share of exchanges that have a text rewritten, cleaned or made harder",
        "document tools, editors, localisation", "plain wording: cheap", "Evol-Instruct, arXiv 2304.12244",
    ),
    Feature(
        "probe_refusals", "skeletons", 0.0, inf, "24 h", "high", "log",
        "number of different skeletons that were refused, decayed",
        NEVER, "red teams, safety researchers, abusive end users of a product",
        "probe elsewhere: another account", "disclosed campaigns: the probe phase",
    ),
    share(
        "answer_tag_share", "high", "share of answers that begin with a tag",
        "prompt-engineered products that parse tags", "another delimiter: free until it is listed",
        "disclosed campaigns: reasoning in tags",
        "fewer than five answers whose text was kept",
    ),
)  # fmt: skip
