"""What else runs, who stands behind a key, and what comes back."""

from __future__ import annotations

from math import inf

from detectors.catalogue.feature import FEW, UNJUDGED, UNOUTLINED, Feature, count, share

PROVENANCE: tuple[Feature, ...] = (
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
    share(
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
        FEW, "products with many end users, aggregators", "one conversation per key: free",
        "disclosed campaigns: resold access",
    ),
    share(
        "end_user_share", "low", "share of exchanges that name an end user", "scripts, backends of one team",
        "make names up: free", "disclosed campaigns: resold access",
    ),
    Feature(
        "end_user_diversity", "end users", 0.0, inf, "life", "both", "log",
        "number of different end users named; error 10 % above eight", "no end user was ever named",
        "products with many end users", "make names up: free", "disclosed campaigns: resold access",
    ),
    share(
        "client_mismatch_share", "high",
        "share of exchanges whose user-agent names a library without its other headers, or the other way round",
        "proxies that drop headers, own clients", "send both: free", "disclosed campaigns: resold access",
        "fewer than five exchanges that say what sent them",
    ),
    # --- What comes back
    share(
        "parameter_novelty", "both", "share of exchanges with sampling settings that are not among the known ones",
        "playgrounds (many), every program (few)", "copy honest settings: free",
        "Alpaca, Self-Instruct: one setting for all",
    ),
    share(
        "output_echo_share", "high",
        "share of exchanges outside a conversation that hold one of the last 24 answers: rewritten, cleaned",
        "editors, translators, agents that hand texts on", "another key for the next step: free",
        "Evol-Instruct, arXiv 2304.12244: the output is the next input",
    ),
    count(
        "output_echoes", "number of exchanges outside a conversation that hold one of the last 24 answers",
        "editors, translators, agents that hand texts on", "another key for the next step: free",
        "Evol-Instruct, arXiv 2304.12244: the output is the next input",
    ),
    Feature(
        "foreign_reasoning", "blocks", 0.0, inf, "7 d", "high", "log",
        "number of different blocks of reasoning brought back that were never given to this entity", UNJUDGED,
        "conversations begun at another endpoint of the provider", "bring none back: gatherers lose continuation",
        "AA26-251A: reasoning pooled between accounts",
    ),
    share(
        "foreign_reasoning_share", "high",
        "of the exchanges that bring reasoning back, the share with a block that was never given to this entity",
        "conversations begun at another endpoint of the provider", "bring none back: gatherers lose continuation",
        "AA26-251A: reasoning pooled between accounts", UNJUDGED,
    ),
    share(
        "moved_reasoning_share", "high",
        "of the exchanges that bring reasoning back, the share with a block that was given in another conversation",
        "agents that shorten their history", "keep the history: costs input tokens",
        "AA26-251A: reasoning pooled between accounts", UNJUDGED,
    ),
    share(
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
    # --- Induced templates
    share(
        "template_share", "high",
        "share of different requests under one of up to four templates, each induced from what stayed the same, in order, "
        "among the entity's own requests; nothing is masked by a list",
        "pipelines, graders, products that wrap user input", "a paraphrase per request: an extra model call each",
        "Drain, ICWS 2017; Spell, ICDM 2016; Polygraph, IEEE S&P 2005: ordered constant tokens", UNOUTLINED,
    ),
    # --- Account
    Feature(
        "account_age_d", "days", 0.0, inf, "now", "low", "log", "age of the account",
        "it is unknown when the account was made", "every new customer", "age accounts: time and subscriptions",
        "velocity rules of card-testing defences",
    ),
)  # fmt: skip
