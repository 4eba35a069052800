"""What is shared between providers: whether it gets through, and what it shows here. A row on each of two dashboards."""

from __future__ import annotations

from app.telemetry.dashboards.panel import Panel, Query, Row, rate

_NOBODY = 'or on () label_replace(vector(0), "peer", "no peers", "", "")'

TRANSPORT = Row(
    "Sharing",
    (
        Panel(
            "Peers that are not read",
            "By how much the last poll of a peer that went well is older than its interval; zero when all is well. What a "
            "peer takes back counts here until it is read again. `stillwatch intel peers` says what is wrong.",
            "s",
            (Query(f"max by (peer) (stillwatch_peer_overdue_seconds) {_NOBODY}", "{{peer}}"),),
            red_above=3600,
            runbook="StillwatchPeerUnread",
        ),
        Panel(
            "Polls of peers",
            "Polls of peers and of their collections a minute, by result.",
            "cpm",
            (Query(f"{rate('stillwatch_peer_polls_total', 'result')} * 60", "{{result}}"),),
            runbook="StillwatchPeerUnread",
        ),
        Panel(
            "Objects between providers",
            "Objects a minute: read by members, taken from them or refused; taken from peers or dropped; sent to peers.",
            "cpm",
            (Query(f"{rate('stillwatch_shared_objects_total', 'way')} * 60", "{{way}}"),),
        ),
        Panel(
            "What became of received objects",
            "Objects a minute that were taken from the queue: new or changed indicators, retractions, words of others; "
            "known already, without meaning for us, or refused.",
            "cpm",
            (Query(f"{rate('stillwatch_shared_digested_total', 'result')} * 60", "{{result}}"),),
            runbook="StillwatchSharedWaiting",
        ),
        Panel(
            "Received objects that wait",
            "Received objects that nobody has looked at yet. Above zero for seconds after a large publication.",
            "short",
            (Query("max (stillwatch_shared_waiting)", "waiting"),),
            width=4,
            runbook="StillwatchSharedWaiting",
        ),
        Panel(
            "Oldest that waits",
            "Age of the oldest of them. It grows when nobody takes them, or when they cannot be taken.",
            "s",
            (Query("max (stillwatch_shared_waiting_seconds)", "oldest"),),
            width=4,
            red_above=600,
            runbook="StillwatchSharedWaiting",
        ),
        Panel(
            "What has not left yet",
            "For how long publications that are not in their feed, and our words to peers, have waited. A retraction that "
            "is not in its feed takes nothing back.",
            "s",
            (Query("max by (what) (stillwatch_shared_unsent_seconds)", "{{what}}"),),
            red_above=300,
            runbook="StillwatchSharedUnsent",
        ),
    ),
)
"""Whether what is shared gets through; for the page about the pipeline."""

EFFECT = Row(
    "Sharing",
    (
        Panel(
            "Indicators that are looked for",
            "Received indicators that keys are compared with, and those that are not looked for because settled customers "
            "show them, at the worker with the most.",
            "short",
            (
                Query("max (stillwatch_shared_looked_for)", "looked for"),
                Query("max (stillwatch_shared_common)", "common here"),
            ),
        ),
        Panel(
            "Hits",
            "Pairs a minute of a key and a received indicator that it shows, by kind of indicator. A jump with many kinds "
            "is a campaign that others know; one with a single plain kind is often an indicator that is too wide.",
            "cpm",
            (Query(f"{rate('stillwatch_shared_hits_total', 'kind')} * 60", "{{kind}}"),),
        ),
        Panel(
            "What may follow",
            "Keys a minute by what may follow from what they show: nothing, an earlier review, action without a person.",
            "cpm",
            (Query(f"{rate('stillwatch_shared_effects_total', 'effect')} * 60", "{{effect}}"),),
        ),
        Panel(
            "Actions that follow",
            "Actions of the last day that follow from received indicators, in shadow or ordered.",
            "short",
            (Query("sum by (mode) (increase(stillwatch_shared_actions_total[1d]))", "{{mode}}"),),
            width=6,
        ),
        Panel(
            "Time in matching",
            "Share of the time of a core, over all workers, in which traces are compared with what is looked for.",
            "percentunit",
            (Query(rate("stillwatch_shared_match_seconds_sum"), "matching"),),
            width=6,
        ),
        Panel(
            "Our words",
            "What our people said of received indicators in the last seven days. Many disagreements with one reporter: "
            "look at what it sends.",
            "short",
            (Query("sum by (word) (increase(stillwatch_shared_words_total[7d]))", "{{word}}"),),
            width=6,
        ),
        Panel(
            "Publications",
            "What people did about publications in the last seven days.",
            "short",
            (Query("sum by (result) (increase(stillwatch_publications_total[7d]))", "{{result}}"),),
            width=6,
        ),
    ),
)
"""What is shared shows here, and what follows; for the page about detection."""
