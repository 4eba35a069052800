"""What budgets and rules do to requests."""

from __future__ import annotations

from app.telemetry.dashboards.panel import DECISION_SECONDS, WINDOW, Dashboard, Panel, Query, Row, rate

_REFUSED = 'decision=~"limited|throttled"'

LIMITS = Dashboard(
    "stillwatch-limits",
    "Stillwatch: limits",
    "What budgets and rules do to requests, and what deciding costs.",
    (
        Row(
            "Decisions",
            (
                Panel(
                    "Share limited or throttled",
                    "Share of requests that a plan's budget refused (limited) and that a verdict or order narrowed "
                    "(throttled, whether or not they passed).",
                    "percentunit",
                    (
                        Query(
                            f"{rate('stillwatch_requests_total', 'decision', _REFUSED)}"
                            f" / on () group_left () {rate('stillwatch_requests_total')}",
                            "{{decision}}",
                        ),
                    ),
                    rises=True,
                    stacked=True,
                ),
                Panel(
                    "Requests by route",
                    "Requests by operation of the API.",
                    "reqps",
                    (Query(rate("stillwatch_requests_total", "route"), "{{route}}"),),
                    rises=True,
                    stacked=True,
                ),
                Panel(
                    "Requests in flight",
                    "Requests being served, over all gateways. It grows when the model API gets slow.",
                    "short",
                    (Query("sum (stillwatch_inflight_requests)", "in flight"),),
                ),
                Panel(
                    "What enforcement would have done",
                    "Requests a second that shadow mode let pass and enforce mode would have treated otherwise.",
                    "reqps",
                    (Query(rate("stillwatch_would_have_total", "action"), "{{action}}"),),
                    runbook="StillwatchWouldHave",
                ),
                Panel(
                    "Refused by a rule about requests",
                    "Requests a minute that were refused before they were forwarded, by rule. A rise of one rule is a "
                    "client that changed, or somebody who tries the parser.",
                    "cpm",
                    (Query(f"{rate('stillwatch_parser_rejects_total', 'why')} * 60", "{{why}}"),),
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
            "What deciding costs",
            (
                DECISION_SECONDS,
                Panel(
                    "Decisions within 5 ms",
                    "Share of decisions that took at most 5 ms; the goal is 99 %.",
                    "percentunit",
                    (
                        Query(
                            f'sum (rate(stillwatch_decision_seconds_bucket{{le="0.005"}}[{WINDOW}]))'
                            f" / sum (rate(stillwatch_decision_seconds_count[{WINDOW}]))",
                            "within 5 ms",
                        ),
                    ),
                    runbook="StillwatchDecisionSlow",
                ),
                Panel(
                    "Decisions by failure policy",
                    "Requests a second decided without state: local (a bucket in memory), open or closed.",
                    "reqps",
                    (Query(rate("stillwatch_failure_mode_total", "policy"), "{{policy}}"),),
                    runbook="StillwatchFallbackActive",
                ),
                Panel(
                    "Let go under overload",
                    "What overloaded gateways did without, a second: requests and connections that they refused unread, "
                    "and idle connections that they closed to make room, which costs nobody anything.",
                    "ops",
                    (Query(rate("stillwatch_shed_total", "what"), "{{what}}"),),
                    width=24,
                    runbook="StillwatchShedding",
                ),
            ),
        ),
    ),
)
