"""Who is flagged, what they took, what is done about it, and whether it was right."""

from __future__ import annotations

from app.telemetry.dashboards.panel import Dashboard, Panel, Query, Row, rate
from app.telemetry.dashboards.sharing import EFFECT

_FLAGGED = 'level=~"suspect|confirmed"'

DETECTION = Dashboard(
    "stillwatch-detection",
    "Stillwatch: detection",
    "Who is flagged, what they took, what is done about it, and whether it was right.",
    (
        Row(
            "Verdicts",
            (
                Panel(
                    "Keys by level",
                    "Keys with a profile, by the level of their verdict; a key that is not judged yet counts as clear.",
                    "short",
                    (Query("sum by (level) (stillwatch_keys)", "{{level}}"),),
                    rises=True,
                ),
                Panel(
                    "Changes of level",
                    "Verdicts a minute that changed level, by the new level. Keys that go up and down again and again "
                    "stand at a threshold.",
                    "cpm",
                    (Query(f"{rate('stillwatch_verdict_changes_total', 'level')} * 60", "to {{level}}"),),
                    rises=True,
                    stacked=True,
                ),
                Panel(
                    "New flags against the last seven days",
                    "New suspect and confirmed verdicts an hour: in the last hour, and on the average of seven days. "
                    "Three times the average is worth a look.",
                    "short",
                    (
                        Query(f"sum (rate(stillwatch_verdict_changes_total{{{_FLAGGED}}}[1h])) * 3600", "last hour"),
                        Query(f"sum (rate(stillwatch_verdict_changes_total{{{_FLAGGED}}}[7d])) * 3600", "seven days"),
                    ),
                    rises=True,
                    runbook="StillwatchFlagRate",
                ),
                Panel(
                    "Valuable responses leaked, in total",
                    "Unique valuable responses that keys took while they were above clear, since the workers started. "
                    "About a thousand good ones train a strong student.",
                    "short",
                    (Query("sum (stillwatch_leaked_responses_total)", "leaked"),),
                    rises=True,
                ),
                Panel(
                    "Entities scored",
                    "Keys and organisations judged a second. It stops when nothing arrives, or when the workers stand "
                    "still.",
                    "ops",
                    (Query(rate("stillwatch_scored_keys_total"), "scored"),),
                ),
                Panel(
                    "Age of verdicts",
                    "Time since a worker last had judged everything it had read; the worst worker. About a second when "
                    "all is well.",
                    "s",
                    (Query("max (stillwatch_verdict_age_seconds)", "worst worker"),),
                    red_above=300,
                    runbook="StillwatchVerdictsStale",
                ),
            ),
        ),
        Row(
            "Campaigns",
            (
                Panel(
                    "Campaigns by level",
                    "Living campaigns by level, as of the newest pass. Look at a new one: `stillwatch campaigns list`.",
                    "short",
                    (Query("sum by (level) (stillwatch_campaigns)", "{{level}}"),),
                    width=24,
                    runbook="StillwatchLinkerStopped",
                ),
            ),
        ),
        EFFECT,
        Row(
            "What is done about it",
            (
                Panel(
                    "Actions, enforced and shadow",
                    "Requests a second by whether the action was taken or only counted. Shadow with the mode enforce are "
                    "keys beyond the enforced percentage.",
                    "reqps",
                    (Query(rate("stillwatch_actions_total", "effect"), "{{effect}}"),),
                    rises=True,
                ),
                Panel(
                    "Share of requests touched",
                    "Share of all requests that an action touched or would have touched. Honest traffic is the bulk, so a "
                    "large share is a mistake of the detection until shown otherwise.",
                    "percentunit",
                    (Query(f"{rate('stillwatch_actions_total')} / {rate('stillwatch_requests_total')}", "touched"),),
                    rises=True,
                    runbook="StillwatchWouldHave",
                ),
                Panel(
                    "Standing orders",
                    "Orders of people that stand now, by action; every gateway holds all of them, so the largest number "
                    "is shown.",
                    "short",
                    (Query("max by (action) (stillwatch_orders_standing)", "{{action}}"),),
                ),
            ),
        ),
        Row(
            "Was it right",
            (
                Panel(
                    "Open appeals",
                    "Appeals that wait for a decision.",
                    "short",
                    (Query("max (stillwatch_appeals_open)", "open"),),
                    width=6,
                    runbook="StillwatchAppealsOverdue",
                ),
                Panel(
                    "Oldest open appeal",
                    "How long the longest-waiting customer has waited.",
                    "s",
                    (Query("max (stillwatch_appeal_oldest_seconds)", "oldest"),),
                    width=6,
                    runbook="StillwatchAppealsOverdue",
                ),
                Panel(
                    "Decided appeals",
                    "Appeals decided in the last seven days by outcome; those overturned are false positives.",
                    "short",
                    (Query("sum by (outcome) (increase(stillwatch_appeal_outcomes_total[7d]))", "{{outcome}}"),),
                    width=6,
                    runbook="StillwatchAppealsOverturned",
                ),
                Panel(
                    "Age of the model",
                    "Time since the model's files were written, by model. Traffic drifts: fit and compare a new one every "
                    "month.",
                    "s",
                    (
                        Query(
                            "(time() - max by (instance) (stillwatch_model_written_timestamp_seconds > 0))"
                            " * on (instance) group_right () stillwatch_model_info",
                            "{{model}}",
                        ),
                    ),
                    width=6,
                    runbook="StillwatchModelOld",
                ),
                Panel(
                    "Entries that could not be judged",
                    "Entries of the last hour that went to the dead letters, and stored states that did not decode and "
                    "began anew. Both should be zero; after a change of release look for what changed.",
                    "short",
                    (
                        Query("sum (increase(stillwatch_events_dead_total[1h]))", "dead letters"),
                        Query("sum (increase(stillwatch_states_reset_total[1h]))", "states begun anew"),
                    ),
                    width=24,
                    runbook="StillwatchDeadLetters",
                ),
            ),
        ),
    ),
)
