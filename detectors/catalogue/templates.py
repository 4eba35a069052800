"""What stays constant from request to request, and the shape of an exchange."""

from __future__ import annotations

from math import inf

from detectors.catalogue.feature import FEW, Feature, share

TEMPLATES: tuple[Feature, ...] = (
    # --- Templates
    Feature(
        "skeleton_entropy", "share", 0.0, 1.0, "7 d", "low", "linear",
        "entropy of the head or the tail of the last user turn (whichever varies less), over its maximum",
        FEW, "classifiers, pipelines, every product that wraps user input",
        "a paraphrase per request: an extra model call each", "disclosed campaigns: one template on many keys",
    ),
    share(
        "skeleton_top_share", "high",
        "share of exchanges that carry the most common constant element: system prompt, head, tail or a shingle",
        "products with one system prompt, pipelines", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one template on many keys",
    ),
    share(
        "user_top_share", "high",
        "share of exchanges with the most common head, tail or shingle of the last user turn: a fragment put there shows",
        "pipelines, graders, starter templates", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one fragment in every request",
    ),
    share(
        "slot_novelty", "high",
        "share of different contents among the exchanges under a common skeleton",
        "document pipelines, localisation, products", "ask again: costs tokens",
        "Persona Hub, arXiv 2406.20094: a slot that never repeats",
        "fewer than five exchanges under a skeleton",
    ),
    share(
        "near_duplicate_rate", "low",
        "share of exchanges that resemble one of the last 32 (0.7 in excess of the template they share), exact repeats "
        "left out; "
        "deduplicated pools show none",
        "translators, people who ask each thing once", "near-copies: costs tokens",
        "Self-Instruct, arXiv 2212.10560: deduplicated pools",
    ),
    share(
        "multiplicity_peak", "high",
        "share of exchanges asking for several samples, or being the k-th of exactly k equal requests for the most common "
        "k ≥ 2",
        "self-consistency users, evaluations with repeats", "spread the repeats over keys: free",
        "RFT, arXiv 2308.01825: k answers to each question",
    ),
    share(
        "contract_top_share", "high",
        "share of exchanges with the most common output contract (tags, JSON keys, headings, schema, tools asked for)",
        "every structured pipeline, agents with one tool set", "a parser per contract: cheap, but each loses answers",
        "disclosed campaigns: an answer that a parser can read",
    ),
    # --- Shape
    share(
        "single_turn_ratio", "high",
        "share of exchanges that hold one user turn and no earlier answer",
        "pipelines, evaluators, editors", "fake history: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "mean_turn_depth", "turns", 1.0, 65.0, "7 d", "both", "log",
        "mean number of answers an exchange would bring the conversation to",
        FEW, "agents (deep), pipelines (flat)", "fake history: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "output_input_ratio", "ratio", 0.0, inf, "7 d", "high", "log",
        "ratio of output tokens to input tokens", FEW, "writers, code generation, reasoning models",
        "longer prompts: costs input tokens",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    Feature(
        "output_tokens_mean", "tokens", 0.0, inf, "7 d", "high", "log",
        "mean output tokens of an answer", FEW, "writers, code generation, reasoning models", "short answers: worth less",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    Feature(
        "input_tokens_mean", "tokens", 0.0, inf, "7 d", "both", "log",
        "mean input tokens of an exchange", FEW, "retrieval (long), chat (short)", "padding: costs input tokens",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    share(
        "max_tokens_hugging", "high",
        "share of the exchanges with a token limit whose answer fills it",
        "editors, classifiers with tiny limits", "a higher limit: free", "Alpaca, Self-Instruct: little in, much out",
        "fewer than five exchanges with a limit",
    ),
    Feature(
        "parameter_entropy", "bits", 0.0, 16.0, "7 d", "both", "linear",
        "entropy of the sampling settings (temperature, top_p, n, octave of max_tokens, logprobs, format, effort)",
        FEW, "playgrounds (high), every program (low)", "copy honest settings: free",
        "Alpaca, Self-Instruct: one setting for all",
    ),
)  # fmt: skip
