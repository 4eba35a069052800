"""Every key name in Redis, its hash tag, its type, and what bounds it.

All state of one partition shares the hash tag ``{pNNNN}``, so one script may touch any of it in a Cluster. A partition is
chosen by the account root: the organisation where the key belongs to one, else the key itself. That keeps a key and
its organisation in one slot, which is what lets one script check both budgets (docs/decisions/0002).

Every name is built here and passed to scripts through KEYS; no script concatenates a name.
"""

from __future__ import annotations

import xxhash

PREFIX = "sw"

PROFILE_TTL_SEC = 30 * 86_400
"""An entity that is idle this long is forgotten."""

LIMIT_TTL_SEC = 2 * 86_400
"""Longest budget period (one day) twice over, so that an expiring hash never forgives spent tokens."""

FLAG_TTL_SEC = 400 * 86_400
"""How long it can be explained why a key was flagged: as long as an appeal, or a complaint about one, may take."""

MARKS_TTL_SEC = 400 * 86_400
"""How long after its last marked answer a key's ledger is kept: data sets turn up late."""

LOOKS_TTL_SEC = 30 * 86_400
"""How long what was last seen of the whole fleet is remembered where nothing is judged."""

BALLOT_RING = 4
"""Intervals whose ballots are kept: the one that goes on, the one that is looked at, and two to be late in."""

CAMPAIGN_TTL_SEC = 90 * 86_400
"""How long a campaign is remembered that has ended, or was merged into another; and all of them where nothing is linked."""

WRITER_TTL_SEC = 7 * 86_400
"""How long an append that is repeated, say from the spool after an outage, is known to have been made."""


def partition_of(root: str, partitions: int) -> int:
    """Partition of an account root (organisation id, else key id). Fixed for the life of a deployment."""
    return xxhash.xxh3_64_intdigest(root.encode()) % partitions


class PartitionKeys:
    """The key names of one partition. Entity ids are keyed hashes in hex, so they cannot contain a brace."""

    __slots__ = (
        "cursor", "dead", "fence", "flagged", "owner", "partition", "plan", "rows", "seen", "stream", "tag", "tracelog",
        "traces",
    )  # fmt: skip

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.tag = tag = f"{PREFIX}:{{p{partition:04d}}}"
        self.stream = f"{tag}:ev"  # stream, one entry per exchange {e: bytes}; trimmed when applied; MAXLEN bound
        self.cursor = f"{tag}:cur"  # string, last applied stream id; no TTL, one per partition
        self.owner = f"{tag}:own"  # string, "<fence>:<worker>" with PX lease
        self.fence = f"{tag}:fen"  # integer, grows with every lease; no TTL, one per partition
        self.rows = f"{tag}:row"  # stream, applied events without text until they are archived; same ids
        self.plan = f"{tag}:arc"  # string, "<first> <last>" of the archive file being written; no TTL, one per partition
        self.dead = f"{tag}:dead"  # stream, entries that did not decode; MAXLEN and TTL
        self.seen = f"{tag}:seen"  # zset key id → last event time in ms; trimmed at PROFILE_TTL_SEC
        self.flagged = f"{tag}:flag"  # zset key id → level*2 + score, for keys above clear
        self.tracelog = f"{tag}:trl"  # stream of traces the linker has not taken, see app.state.traces; MAXLEN and TTL
        self.traces = f"{tag}:tra"  # hash key id → trace the linker has taken; "" → event time reached; PROFILE_TTL_SEC

    def limits(self, kind: str, entity_id: str) -> str:
        """Hash of budget balances of a key (kind "k") or organisation ("o"); TTL LIMIT_TTL_SEC."""
        return f"{self.tag}:l{kind}:{entity_id}"

    def inflight(self, kind: str, entity_id: str) -> str:
        """Zset request id → deadline in µs, for concurrency limits; TTL of the longest request."""
        return f"{self.tag}:c{kind}:{entity_id}"

    def verdict(self, key_id: str) -> str:
        """String that `decide` reads: what enforcement does about the key now; TTL PROFILE_TTL_SEC."""
        return f"{self.tag}:v:{key_id}"

    def order(self, key_id: str) -> str:
        """String, JSON: what a person ordered about the key, see `app.state.orders`; TTL until the order's end.

        The letter is that of the holds of earlier versions, whose workers still heed it during a rolling upgrade.
        """
        return f"{self.tag}:h:{key_id}"

    def asked(self, key_id: str) -> str:
        """String: what policy asks for while an order stands in its place; TTL as that of the verdict it is."""
        return f"{self.tag}:a:{key_id}"

    def writer(self, name: str) -> str:
        """String, number of the last batch that this writer of events has appended; TTL WRITER_TTL_SEC."""
        return f"{self.tag}:w:{name}"

    def profile(self, kind: str, entity_id: str) -> str:
        """String, encoded profile and last verdict of a key ("k") or organisation ("o"); TTL PROFILE_TTL_SEC."""
        return f"{self.tag}:f{kind}:{entity_id}"

    def timeline(self, key_id: str) -> str:
        """List of the key's verdict changes, newest first, at most 100; TTL PROFILE_TTL_SEC."""
        return f"{self.tag}:t:{key_id}"

    def ballots(self, number: int) -> str:
        """Hash key id → ballot of an interval, see `app.state.looks`; "" → which one; TTL BALLOT_RING intervals.

        A name holds every BALLOT_RING-th interval in turn, so that all names of a partition are known.
        """
        return f"{self.tag}:b{number % BALLOT_RING}"

    def all_ballots(self) -> list[str]:
        """Every hash of ballots here."""
        return [self.ballots(number) for number in range(BALLOT_RING)]

    def flags(self, key_id: str) -> str:
        """List of what the key's verdicts rested on when they rose, newest first, at most 20; TTL FLAG_TTL_SEC."""
        return f"{self.tag}:g:{key_id}"

    def marks(self, key_id: str) -> str:
        """Hash "profile|epoch" → marked answers, see `app.state.mark_ledger`, at most MAX_MARKS; TTL MARKS_TTL_SEC."""
        return f"{self.tag}:m:{key_id}"

    def reference(self, ref: str) -> str:
        """String, id of the key that an action's reference belongs to; TTL FLAG_TTL_SEC."""
        return f"{self.tag}:r:{ref}"

    def adopted(self, key_id: str) -> str:
        """String, set once the key's id under the previous pepper was taken over; TTL PROFILE_TTL_SEC."""
        return f"{self.tag}:d:{key_id}"

    def of_key(self, key_id: str) -> list[str]:
        """Names here that hold what is known about a key, for its erasure.

        Balances and slots are not among them: they say nothing of behaviour, end within days, and forgetting them would
        give back what was spent.
        """
        return [
            self.verdict(key_id),
            self.order(key_id),
            self.asked(key_id),
            self.profile("k", key_id),
            self.timeline(key_id),
            self.flags(key_id),
            self.marks(key_id),
        ]


ACCOUNTS = f"{PREFIX}:{{acct}}:h"
"""Hash key id → encoded account record. Bounded by the number of accounts the operator loads; no TTL."""

ACCOUNT_CHANGES = f"{PREFIX}:{{acct}}:log"
"""Stream of changed key ids; MAXLEN bound. A gateway that fell behind it reloads the whole hash."""

CONTROL = f"{PREFIX}:{{ctl}}:doc"
"""Hash of a few fields: the stored policy and plans with their version, and the kill switch. One per deployment; no TTL."""

ALLOWED = f"{PREFIX}:{{ctl}}:allow"
"""Hash subject → entry of the allow-list, JSON. Bounded by app.state.control.MAX_ALLOWED; no TTL."""

MARK_GROUPS = f"{PREFIX}:{{ctl}}:wmgrp"
"""Hash tenant → group whose watermark its answers carry too; at most app.state.mark_groups.MAX_GROUPED fields; no TTL."""

ORDERS = f"{PREFIX}:{{ctl}}:orders"
"""Hash key id → every order that stands or is being ended, JSON. Bounded by app.state.orders.MAX_ORDERS; no TTL."""

ORDERS_DUE = f"{PREFIX}:{{ctl}}:due"
"""Zset key id → when its entry in ORDERS has to be looked at, in ms of server time. As many as ORDERS has; no TTL."""

CONTROL_CHANGES = f"{PREFIX}:{{ctl}}:log"
"""Stream of what changed in CONTROL, ALLOWED and ORDERS; MAXLEN bound. Who fell behind it reads all of them again."""

META = f"{PREFIX}:{{meta}}"
"""Hash of what is fixed for the deployment (partition count, schema); checked at every start."""

WORKERS = f"{PREFIX}:{{wrk}}:live"
"""Zset worker id → when its registration ends, in ms of server time; trimmed at every beat, TTL of one registration."""

GATEWAYS = f"{PREFIX}:{{gw}}:live"
"""Zset of what gateways say of themselves → when it ends, in ms of server time; trimmed and bounded as WORKERS is."""

ERASURE_TTL_SEC = 30 * 86_400
"""How long an erasure is remembered: as long as an event from before it could still come out of a forgotten spool."""

ERASURES = f"{PREFIX}:{{ctl}}:erase"
"""Zset key id → until when its data is erased, ms; trimmed at ERASURE_TTL_SEC and bounded; TTL of the newest request."""


def erasure(key_id: str) -> str:
    """Hash of one erasure: "at" → until when, µs; partition → what was erased there; TTL ERASURE_TTL_SEC."""
    return f"{PREFIX}:{{ctl}}:er:{key_id}"


TOKENS = f"{PREFIX}:{{adm}}:tokens"
"""Hash token id → record of an admin token, without its secret; at most app.state.tokens.MAX_TOKENS fields; no TTL."""

TOKENS_USED = f"{PREFIX}:{{adm}}:used"
"""Hash token id → when it was last used, unix seconds, to the hour; fields as in TOKENS; no TTL."""

AUDIT = f"{PREFIX}:{{adm}}:audit"
"""Stream of audit records {r: canonical JSON, d: digest}; trimmed by MINID at admin.audit_retention_days; no TTL."""

AUDIT_CHAIN = f"{PREFIX}:{{adm}}:chain"
"""Hash, number and digest of the last audit record and of the last one that was trimmed; four fields; no TTL."""

BULKS = f"{PREFIX}:{{ctl}}:bulks"
"""Zset id of an order about many keys → when its record ends, ms; at most app.state.bulks.MAX_BULKS; TTL of the last."""


BULKS_RUNNING = f"{PREFIX}:{{ctl}}:bulkrun"
"""Set of the ids that are being carried out; at most app.state.bulks.MAX_BULKS; TTL longer than any record."""


def bulk(bulk_id: str) -> str:
    """Hash of such an order: terms, status and how far it has come; TTL from proposal to a while after its end."""
    return f"{PREFIX}:{{ctl}}:bk:{bulk_id}"


def bulk_keys(bulk_id: str) -> str:
    """String, its key ids packed to 16 bytes each, at most 50,000 of them; TTL as its hash."""
    return f"{PREFIX}:{{ctl}}:bm:{bulk_id}"


CAMPAIGN_ACTS = f"{PREFIX}:{{ctl}}:cact"
"""Hash action id → what is done about a campaign, JSON; at most app.state.campaign_acts.MAX_ACTS; no TTL."""


def campaign_shares(act_id: str) -> str:
    """Hash key id → its share in such an action, JSON; no more than the campaign had members; TTL of the action."""
    return f"{PREFIX}:{{ctl}}:cs:{act_id}"


def order_record(ref: str) -> str:
    """String, JSON: which key an order is about, and what stood before it; TTL a week longer than the order."""
    return f"{PREFIX}:{{ctl}}:of:{ref}"


def reply(name: str) -> str:
    """String, what an order that came with an Idempotency-Key was answered; name is a digest; TTL one day."""
    return f"{PREFIX}:{{ctl}}:idem:{name}"


APPEALS_OPEN = f"{PREFIX}:{{apl}}:open"
"""Zset "<time µs>:<appeal id>", score 0, of appeals that wait; at most app.state.appeals.MAX_OPEN; no TTL."""

APPEALS_DECIDED = f"{PREFIX}:{{apl}}:done"
"""The same of decided ones, by the time of the decision; trimmed at FLAG_TTL_SEC; no TTL."""


def appeal(appeal_id: str) -> str:
    """String, JSON: one appeal without the customer's words; TTL FLAG_TTL_SEC."""
    return f"{PREFIX}:{{apl}}:a:{appeal_id}"


def appeal_words(appeal_id: str) -> str:
    """String, JSON: the customer's text and contact; TTL admin.appeal_text_days."""
    return f"{PREFIX}:{{apl}}:w:{appeal_id}"


def appeals_of_key(key_id: str) -> str:
    """Zset, as APPEALS_OPEN, of a key's newest appeals; at most app.state.appeals.MAX_OF_KEY; TTL FLAG_TTL_SEC."""
    return f"{PREFIX}:{{apl}}:k:{key_id}"


def appeal_of_reference(ref: str) -> str:
    """String, id of the appeal about an action that waits; TTL FLAG_TTL_SEC."""
    return f"{PREFIX}:{{apl}}:r:{ref}"


LOOKER = f"{PREFIX}:{{wrk}}:looker"
"""String, worker that looks at the whole fleet; PX lease. Its tag is one that every deployment's workers may write to."""


def looks(model_id: str) -> str:
    """String, JSON: the newest looks under a model, see `detectors.looks`; TTL LOOKS_TTL_SEC from the last one."""
    return f"{PREFIX}:{{wrk}}:look:{model_id}"


LINKER = f"{PREFIX}:{{wrk}}:linker"
"""String, worker that links keys to campaigns; PX lease."""

CAMPAIGNS_STATE = f"{PREFIX}:{{wrk}}:cmp:state"
"""String, "<revision> <event time of the newest pass, µs>" of the campaigns; TTL CAMPAIGN_TTL_SEC from the last pass."""

CAMPAIGNS = f"{PREFIX}:{{wrk}}:cmp:heads"
"""Hash campaign id → campaign without its members, see `app.state.campaigns`; ended ones leave it; TTL as the state's."""

CAMPAIGN_OF = f"{PREFIX}:{{wrk}}:cmp:of"
"""Hash key id → id of the campaign that it belongs to; as many as living campaigns have members; TTL as the state's."""


def campaign_pages(campaign_id: str) -> str:
    """Hash page number → members of a campaign, "l" → its links; TTL as the state's, for an ended one from its end."""
    return f"{PREFIX}:{{wrk}}:cmp:m:{campaign_id}"


LABELS = f"{PREFIX}:{{lbl}}:z"
"""Zset "<key id>|<time µs>|<JSON>", score 0; at most app.state.labels.MAX_LABELS; no TTL."""

UNBOUNDED_OK = (
    *(":cur", ":fen", ":arc", ":ev", ":row", ":flag", ":seen", "{acct}:h", "{acct}:log", "{meta}"),
    *("{ctl}:doc", "{ctl}:allow", "{ctl}:orders", "{ctl}:due", "{ctl}:log", "{ctl}:cact", "{ctl}:wmgrp"),
    *("{apl}:open", "{apl}:done", "{lbl}:z", "{int}:groups", "{int}:members", "{int}:signers", "{int}:feeds"),
    *("{ints}:i", "{ints}:r", "{ints}:n"),
    *("{ints}:z", "{ints}:w", "{ints}:v"),
)
"""Endings of the names that carry no TTL because they are bounded otherwise: one per partition or deployment, trimmed, or
at most so many entries."""
