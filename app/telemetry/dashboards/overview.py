"""Is the service well, and is somebody harvesting: the page to open first."""

from __future__ import annotations

from app.telemetry.dashboards.panel import (
    DECISION_SECONDS,
    FALLBACK,
    KILL_SWITCH,
    Dashboard,
    Panel,
    Query,
    Row,
    quantiles,
    rate,
)

_OURS = 'cause!="upstream"'
_AVAILABILITY = f"1 - {rate('stillwatch_own_errors_total', where=_OURS)} / {rate('stillwatch_responses_total')}"
_FIRING = (
    'count by (alertname) (ALERTS{alertname=~"Stillwatch.*", alertstate="firing"}) '
    'or on () label_replace(vector(0), "alertname", "none", "", "")'
)

OVERVIEW = Dashboard(
    "stillwatch-overview",
    "Stillwatch: overview",
    "Is the service well, and is somebody harvesting the model.",
    (
        Row(
            "Now",
            (
                KILL_SWITCH,
                FALLBACK,
                Panel(
                    "Processes",
                    "Processes that answer their scrape, by kind. Each kind should be there at least once.",
                    "short",
                    (Query("count by (process) (stillwatch_build_info)", "{{process}}"),),
                    kind="stat",
                    width=6,
                    runbook="StillwatchNoGateway",
                ),
                Panel(
                    "Alerts that fire",
                    "Alerts of Stillwatch that fire now, by name and how often. The page of each in docs/runbooks says "
                    "what to do.",
                    "short",
                    (Query(_FIRING, "{{alertname}}"),),
                    kind="stat",
                    width=6,
                    red_above=1,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel(
                    "Requests by decision",
                    "Requests by what was decided: allow, limited (a budget of the plan was used up), throttled (a "
                    "verdict or an order narrowed the budgets), refused (a rule about requests was broken). A campaign "
                    "shows as a rise that turns into throttled.",
                    "reqps",
                    (Query(rate("stillwatch_requests_total", "decision"), "{{decision}}"),),
                    rises=True,
                    stacked=True,
                ),
                Panel(
                    "Answers by status class",
                    "What clients were answered, the upstream's answers included.",
                    "reqps",
                    (Query(rate("stillwatch_responses_total", "status"), "{{status}}"),),
                    stacked=True,
                ),
                Panel(
                    "Availability of Stillwatch",
                    "Share of answers that were no 5xx of our own. Errors of the model API do not count here. The "
                    "objective is 99.9 %.",
                    "percentunit",
                    (Query(_AVAILABILITY, "available"),),
                    runbook="StillwatchErrorBudgetFast",
                ),
                DECISION_SECONDS,
                Panel(
                    "Time to the upstream's first byte",
                    "From forwarding a request to the first byte of its answer: the model API, not Stillwatch.",
                    "s",
                    quantiles("stillwatch_upstream_first_byte_seconds", 0.5, 0.95),
                ),
                Panel(
                    "Tokens",
                    "Tokens settled a second, as the upstream counted them.",
                    "tps",
                    (Query(rate("stillwatch_tokens_total", "direction"), "{{direction}}"),),
                ),
            ),
        ),
        Row(
            "Harvesting",
            (
                Panel(
                    "Keys above clear",
                    "Keys whose verdict is watch, suspect or confirmed now. A step of many keys within minutes is a "
                    "campaign, or a mistake: look at the reasons before anything else.",
                    "short",
                    (Query('sum by (level) (stillwatch_keys{level!="clear"})', "{{level}}"),),
                    rises=True,
                    stacked=True,
                    runbook="StillwatchFlagRate",
                ),
                Panel(
                    "Requests touched by an action",
                    "Requests a second about which policy or a person's order did something (enforced), or would have done "
                    "something (shadow).",
                    "reqps",
                    (Query(rate("stillwatch_actions_total", "action, effect"), "{{action}} {{effect}}"),),
                    rises=True,
                ),
                Panel(
                    "Valuable responses leaked",
                    "Unique valuable responses a minute that keys took while they were above clear: what the attack gains, "
                    "and what containment is measured by.",
                    "cpm",
                    (Query(f"{rate('stillwatch_leaked_responses_total')} * 60", "leaked"),),
                    rises=True,
                ),
            ),
        ),
    ),
)
