"""How widely an entity asks, from where, what it takes and which abilities it draws on."""

from __future__ import annotations

from math import inf

from detectors.catalogue.feature import NEVER, Feature, share

BREADTH: tuple[Feature, ...] = (
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
    share(
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
    share(
        "retry_rate", "both", "share of exchanges that are retries of the client library", "clients behind tight limits",
        "switch retries off: free", "ServeGen, arXiv 2505.09999", "fewer than five exchanges in the window",
    ),
    share(
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
    share(
        "valuable_share", "high",
        "share of answers worth training on: 200 tokens or more, reasoned, or a tool step; no refusals",
        "writers, agents, reasoning users", "short answers: worth less",
        "LIMO, arXiv 2502.03387; s1, arXiv 2501.19393: a thousand traces suffice",
    ),
    Feature(
        "valuable_total", "responses", 0.0, inf, "life", "high", "log",
        "number of different valuable responses ever taken; error 7.4 % above 16", NEVER, "every long-lived customer",
        "more keys: free", "LIMO, arXiv 2502.03387; s1, arXiv 2501.19393: a thousand traces suffice",
    ),
    share(
        "reasoning_share", "high", "share of answers with hidden reasoning", "users of reasoning models",
        "another model: worth less",
        "Alpaca, Self-Instruct: little in, much out",
    ),
    share(
        "tool_share", "both", "share of exchanges with tools", "agents", "none needed",
        "disclosed campaigns: one capability",
    ),
    # --- Abilities
    share(
        "code_share", "both", "share of exchanges about code, by marks that programs have", "programmers, code products",
        "none needed: a harvest of something else", "disclosed campaigns: one capability",
    ),
    share(
        "maths_share", "both", "share of exchanges that hold sums or formulas",
        "tutors, finance, evaluations of mathematics",
        "none needed: a harvest of something else", "disclosed campaigns: one capability",
    ),
    share(
        "ability_concentration", "both",
        "share of the most common of seven abilities drawn on: code, mathematics, tools, grading, making, writing, "
        "extracting",
        "pipelines and agents (one), aggregators (many)", "mix pools on a key: cheap",
        "disclosed campaigns: one capability",
    ),
    share(
        "thinking_share", "high", "share of hidden reasoning in the output tokens", "users of reasoning models",
        "a smaller thinking budget: worth less", "disclosed campaigns: reasoning demanded",
    ),
    share(
        "forced_answer_share", "high", "share of answers that begin with a tag that the request asked for",
        "prompt-engineered products that parse tags", "another delimiter: free until it is listed",
        "disclosed campaigns: reasoning in tags", "fewer than five answers whose text was kept",
    ),
    Feature(
        "constant_elicitations", "exchanges", 0.0, inf, "7 d", "high", "log",
        "number of exchanges that ask for reasoning with an element that earlier ones carried too: a fragment added to a "
        "few of many chats counts in full",
        NEVER, "explanation products, tutors", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: reasoning demanded inside relayed chats",
    ),
    share(
        "constant_elicitation_share", "high",
        "share of exchanges that ask for reasoning with an element that earlier ones carried too",
        "explanation products, tutors", "a paraphrase per request: an extra model call each",
        "disclosed campaigns: one fragment in every request",
    ),
)  # fmt: skip
