"""Every metric of every process, once. Labels come from fixed lists: never a key, a path, or a model a client named; names
of peers are those of the operator's own file.

Units are in the names (`_seconds`, `_bytes`); counters end in `_total`. `docs/metrics.md` is generated from this file.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry(auto_describe=True)


class Pending(Protocol):
    """Somebody who counts for himself and hands the counts over when they are asked for."""

    def flush(self) -> None:
        """Add what was counted to the metrics."""
        ...


class _Flush:
    """The registry's first collector: before anything is read, what is pending is added."""

    def __init__(self) -> None:
        self.sources: weakref.WeakSet[Pending] = weakref.WeakSet()

    def collect(self) -> Iterator[Metric]:
        """Metrics of its own it has none."""
        for source in list(self.sources):
            source.flush()
        return iter(())


_flush = _Flush()
REGISTRY.register(_flush)


def before_reading(source: Pending) -> None:
    """Have `source` hand over its counts whenever the registry is read. It is not kept alive for that."""
    _flush.sources.add(source)


_DECISION_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.06, 0.1, 0.25, 1.0)
_LATENCY_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


def _counter(name: str, text: str, *labels: str, **fixed: Sequence[str]) -> Counter:
    counter = Counter(f"stillwatch_{name}", text, (*labels, *fixed), registry=REGISTRY)
    _begin(counter, labels, fixed)
    return counter


def _gauge(name: str, text: str, *labels: str, **fixed: Sequence[str]) -> Gauge:
    gauge = Gauge(f"stillwatch_{name}", text, (*labels, *fixed), registry=REGISTRY)
    _begin(gauge, labels, fixed)
    return gauge


FIXED: dict[str, dict[str, tuple[str, ...]]] = {}
"""Metric → label → every value that it may have, for labels whose values are known here."""


def _begin(metric: Counter | Gauge, labels: Sequence[str], fixed: Mapping[str, Sequence[str]]) -> None:
    """Let every series begin at zero: a counter that appears with its first count shows no increase for that one."""
    if fixed:
        FIXED[metric._name] = {label: tuple(values) for label, values in fixed.items()}
    if fixed and not labels:
        for values in itertools.product(*fixed.values()):
            metric.labels(*values)


LEVELS = ("clear", "watch", "suspect", "confirmed")
ACTIONS_TAKEN = ("throttle", "cap", "step_up", "suspend")
LOST = ("build", "spool_full", "spool_error", "spool_damaged", "refused", "archive_behind", "bad_row")
BROKEN_RULES = (
    "body_bytes", "body_time", "credential_count", "credential_size", "encoding", "header_bytes", "header_count",
    "header_time", "host", "http", "json", "json_depth", "json_duplicate", "method", "no_credential", "path",
    "unknown_key", "unlogged", "upgrade",
)  # fmt: skip
ENDINGS = ("complete", "disconnected", "upstream_cut", "upstream_error", "refused", "stopped")
POLICY_SOURCES = ("file", "state")
OWN_ERRORS = ("internal", "unavailable", "unlogged", "upstream", "upstream_busy")

BUILD_INFO = _gauge("build_info", "Always 1; the version that runs.", "version", "process")

# Gateway
REQUESTS = _counter("requests_total", "Requests by route class and what was decided.", "route", "decision")
RESPONSES = _counter("responses_total", "Answers by route class and status class (2xx, 4xx, 5xx).", "route", "status")
OWN_ERRORS_TOTAL = _counter(
    "own_errors_total",
    "Answers with 5xx that the gateway made itself, by cause; `upstream`: the model API could not be reached or broke off.",
    cause=OWN_ERRORS,
)
OUTCOMES = _counter("outcomes_total", "How exchanges ended.", outcome=ENDINGS)
REJECTS = _counter("parser_rejects_total", "Requests refused before they were forwarded, by rule.", why=BROKEN_RULES)
WATERMARKED = _counter(
    "watermark_responses_total",
    "Answers of a gateway that marks them; marked: by the engine, or by choice; unmarked: why not.",
    "outcome",
    "reason",
)
WATERMARK_DROPPED = _counter(
    "watermark_dropped_tokens_total",
    "Output tokens that the model made for candidates which were not chosen, and which no client is charged for.",
)
SHED = _counter(
    "shed_total",
    "What an overloaded gateway let go unread: idle connections it closed, new connections and late requests it refused.",
    what=("idle_connection", "connection", "request"),
)
DECISION_SECONDS = Histogram(
    "stillwatch_decision_seconds",
    "Time of the one state round trip before forwarding.",
    buckets=_DECISION_BUCKETS,
    registry=REGISTRY,
)
FIRST_BYTE_SECONDS = Histogram(
    "stillwatch_upstream_first_byte_seconds",
    "Time from forwarding to the first byte of the answer.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
KEYS_ADOPTED = _counter("keys_adopted_total", "Keys taken over from their id under the previous pepper.")
INFLIGHT = _gauge("inflight_requests", "Requests being served by this process.")
TOKENS = _counter("tokens_total", "Tokens settled, by direction.", direction=("input", "output"))
SHADOW = _counter(
    "would_have_total", "Requests that enforce mode would have treated otherwise.", action=(*ACTIONS_TAKEN, "refuse")
)
ACTIONS = _counter(
    "actions_total",
    "Requests touched by an action; shadow: it was only counted.",
    action=ACTIONS_TAKEN,
    effect=("enforced", "shadow"),
)
FALLBACK = _counter(
    "failure_mode_total", "Requests decided without state, by what the policy did.", policy=("open", "local", "closed")
)
STATE_UP = _gauge("state_up", "1 while the connection that decides is up and answers, else 0.")
FALLBACK_ACTIVE = _gauge("fallback_active", "1 while decisions are made by failure policy, else 0.")

# Control: policy, orders of people, kill switch, as this process holds them
KILL_SWITCH = _gauge("kill_switch", "0 off, 1 no action is taken, 2 limits are off too.")
POLICY_GENERATION = _gauge("policy_generation", "Rises with every policy that came into force.")
POLICY_REJECTED = _counter(
    "policy_rejected_total", "Policies that were refused; the last good one stays.", source=POLICY_SOURCES
)
POLICY_BAD = _gauge(
    "policy_bad",
    "1 while the policy file (file), or the policy or plans in state, are wrong or gone and an earlier one is in force.",
    source=POLICY_SOURCES,
)
CONTROL_AGE_SECONDS = _gauge("control_age_seconds", "Age of the local copy of policy, orders and kill switch.")
ORDERS_STANDING = _gauge("orders_standing", "Standing orders of people, by action.", action=("observe", *ACTIONS_TAKEN))

# Event log
EVENTS_APPENDED = _counter("events_appended_total", "Events acknowledged by the stream.")
EVENTS_SPOOLED = _counter("events_spooled_total", "Events written to the disk spool because state was away.")
EVENTS_DROPPED = _counter("events_dropped_total", "Events lost, by reason.", reason=LOST)
SPOOL_BYTES = _gauge("spool_bytes", "Bytes waiting in the disk spool.")
SPOOL_LIMIT_BYTES = _gauge("spool_limit_bytes", "Bytes that the disk spool may hold.")

# Worker
EVENTS_APPLIED = _counter("events_applied_total", "Events applied to profiles.")
EVENTS_DEAD = _counter("events_dead_total", "Entries moved to the dead-letter stream.")
EVENTS_ERASED = _counter("events_erased_total", "Events left out because their key's data was erased after they were made.")
PARTITIONS_OWNED = _gauge("partitions_owned", "Partitions this worker holds a lease for.")
STREAM_LAG = _gauge("stream_lag_entries", "Entries waiting in the streams this worker owns.")
STREAM_AGE_SECONDS = _gauge("oldest_unprocessed_seconds", "Age of the oldest entry waiting in owned streams.")
BATCH_SECONDS = Histogram(
    "stillwatch_batch_seconds",
    "Time to read, analyse and commit one batch.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
STATES_RESET = _counter("states_reset_total", "Stored entity states that did not decode, so the entity started anew.")
ARCHIVE_FAILURES = _counter("archive_failures_total", "Archive files that could not be written; they are tried again.")
SCORED = _counter("scored_keys_total", "Entities scored.")
VERDICTS = _counter("verdict_changes_total", "Verdicts that changed level, by new level.", level=LEVELS)
VERDICT_AGE_SECONDS = _gauge(
    "verdict_age_seconds", "Time since this worker last had judged everything it had read; 0 to a second when all is well."
)
KEYS = _gauge("keys", "Keys with a profile in owned partitions, by level.", level=LEVELS)
LEAKED = _counter("leaked_responses_total", "Unique valuable responses that keys took while they were above clear.")
MODEL_INFO = _gauge("model_info", "Always 1; the model that judges.", "model")
MODEL_WRITTEN = _gauge(
    "model_written_timestamp_seconds", "Unix time at which the model's files were written; 0 for the named rules alone."
)
LOOKS = _counter("looks_total", "Looks at the whole fleet that this worker has taken over, its own among them.")
FEATURES_FROZEN = _gauge(
    "features_frozen", "Features that scorers are not shown since the newest look, as the whole fleet moved in them."
)
REFERENCE_OLD = _gauge("reference_old", "1 while more features have moved than may be frozen: the model is of other days.")
KEYS_CALLED = _gauge("keys_called", "Keys that stood out at the newest look, few of them expected to be honest.")
CAMPAIGNS = _gauge("campaigns", "Living campaigns by level, at the worker that links; 0 at others.", level=LEVELS[1:])
LINK_SECONDS = Histogram(
    "stillwatch_link_seconds",
    "Time of one pass of the linker over the whole fleet.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
LINK_KEYS = _gauge("link_keys", "Keys that the linker knows, at the worker that links; 0 at others.")
LINK_LAG_SECONDS = _gauge(
    "link_lag_seconds",
    "Event time between the newest exchange and the moment up to which campaigns are known; two to three minutes.",
)
LINK_AGE_SECONDS = _gauge(
    "link_age_seconds",
    "Time since the linker last got through a turn, or this worker last found that another one links; a few seconds.",
)
LINK_INCOMPLETE = _counter("link_incomplete_total", "Passes made without a partition that stayed behind for too long.")
LINK_FAILURES = _counter("link_failures_total", "Passes of the linker that failed; they are tried again after a minute.")
TRACES_DROPPED = _counter("traces_dropped_total", "Traces dropped because too many waited for the linker.")
ARCHIVED_ROWS = _counter("archived_rows_total", "Rows in finished archive files.")
LEASES_LOST = _counter("leases_lost_total", "Partitions whose lease was taken over before a commit.")
STATE_MEMORY_BYTES = _gauge(
    "state_memory_bytes",
    "Memory in use at the state server, of a Cluster at its fullest master; 0 where the server does not tell.",
)
STATE_MEMORY_LIMIT_BYTES = _gauge("state_memory_limit_bytes", "What that server may use (maxmemory); 0 for no limit.")

# Admin
ADMIN_REQUESTS = _counter("admin_requests_total", "Admin API requests by route name and status class.", "route", "status")
AUTH_FAILURES = _counter(
    "auth_failures_total", "Refused credentials by kind.", kind=("missing", "wrong", "limited", "forbidden")
)
AUDIT_RECORDS = _counter("audit_records_total", "Records added to the audit log.")
AUDIT_WRITE_FAILURES = _counter(
    "audit_write_failures_total", "Audit records that could not be written; what they were about was refused."
)
APPEALS_OPEN = _gauge("appeals_open", "Appeals that wait for a decision.")
APPEAL_OLDEST_SECONDS = _gauge("appeal_oldest_seconds", "Age of the oldest open appeal; 0 without one.")
APPEAL_OUTCOMES = _counter(
    "appeal_outcomes_total",
    "Decided appeals by outcome: the action was right, wrong, or right in part.",
    outcome=("upheld", "overturned", "partly"),
)
SHARED_OBJECTS = _counter(
    "shared_objects_total",
    "Objects that went between providers: read by members, taken from them or refused; taken from peers or dropped; "
    "sent to peers.",
    way=("served", "taken", "refused", "polled", "dropped", "sent"),
)
SHARED_WORDS = _counter(
    "shared_words_total",
    "Words of our people about received indicators, each counted when it is said or changed.",
    word=("agree", "disagree"),
)
PUBLICATIONS = _counter(
    "publications_total",
    "What people did about publications of campaigns.",
    result=("proposed", "published", "refused", "retracted"),
)
PEER_POLLS = _counter("peer_polls_total", "Polls of peers and of their collections by result.", result=("read", "fault"))
SHARED_LOOKED_FOR = _gauge("shared_looked_for", "Received indicators that keys of this worker are compared with.")
SHARED_COMMON = _gauge(
    "shared_common", "Received indicators that this worker does not look for, because its settled customers show them."
)
SHARED_HITS = _counter(
    "shared_hits_total",
    "Pairs of a key and a received indicator that it shows, by kind of indicator.",
    kind=("template", "contract", "settings", "asn", "client", "network", "identity"),
)
SHARED_EFFECTS = _counter(
    "shared_effects_total",
    "Keys by what may follow from what they show, at each change: nothing, an earlier review, action without a person.",
    effect=("nothing", "priority", "automatic"),
)
SHARED_ACTIONS = _counter(
    "shared_actions_total",
    "Actions that follow from received indicators: in shadow, or ordered.",
    mode=("shadow", "real"),
)
SHARED_MATCH_SECONDS = Histogram(
    "stillwatch_shared_match_seconds",
    "Time to compare the traces of a step with what is looked for.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
SHARED_DIGESTED = _counter(
    "shared_digested_total",
    "Objects that were taken from the queue of received ones, by what became of them.",
    result=("taken", "retracted", "words", "known", "nothing", "refused"),
)
SHARED_WAITING = _gauge("shared_waiting", "Received objects that were not looked at yet, of all senders.")
SHARED_WAITING_SECONDS = _gauge(
    "shared_waiting_seconds", "Age of the oldest received object that was not looked at yet; 0 without one."
)
SHARED_UNSENT = _gauge(
    "shared_unsent",
    "What leaves and has not left yet: publications that are not in their feed, and objects that say our words to peers.",
    what=("publications", "words"),
)
SHARED_UNSENT_SECONDS = _gauge(
    "shared_unsent_seconds", "For how long the oldest of them has waited; 0 without one.", what=("publications", "words")
)
PEER_OVERDUE_SECONDS = _gauge(
    "peer_overdue_seconds",
    "By how much the last poll of a peer that went well is older than its interval; 0 in time. A series for each peer of "
    "intel.peers_file, at most 50; one that was never read counts from the start of the process.",
    "peer",
)


# A process shows what it can know: a gauge that only gateways set would stand at 0 in the worker, and look like a fault.
_ONLY: dict[str, tuple[Collector, ...]] = {
    "gateway": (
        REQUESTS, RESPONSES, OWN_ERRORS_TOTAL, OUTCOMES, REJECTS, SHED, DECISION_SECONDS, FIRST_BYTE_SECONDS, INFLIGHT,
        TOKENS, KEYS_ADOPTED, WATERMARKED, WATERMARK_DROPPED,
        SHADOW, ACTIONS, FALLBACK, STATE_UP, FALLBACK_ACTIVE, EVENTS_APPENDED, EVENTS_SPOOLED, SPOOL_BYTES,
        SPOOL_LIMIT_BYTES,
    ),
    "worker": (
        EVENTS_APPLIED, EVENTS_DEAD, PARTITIONS_OWNED, STREAM_LAG, STREAM_AGE_SECONDS, BATCH_SECONDS, STATES_RESET,
        ARCHIVE_FAILURES, SCORED, VERDICTS, VERDICT_AGE_SECONDS, KEYS, LEAKED, MODEL_INFO, MODEL_WRITTEN, ARCHIVED_ROWS,
        LEASES_LOST, EVENTS_ERASED, LOOKS, FEATURES_FROZEN, REFERENCE_OLD, KEYS_CALLED, STATE_MEMORY_BYTES,
        STATE_MEMORY_LIMIT_BYTES, CAMPAIGNS, LINK_SECONDS, LINK_KEYS, LINK_LAG_SECONDS, LINK_AGE_SECONDS,
        LINK_INCOMPLETE, LINK_FAILURES, TRACES_DROPPED, SHARED_LOOKED_FOR, SHARED_COMMON, SHARED_HITS, SHARED_EFFECTS,
        SHARED_ACTIONS, SHARED_MATCH_SECONDS,
    ),
    "admin": (
        ADMIN_REQUESTS, AUTH_FAILURES, AUDIT_RECORDS, AUDIT_WRITE_FAILURES, APPEALS_OPEN, APPEAL_OLDEST_SECONDS,
        APPEAL_OUTCOMES, SHARED_OBJECTS, SHARED_WORDS, PEER_POLLS, SHARED_DIGESTED, PUBLICATIONS,
        SHARED_WAITING, SHARED_WAITING_SECONDS, SHARED_UNSENT, SHARED_UNSENT_SECONDS, PEER_OVERDUE_SECONDS,
    ),
}  # fmt: skip
PROCESSES = tuple(_ONLY)
_NOT_ADMIN = (KILL_SWITCH, POLICY_GENERATION, POLICY_REJECTED, POLICY_BAD, CONTROL_AGE_SECONDS, ORDERS_STANDING)


class Shown:
    """What one process shows of the registry; give it to `generate_latest`."""

    def __init__(self, process: str) -> None:
        """Of a process "gateway", "worker" or "admin"."""
        others = [metric for name, of_it in _ONLY.items() if name != process for metric in of_it]
        others += _NOT_ADMIN if process == "admin" else ()
        self._hidden = {family.name for metric in others for family in metric.describe()}  # type: ignore[attr-defined]

    def hides(self, family: str) -> bool:
        """Whether a metric family is another process's business."""
        return family in self._hidden

    def collect(self) -> Iterator[Metric]:
        """The families, as the registry gives them."""
        return (family for family in REGISTRY.collect() if not self.hides(family.name))
