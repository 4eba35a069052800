"""Conversations, sizes, and what the exchanges are about."""

from __future__ import annotations

from math import inf

from detectors.catalogue.feature import FEW, NEVER, Feature, share

CONVERSATION: tuple[Feature, ...] = (
    # --- Conversations and sizes
    share(
        "chain_continuation", "low", "share of exchanges that go on with a conversation seen before",
        "pipelines, evaluators, editors", "go on with conversations: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "depth_spread", "turns", 0.0, 65.0, "7 d", "both", "log", "standard deviation of the depth of a conversation", FEW,
        "agents (wide), pipelines (none)", "fake history: costs input tokens",
        "Wang et al., USENIX Security 2013: click sequences",
    ),
    Feature(
        "input_spread", "log tokens", 0.0, 20.0, "7 d", "both", "linear",
        "standard deviation of the logarithm of the input tokens", FEW, "chat (wide), forms (narrow)",
        "padding: costs input tokens", "Alpaca, Self-Instruct: one template, short slots",
    ),
    Feature(
        "output_spread", "log tokens", 0.0, 20.0, "7 d", "both", "linear",
        "standard deviation of the logarithm of the tokens written", FEW, "chat (wide), classifiers (none)",
        "hardly possible: the model writes", "Alpaca, Self-Instruct: one kind of answer",
    ),
    share(
        "system_prompt_share", "both", "share of exchanges with a system prompt", "products (all), scripts (none)",
        "send one: free", "Magpie, arXiv 2406.08464: no system prompt",
    ),
    Feature(
        "tokens_24h", "tokens", 0.0, inf, "24 h", "high", "log",
        "input and output tokens of the last day, decayed; among peers of one plan and age this is usage against plan",
        NEVER, "every bulk customer", "more keys: free", "AA26-251A: subscription-to-usage mismatch",
    ),
    share(
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
        "mean likeness of its exchanges to those of harvests: the logarithm of how much oftener harvesters send such a one",
        "fewer than five exchanges with text", "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest",
    ),
    share(
        "harvest_high_share", "high", "share of exchanges that harvesters send at least e² times as often as others",
        "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", "fewer than five exchanges with text",
    ),
    share(
        "harvest_peak_share", "high", "share of exchanges that harvesters send at least e⁴ times as often as others",
        "evaluations, contracted data making", "cover traffic: its price",
        "the shipped ratio, see the card of artefact harvest", "fewer than five exchanges with text",
    ),
    Feature(
        "leak_evidence", "log wealth", 0.0, inf, "life", "high", "linear",
        "evidence, at its highest, that the valuable responses go to a harvester: the logarithm of what a bet on it won",
        "fewer than five different valuable responses", "evaluations, contracted data making",
        "cover traffic of valuable answers: its price", "e-detectors, Shin, Ramdas and Rinaldo 2024",
    ),
    Feature(
        "leak_taken", "responses", 0.0, inf, "life", "high", "log",
        "number of different valuable responses, each weighed by the suspicion of its exchange",
        NEVER, "every long-lived customer", "more keys: free",
        "LIMO, arXiv 2502.03387; s1, arXiv 2501.19393: a thousand traces suffice",
    ),
    share(
        "leak_mean", "high", "mean suspicion of the different valuable responses", "evaluations, contracted data making",
        "cover traffic of valuable answers: its price", "e-detectors, Shin, Ramdas and Rinaldo 2024",
        "fewer than five different valuable responses",
    ),
)  # fmt: skip
