"""The catalogue of features: what each number means, and how far it may be trusted.

Order is the column order of every feature matrix. A feature is removed or changes its meaning only together with
`CATALOGUE_VERSION`, so that a model fitted on one meaning is never fed another.

`raises` names honest customers who move it to the suspicious side; `fakes` says what it costs an attacker to move it back.
`source` points to the rank in the list of thirty features that this catalogue grew from ("5.1 #12"), or to a paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

CATALOGUE_VERSION = "1"

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


def _share(name: str, side: Side, meaning: str, raises: str, fakes: str, source: str, absent: str = _FEW) -> Feature:
    return Feature(name, "share", 0.0, 1.0, "7 d", side, "linear", meaning, absent, raises, fakes, source)


CATALOGUE: tuple[Feature, ...] = (
    # --- Volume and rhythm
    Feature(
        "requests_1h", "requests", 0.0, inf, "1 h", "high", "log",
        "number of exchanges in the last hour, decayed",
        _NEVER, "every bulk customer", "more keys: free", "5.1 #20",
    ),
    Feature(
        "requests_24h", "requests", 0.0, inf, "24 h", "high", "log",
        "number of exchanges in the last day, decayed",
        _NEVER, "every bulk customer", "more keys: free", "5.1 #20",
    ),
    Feature(
        "ramp_ratio", "share", 0.0, 1.0, "life", "high", "linear",
        "share of its highest hourly volume that the key had already reached in its first hour: near 1 without any ramp",
        "the key was made over three days before it was first seen, or it is unknown when, or it has under 20 exchanges",
        "migrations of a running workload to a new key", "a day of warming up per key: cheap", "5.1 #20; AA26-251A",
    ),
    Feature(
        "interarrival_cv", "ratio", 0.0, inf, "24 h", "low", "log",
        "standard deviation of the gaps between exchanges over their mean; 1 for a Poisson stream",
        "fewer than ten gaps", "cron jobs, rate-limited batch clients", "jitter: free", "5.1 #28; ServeGen",
    ),
    Feature(
        "interarrival_regularity", "share", 0.0, 1.0, "24 h", "high", "linear",
        "regularity of the gaps between exchanges: exp(−standard deviation of their logarithm); 1: a metronome",
        "fewer than ten gaps", "cron jobs, rate-limited batch clients", "jitter: free", "5.1 #28",
    ),
    Feature(
        "circadian_flatness", "share", 0.0, 1.0, "7 d", "high", "linear",
        "entropy of the active hours over the hours of the day, over its maximum; 1 when every hour is used alike",
        "active over less than 24 hours or in fewer than six of them",
        "11–23 % of bulk clients, worldwide products, monitoring", "sleep eight hours: free", "5.1 #29; AA26-251A",
    ),
    Feature(
        "longest_idle_h", "hours", 0.0, 168.0, "7 d", "low", "linear",
        "longest run of whole clock hours without an exchange between two active ones",
        "active over less than 24 hours", "worldwide products, monitoring", "sleep eight hours: free", "5.1 #29; AA26-251A",
    ),
    # --- Templates
    Feature(
        "skeleton_entropy", "share", 0.0, 1.0, "7 d", "low", "linear",
        "entropy of the head or the tail of the last user turn (whichever varies less), over its maximum",
        _FEW, "classifiers, pipelines, every product that wraps user input",
        "a paraphrase per request: an extra model call each", "5.1 #12",
    ),
    _share(
        "skeleton_top_share", "high",
        "share of exchanges that carry the most common constant element: system prompt, head, tail or a shingle",
        "products with one system prompt, pipelines", "a paraphrase per request: an extra model call each", "5.1 #12",
    ),
    _share(
        "user_top_share", "high",
        "share of exchanges with the most common head, tail or shingle of the last user turn: a fragment put there shows",
        "pipelines, graders, starter templates", "a paraphrase per request: an extra model call each", "5.1 #1, #12",
    ),
    _share(
        "slot_novelty", "high",
        "share of different contents among the exchanges under a common skeleton",
        "document pipelines, localisation, products", "ask again: costs tokens", "5.1 #13",
        "fewer than five exchanges under a skeleton",
    ),
    _share(
        "near_duplicate_rate", "low",
        "share of exchanges that resemble one of the last 32 (0.7 in excess of the template they share), exact repeats "
        "left out; "
        "deduplicated pools show none",
        "translators, people who ask each thing once", "near-copies: costs tokens", "5.1 #13; Self-Instruct",
    ),
    _share(
        "multiplicity_peak", "high",
        "share of exchanges asking for several samples, or being the k-th of exactly k equal requests for the most common "
        "k ≥ 2",
        "self-consistency users, evaluations with repeats", "spread the repeats over keys: free", "5.1 #14",
    ),
    _share(
        "contract_top_share", "high",
        "share of exchanges with the most common output contract (tags, JSON keys, headings, schema, tools asked for)",
        "every structured pipeline, agents with one tool set", "a parser per contract: cheap, but each loses answers",
        "5.1 #2",
    ),
    # --- Shape
    _share(
        "single_turn_ratio", "high",
        "share of exchanges that hold one user turn and no earlier answer",
        "pipelines, evaluators, editors", "fake history: costs input tokens", "5.1 #26",
    ),
    Feature(
        "mean_turn_depth", "turns", 1.0, 65.0, "7 d", "both", "log",
        "mean number of answers an exchange would bring the conversation to",
        _FEW, "agents (deep), pipelines (flat)", "fake history: costs input tokens", "5.1 #26",
    ),
    Feature(
        "output_input_ratio", "ratio", 0.0, inf, "7 d", "high", "log",
        "ratio of output tokens to input tokens", _FEW, "writers, code generation, reasoning models",
        "longer prompts: costs input tokens",
        "5.1 #27",
    ),
    Feature(
        "output_tokens_mean", "tokens", 0.0, inf, "7 d", "high", "log",
        "mean output tokens of an answer", _FEW, "writers, code generation, reasoning models", "short answers: worth less",
        "5.1 #27",
    ),
    Feature(
        "input_tokens_mean", "tokens", 0.0, inf, "7 d", "both", "log",
        "mean input tokens of an exchange", _FEW, "retrieval (long), chat (short)", "padding: costs input tokens",
        "5.1 #27",
    ),
    _share(
        "max_tokens_hugging", "high",
        "share of the exchanges with a token limit whose answer fills it",
        "editors, classifiers with tiny limits", "a higher limit: free", "5.1 #27",
        "fewer than five exchanges with a limit",
    ),
    Feature(
        "parameter_entropy", "bits", 0.0, 16.0, "7 d", "both", "linear",
        "entropy of the sampling settings (temperature, top_p, n, octave of max_tokens, logprobs, format, effort)",
        _FEW, "playgrounds (high), every program (low)", "copy honest settings: free", "5.1 #30",
    ),
    # --- Logits and samples
    _share(
        "logprobs_share", "high", "share of exchanges that ask for log-probabilities", "label classifiers, evaluations",
        "none: without them there is no logit to take", "5.1 #19; Carlini et al. 2024",
    ),
    _share(
        "logit_bias_share", "high", "share of exchanges with a logit bias", "label classifiers with one fixed map",
        "none where logprobs are capped", "5.1 #19; Carlini et al. 2024",
    ),
    Feature(
        "logit_bias_diversity", "maps", 0.0, inf, "life", "high", "log",
        "number of different bias maps ever sent; error 10 % above eight",
        "no bias was ever sent", "hardly any: a product has one map or a few", "none: the attack needs thousands",
        "5.1 #19; Finlayson et al. 2024",
    ),
    Feature(
        "samples_mean", "samples", 1.0, 128.0, "7 d", "high", "log",
        "mean number of samples asked for (n)", _FEW, "self-consistency users, evaluations",
        "repeat the request instead: input tokens", "5.1 #14",
    ),
    # --- Intents
    _share(
        "elicitation_share", "high",
        "share of exchanges that ask for the reasoning to be written out, in a form or in words",
        "tutors, audit and explanation products, prompt engineers", "answers without reasoning: worth less", "5.1 #7",
    ),
    _share(
        "elicitation_constancy", "high",
        "share of the exchanges that ask for reasoning which carry the most common constant element among them",
        "audit and explanation products", "a paraphrase per request: an extra model call each",
        "5.1 #7; disclosed campaigns",
        "fewer than five eliciting exchanges in the window",
    ),
    _share(
        "answer_supplied_share", "high",
        "share of exchanges that bring a finished answer along and ask for the reasoning behind it",
        "audit and explanation products, graders", "drop the labels: free, but confuses the model", "5.1 #7; AA26-251A",
    ),
    _share(
        "judge_share", "high",
        "share of exchanges that have something graded: a scale or grading words, and a verdict-sized answer",
        "evaluation vendors, moderation", "ask for long verdicts: costs output tokens", "5.1 #16",
    ),
    _share(
        "task_generation_share", "high",
        "share of exchanges that make tasks, personas or dialogues: a numbered list continued, two speakers written, or "
        "asked in words",
        "education, content, test data", "one item per call, plain wording: cheap", "5.1 #17; Self-Instruct; Baize",
    ),
    _share(
        "rewrite_share", "high", "share of exchanges that have a text rewritten, cleaned or made harder",
        "document tools, editors, localisation", "plain wording: cheap", "5.1 #18; Evol-Instruct",
    ),
    Feature(
        "probe_refusals", "skeletons", 0.0, inf, "24 h", "high", "log",
        "number of different skeletons that were refused, decayed",
        _NEVER, "red teams, safety researchers, abusive end users of a product",
        "probe elsewhere: another account", "5.1 #10",
    ),
    _share(
        "answer_tag_share", "high", "share of answers that begin with a tag",
        "prompt-engineered products that parse tags", "another delimiter: free until it is listed", "5.1 #2, #7",
        "fewer than five answers whose text was kept",
    ),
    # --- Breadth and change
    Feature(
        "coverage_growth", "exponent", 0.0, 1.0, "7–14 d", "both", "linear",
        "Heaps exponent: logarithm of the content cells visited over that of the exchanges; 1 when each is about "
        "something new",
        "fewer than 20 exchanges with text", "search and question-answering products", "a narrow harvest: worth less",
        "5.1 #24",
    ),
    Feature(
        "baseline_shift", "distance", 0.0, 1.0, "24 h against 7 d", "high", "linear",
        "root mean square difference of the behaviour shares of the last day from those of the week",
        "seen for less than 48 hours, or too few exchanges in the day", "launches, new features", "drift slowly: time",
        "5.1 #25",
    ),
    _share(
        "refusal_rate", "high", "share of answers that are refusals", "red teams, products with unruly users",
        "ask harmless things: free",
        "5.1 #10",
    ),
    Feature(
        "model_pivot_share", "share", 0.0, 1.0, "24 h", "high", "linear",
        "share of the last day's exchanges that went to models first called within that day",
        "seen for less than 48 hours, or fewer than five exchanges in the day", "launch-day benchmarks, upgrades",
        "wait two days: time",
        "5.1 #30; AA26-251A",
    ),
    _share(
        "retry_rate", "both", "share of exchanges that are retries of the client library", "clients behind tight limits",
        "switch retries off: free", "5.1 #28", "fewer than five exchanges in the window",
    ),
    _share(
        "limited_rate", "high", "share of exchanges refused for a rate limit", "bursty honest clients",
        "read the headers: free", "5.1 #28",
        "fewer than five exchanges in the window",
    ),
    Feature(
        "network_diversity", "prefixes", 0.0, inf, "life", "high", "log",
        "number of different address prefixes; error 10 % above eight", "no address was recorded",
        "CI runners, shared team keys, mobile users", "one exit per key: cheap", "5.1 #22; AA26-251A",
    ),
    Feature(
        "client_diversity", "stacks", 0.0, inf, "life", "high", "log",
        "number of different client header fingerprints; error 10 % above eight", "no client headers were recorded",
        "aggregators, shared team keys", "one stack per key: free", "5.1 #22",
    ),
    Feature(
        "language_diversity", "languages", 1.0, 16.0, "7 d", "high", "linear",
        "effective number of scripts and languages of the last user turn (exponential of their entropy)",
        "fewer than five exchanges with text", "localisation, worldwide products, aggregators",
        "one language per key: free", "5.1 #22",
    ),
    # --- Value taken
    _share(
        "valuable_share", "high",
        "share of answers worth training on: 200 tokens or more, reasoned, or a tool step; no refusals",
        "writers, agents, reasoning users", "short answers: worth less", "5.2 detector 5",
    ),
    Feature(
        "valuable_total", "responses", 0.0, inf, "life", "high", "log",
        "number of different valuable responses ever taken; error 7.4 % above 16", _NEVER, "every long-lived customer",
        "more keys: free", "5.2 detector 5",
    ),
    _share(
        "reasoning_share", "high", "share of answers with hidden reasoning", "users of reasoning models",
        "another model: worth less",
        "5.1 #27",
    ),
    _share("tool_share", "both", "share of exchanges with tools", "agents", "none needed", "5.1 #23"),
    Feature(
        "account_age_d", "days", 0.0, inf, "now", "low", "log", "age of the account",
        "it is unknown when the account was made", "every new customer", "age accounts: time and subscriptions", "5.1 #20",
    ),
)  # fmt: skip

INDEX: dict[str, int] = {feature.name: column for column, feature in enumerate(CATALOGUE)}
