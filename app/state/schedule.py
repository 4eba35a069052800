"""Budgets of one kind of request, compiled once into the command that asks about them.

A schedule belongs to a plan and, where the plan has one, to its rule for a family of models. Everything that does not
differ between two requests of a schedule is encoded once; a request fills in names, its id and its cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.state.keys import LIMIT_TTL_SEC

REQUESTS, INPUT, OUTPUT, BOTH = 1, 2, 3, 4
"""What a budget counts, as decide.lua numbers it."""

MINUTE_US = 60_000_000

_SEC_US = 1_000_000


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """A budget that refills evenly.

    Attributes:
        name: requests, input_tokens, output_tokens or tokens_day.
        scope: key, organization or model.
        field: its name in the hash of balances.
        counts: REQUESTS, INPUT, OUTPUT or BOTH.
        limit: units per window.
        window_sec: 60 or 86,400.
        interval_us: refill time of one unit.
        full_us: refill time of the whole budget, at least that of one unit.
    """

    name: str
    scope: str
    field: str
    counts: int
    limit: float
    window_sec: int
    interval_us: float
    full_us: float

    @classmethod
    def make(cls, name: str, scope: str, field: str, counts: int, limit: float, window_sec: int) -> Bucket:
        """The bucket of `limit` units per window."""
        interval_us = window_sec * _SEC_US / limit
        return cls(name, scope, field, counts, limit, window_sec, interval_us, max(window_sec * _SEC_US, interval_us))


class Slots(msgspec.Struct, frozen=True, gc=False):
    """A bound on requests at the same time. `suffix` tells the sets of one entity apart; empty for the entity's own."""

    scope: str
    limit: int
    suffix: str = ""


def refill_us(cost: float, interval_us: float) -> int:
    """A cost in µs of refill; the same arithmetic as decide.lua: rounded down, never free."""
    return (int(cost * interval_us) or 1) if cost > 0 else 0


class Schedule:
    """The budgets that one request has to pass, in the order of the script's reply: key, model, organisation.

    Attributes:
        buckets: those of the key first.
        key_buckets: how many of them lie in the key's hash, which a verdict narrows.
        of_tokens: what a settlement may change, (what it counts, field, refill time of one unit, lies in the key's hash).
        slots: those of the key first; `scope` tells whose set it is.
        ceiling: the plan limits no requests of the key, so a verdict's own ceiling applies.
    """

    __slots__ = ("_sha", "_slot_us", "_templates", "buckets", "ceiling", "key_buckets", "of_tokens", "org_hash", "slots")

    def __init__(self, key: Sequence[Bucket], org: Sequence[Bucket], slots: Sequence[Slots]) -> None:
        self.buckets = (*key, *org)
        self.key_buckets = len(key)
        self.of_tokens = tuple(
            (bucket.counts, bucket.field, bucket.interval_us, at < len(key))
            for at, bucket in enumerate(self.buckets)
            if bucket.counts != REQUESTS
        )
        self.slots = tuple(slots)
        self.org_hash = bool(org)
        self.ceiling = not any(bucket.counts == REQUESTS and bucket.scope == "key" for bucket in key)
        self._sha = ""
        self._slot_us = 0
        self._templates: dict[str, bytes] = {}

    def compile(self, sha: str, slot_us: int) -> None:
        """Makes it ready to be asked about.

        Args:
            sha: digest of decide.lua.
            slot_us: how long a slot stays taken when nobody frees it.
        """
        self._sha, self._slot_us = sha, slot_us
        self._templates.clear()

    def command(
        self, names: Sequence[bytes], request_id: bytes, input_tokens: int, output_tokens: int, manner: str
    ) -> bytes:
        """The command for one request; `names` are the script's KEYS.

        Args:
            names: as decide.lua lists them.
            request_id: of the request.
            input_tokens: its cost.
            output_tokens: its cost.
            manner: what is done about verdicts: ARGV[4] of decide.lua. There are few, and each is encoded once.
        """
        template = self._templates.get(manner)
        if template is None:
            template = self._templates[manner] = self._encode(manner)
        values: list[int | bytes] = []
        for name in names:
            values += (len(name), name)
        first, second = b"%d" % input_tokens, b"%d" % output_tokens
        values += (len(request_id), request_id, len(first), first, len(second), second)
        return template % tuple(values)

    def _encode(self, manner: str) -> bytes:
        """Everything that is the same in every request that is decided in this manner."""
        n_keys = 2 + self.org_hash + len(self.slots)
        fixed: list[str] = [manner, str(self._slot_us), str(LIMIT_TTL_SEC)]
        fixed += [str(self.key_buckets), str(len(self.buckets) - self.key_buckets), str(len(self.slots))]
        fixed.append("1" if self.ceiling else "0")
        for bucket in self.buckets:
            fixed += [bucket.field, str(bucket.counts), repr(bucket.interval_us), repr(bucket.full_us)]
        for slot in self.slots:
            fixed += [str(slot.limit), "0" if slot.scope == "organization" else "1"]
        filled = n_keys + 3
        head = b"*%d\r\n" % (3 + filled + len(fixed)) + b"".join(map(_bulk, ("EVALSHA", self._sha, str(n_keys))))
        # The one placeholder form of a bulk string: its length and its bytes. No fixed part may look like one.
        tail = b"".join(map(_bulk, fixed))
        return head.replace(b"%", b"%%") + b"$%d\r\n%b\r\n" * filled + tail.replace(b"%", b"%%")


def _bulk(text: str) -> bytes:
    data = text.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)
