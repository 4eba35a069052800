"""The way of an event from gateway to archive, and what happens when a part of the service is away."""

from __future__ import annotations

from app.telemetry.dashboards.panel import (
    FALLBACK,
    KILL_SWITCH,
    Dashboard,
    Panel,
    Query,
    Row,
    State,
    quantiles,
    rate,
)
from app.telemetry.dashboards.sharing import TRANSPORT

PIPELINE = Dashboard(
    "stillwatch-pipeline",
    "Stillwatch: pipeline and failure",
    "The way of an event from gateway to archive, and what happens when a part of the service is away.",
    (
        Row(
            "Failure",
            (
                KILL_SWITCH,
                FALLBACK,
                Panel(
                    "State server",
                    "Whether the deciding connection of every gateway is up.",
                    "none",
                    (Query("min (stillwatch_state_up)", "state"),),
                    kind="stat",
                    width=6,
                    states=(State(0, "AWAY for a gateway", "red"), State(1, "up for all", "green")),
                    runbook="StillwatchStateDown",
                ),
                Panel(
                    "Policy in force",
                    "How often policy has changed, the least and the most of all processes. They differ for a second "
                    "after a change; if they stay different, one process has kept an older policy.",
                    "short",
                    (
                        Query("min (stillwatch_policy_generation)", "least"),
                        Query("max (stillwatch_policy_generation)", "most"),
                    ),
                    kind="stat",
                    width=6,
                    runbook="StillwatchPolicyRejected",
                ),
                Panel(
                    "Memory of the state",
                    "Memory in use at the state server, at the fullest master of a Cluster, and what it may use "
                    "(maxmemory; 0 for no limit, or where the server does not tell). A full server refuses writes.",
                    "bytes",
                    (
                        Query("max (stillwatch_state_memory_bytes)", "in use"),
                        Query("max (stillwatch_state_memory_limit_bytes)", "limit"),
                    ),
                    runbook="StillwatchStateMemory",
                ),
                Panel(
                    "Decisions by failure policy",
                    "Requests a second decided without state: local (a bucket in memory), open or closed.",
                    "reqps",
                    (Query(rate("stillwatch_failure_mode_total", "policy"), "{{policy}}"),),
                    runbook="StillwatchFallbackActive",
                ),
                Panel(
                    "Errors of our own",
                    "Answers with 5xx a minute that gateways made themselves, by cause. `upstream`: the model API could "
                    "not be reached or broke off, which is not our failure.",
                    "cpm",
                    (Query(f"{rate('stillwatch_own_errors_total', 'cause')} * 60", "{{cause}}"),),
                    runbook="StillwatchErrorBudgetFast",
                ),
                Panel(
                    "How exchanges ended",
                    "Exchanges a second by how they ended.",
                    "reqps",
                    (Query(rate("stillwatch_outcomes_total", "outcome"), "{{outcome}}"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Events",
            (
                Panel(
                    "Events appended, spooled and applied",
                    "Events a second that the stream acknowledged, that went to disk because state was away, and that "
                    "workers applied. Appended and applied should be the same but for a moment.",
                    "ops",
                    (
                        Query(rate("stillwatch_events_appended_total"), "appended"),
                        Query(rate("stillwatch_events_spooled_total"), "spooled"),
                        Query(rate("stillwatch_events_applied_total"), "applied"),
                    ),
                    rises=True,
                ),
                Panel(
                    "Events lost",
                    "Events lost in the last hour, by reason. Every one is a request that detection will not see.",
                    "short",
                    (Query("sum by (reason) (increase(stillwatch_events_dropped_total[1h]))", "{{reason}}"),),
                    red_above=1,
                    runbook="StillwatchEventsDropped",
                ),
                Panel(
                    "Spool in use",
                    "Share of the disk spool that is filled, the fullest gateway. When it is full, events are lost.",
                    "percentunit",
                    (Query("max (stillwatch_spool_bytes / stillwatch_spool_limit_bytes)", "fullest"),),
                    red_above=0.5,
                    runbook="StillwatchSpoolFilling",
                ),
                Panel(
                    "Entries waiting",
                    "Events in the streams that no worker has applied yet.",
                    "short",
                    (Query("sum (stillwatch_stream_lag_entries)", "waiting"),),
                    runbook="StillwatchLag",
                ),
                Panel(
                    "Oldest entry waiting",
                    "Age of the oldest event that no worker has applied yet: so much later does a verdict come.",
                    "s",
                    (Query("max (stillwatch_oldest_unprocessed_seconds)", "oldest"),),
                    red_above=60,
                    runbook="StillwatchLag",
                ),
                Panel(
                    "Time of a batch",
                    "Reading, analysing and committing one batch of a partition.",
                    "s",
                    quantiles("stillwatch_batch_seconds", 0.5, 0.95),
                ),
                Panel(
                    "Partitions owned",
                    "Partitions each worker owns. Together they must be all partitions of the deployment, 16 unless "
                    "configured otherwise.",
                    "short",
                    (Query("sum by (instance) (stillwatch_partitions_owned)", "{{instance}}"),),
                    stacked=True,
                    runbook="StillwatchNoWorker",
                ),
                Panel(
                    "Leases lost",
                    "Partitions of the last hour that another worker took over before a commit. More than a few after a "
                    "restart: a worker stands still for longer than its lease.",
                    "short",
                    (Query("sum (increase(stillwatch_leases_lost_total[1h]))", "lost"),),
                ),
                Panel(
                    "Archive",
                    "Rows a second in finished archive files, and files that could not be written.",
                    "ops",
                    (
                        Query(rate("stillwatch_archived_rows_total"), "rows"),
                        Query(rate("stillwatch_archive_failures_total"), "failed files"),
                    ),
                    runbook="StillwatchArchiveFailing",
                ),
            ),
        ),
        Row(
            "Linker",
            (
                Panel(
                    "How far campaigns are behind",
                    "Event time between the newest exchange and the moment up to which campaigns are known: two to three "
                    "minutes when all is well.",
                    "s",
                    (Query("max (stillwatch_link_lag_seconds)", "behind"),),
                    red_above=900,
                    runbook="StillwatchLinkerLag",
                ),
                Panel(
                    "Newest turn of the linker",
                    "Time since the linker last got through a turn, the worst worker; seconds when all is well. One "
                    "that hangs, or fails at every pass, shows here.",
                    "s",
                    (Query("max (stillwatch_link_age_seconds)", "worst worker"),),
                    red_above=600,
                    runbook="StillwatchLinkerStopped",
                ),
                Panel(
                    "Time in passes",
                    "Share of the time in which a pass over the fleet is made. Near one, passes follow each other without "
                    "a pause, and the linker falls behind.",
                    "percentunit",
                    (Query(rate("stillwatch_link_seconds_sum"), "in passes"),),
                    runbook="StillwatchLinkerLag",
                ),
                Panel(
                    "Keys that are linked",
                    "Keys whose trace the linker holds, about a kilobyte each. Zero while nobody links.",
                    "short",
                    (Query("sum (stillwatch_link_keys)", "keys"),),
                    width=12,
                    runbook="StillwatchLinkerStopped",
                ),
                Panel(
                    "Passes that failed or lacked something",
                    "In the last hour: passes that failed, passes made without a partition that stayed behind, and traces "
                    "dropped before the linker read them. All should be zero.",
                    "short",
                    (
                        Query("sum (increase(stillwatch_link_failures_total[1h]))", "failed"),
                        Query("sum (increase(stillwatch_link_incomplete_total[1h]))", "without a partition"),
                        Query("sum (increase(stillwatch_traces_dropped_total[1h]))", "traces dropped"),
                    ),
                    width=12,
                    runbook="StillwatchLinkerStopped",
                ),
            ),
        ),
        TRANSPORT,
        Row(
            "People",
            (
                Panel(
                    "Age of the local copy of control",
                    "Age of the copy of policy, orders and kill switch that a process holds, the oldest. It grows while "
                    "state is away; the copy goes on to hold.",
                    "s",
                    (Query("max (stillwatch_control_age_seconds)", "oldest"),),
                    width=6,
                    runbook="StillwatchControlStale",
                ),
                Panel(
                    "Admin API",
                    "Requests a minute to the admin API by status class.",
                    "cpm",
                    (Query(f"{rate('stillwatch_admin_requests_total', 'status')} * 60", "{{status}}"),),
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Refused credentials",
                    "Refused credentials of the admin API a minute, by kind.",
                    "cpm",
                    (Query(f"{rate('stillwatch_auth_failures_total', 'kind')} * 60", "{{kind}}"),),
                    width=6,
                    runbook="StillwatchAuthFailures",
                ),
                Panel(
                    "Audit log",
                    "Records of the last hour that were written, and that could not be; what the latter were about was "
                    "refused.",
                    "short",
                    (
                        Query("sum (increase(stillwatch_audit_records_total[1h]))", "written"),
                        Query("sum (increase(stillwatch_audit_write_failures_total[1h]))", "failed"),
                    ),
                    width=6,
                    runbook="StillwatchAuditWriteFailed",
                ),
                Panel(
                    "Policies rejected",
                    "Policies in the last day that broke a rule, by where they came from, and processes where that is "
                    "still so; the last good one stays in force.",
                    "short",
                    (
                        Query("sum by (source) (increase(stillwatch_policy_rejected_total[1d]))", "{{source}}"),
                        Query("sum by (source) (stillwatch_policy_bad)", "{{source}}, still"),
                    ),
                    width=12,
                    runbook="StillwatchPolicyRejected",
                ),
                Panel(
                    "Versions",
                    "Processes by version and kind. Two versions side by side are fine during an upgrade only.",
                    "short",
                    (Query("count by (version, process) (stillwatch_build_info)", "{{process}} {{version}}"),),
                    width=12,
                ),
            ),
        ),
    ),
)
