"""Limits in this process while state is away: the same budgets, each at this gateway's share, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from app.enforcement.policy import Action
from app.limits.reservation import Reservation
from app.state.schedule import MINUTE_US, REQUESTS, Schedule, refill_us
from app.state.spool import Settlement

MAX_BALANCES = 50_000
"""Balances remembered, least recently charged forgotten first; one outage must not become the next."""

FOLLOWED_SHARE = 0.1
"""Share of a budget that must be used before its balance is followed: most keys never come near their limits."""

MAX_ACTIONS = 50_000
"""Keys remembered about which something is done."""


class Refusal(NamedTuple):
    """The budget that refused; `wait_us` is 0 where it is unknown, `oversized` where waiting does not help."""

    name: str
    scope: str
    wait_us: int
    oversized: bool = False


class KnownActions:
    """What was asked for about a key when state last answered about it."""

    def __init__(self, most: int = MAX_ACTIONS) -> None:
        self._most = most
        self._known: OrderedDict[str, Action] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, key_id: str, action: Action | None) -> None:
        """State answered about a key; None: nothing is in force."""
        known = self._known
        if action is None:
            if known:
                known.pop(key_id, None)
            return
        known[key_id] = action
        known.move_to_end(key_id)
        if len(known) > self._most:
            known.popitem(last=False)

    def get(self, key_id: str) -> Action | None:
        """What is asked for about a key; it may be over."""
        return self._known.get(key_id)


class LocalBudgets:
    """Balances by hash and field, as the µs at which they are full. Check all, then charge all, as decide.lua does."""

    def __init__(self, replicas: int, most: int = MAX_BALANCES) -> None:
        """Empty balances.

        Args:
            replicas: gateways that share the traffic; each lets its share of every budget pass.
            most: balances remembered.
        """
        self._replicas = replicas
        self._most = most
        self._full_at: OrderedDict[tuple[bytes, str], int] = OrderedDict()
        self._in_use: dict[bytes, int] = {}
        # Balances that were charged here and not in state, and what state knew of each: when it is full.
        self.owed: OrderedDict[tuple[bytes, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def follow(self, schedule: Schedule, names: Sequence[bytes], reply: Sequence[int]) -> None:
        """State has decided: what it said of budgets that are well used is where this process goes on without it.

        Else a key that had used up its budget would have another one as soon as state is lost. Times of refill are the same
        for a share as for the whole, so a balance here is the balance there.

        Args:
            schedule: of the request.
            names: as the script got them.
            reply: of decide.lua.
        """
        at = 5
        for bucket in schedule.buckets:
            level = reply[at]
            if level > bucket.full_us * FOLLOWED_SHARE:
                name = names[1 if at - 5 < schedule.key_buckets else 2]
                self._put((name, bucket.field), time.monotonic_ns() // 1000 + level)
            at += 1

    def hand_over(self, schedule: Schedule, names: Sequence[bytes], reply: Sequence[int]) -> list[Settlement]:
        """State is back and has decided: what was charged here meanwhile, as a settlement of this gateway's share; once.

        Else state would let a key use again what it has used without it. A balance here has refilled in the meantime, so a
        long outage leaves no more than one budget to be charged, and one that was little used leaves nothing.

        Args:
            schedule: of the request.
            names: as the script got them.
            reply: of decide.lua.
        """
        now = time.monotonic_ns() // 1000
        fields: dict[bytes, list[str | int]] = {}
        for at, bucket in enumerate(schedule.buckets):
            balance = (names[1 if at < schedule.key_buckets else 2], bucket.field)
            known = self.owed.pop(balance, None)
            if known is not None:
                charged = self._full_at.get(balance, 0) - max(known, now)
                if charged > self._replicas:
                    fields.setdefault(balance[0], []).extend((bucket.field, charged // self._replicas))
        return [(name, reply[4], added) for name, added in fields.items()]

    def charge(self, reservation: Reservation, throttle: Action | None) -> Refusal | None:
        """Charge one request, or say which budget refuses it; then nothing is charged.

        Args:
            reservation: whose schedule, names and tokens are charged; it is marked as charged here.
            throttle: narrows the budgets of the key; None narrows nothing.
        """
        schedule = reservation.schedule
        assert schedule is not None
        reservation.factor = throttle.factor if throttle is not None else 1.0
        now = time.monotonic_ns() // 1000
        refusal: Refusal | None = None
        charges: list[tuple[tuple[bytes, str], int]] = []

        def check(balance: tuple[bytes, str], name: str, scope: str, add: int, full: float) -> None:
            nonlocal refusal
            level = max(0, self._full_at.get(balance, 0) - now)
            # A share may be smaller than one request. That passes when the share is full, and is paid off afterwards.
            if add and level > 0 and level + add > full:
                wait = level if add > full else int(level + add - full)
                if refusal is None or wait > refusal.wait_us:
                    refusal = Refusal(name, scope, wait)
            charges.append((balance, now + level + add))

        for at, bucket in enumerate(schedule.buckets):
            cost = reservation.used(bucket.counts, reservation.input_tokens, reservation.output_tokens)
            if refill_us(cost, bucket.interval_us) > bucket.full_us:
                return Refusal(bucket.name, bucket.scope, 0, oversized=True)
            balance, interval_us = self._place(reservation, at)
            check(balance, bucket.name, bucket.scope, refill_us(cost, interval_us), bucket.full_us)
        if throttle is not None and throttle.requests_per_min and schedule.ceiling:
            add = refill_us(1, MINUTE_US / throttle.requests_per_min * self._replicas)
            check((reservation.names[1], "v"), "requests", "key", add, MINUTE_US)
        if refusal is None:
            refusal = self._full_slots(reservation)
        if refusal is not None:
            return refusal
        for balance, full_at in charges:
            self.owed.setdefault(balance, self._full_at.get(balance, 0))
            self._put(balance, full_at)
        while len(self.owed) > self._most:
            self.owed.popitem(last=False)
        for name in reservation.slot_names:
            self._in_use[name] = self._in_use.get(name, 0) + 1
        reservation.local = True
        return None

    def settle(self, reservation: Reservation, input_tokens: int, output_tokens: int) -> None:
        """True up what `charge` reserved here."""
        schedule = reservation.schedule
        if not reservation.local or schedule is None:
            return
        for at, bucket in enumerate(schedule.buckets):
            if bucket.counts == REQUESTS:
                continue
            balance, interval_us = self._place(reservation, at)
            full_at = self._full_at.get(balance)
            if full_at is not None:
                used = reservation.used(bucket.counts, input_tokens, output_tokens)
                reserved = reservation.used(bucket.counts, reservation.input_tokens, reservation.output_tokens)
                self._put(balance, full_at + refill_us(used, interval_us) - refill_us(reserved, interval_us))
        for name in reservation.slot_names:
            left = self._in_use.get(name, 0) - 1
            if left > 0:
                self._in_use[name] = left
            else:
                self._in_use.pop(name, None)

    def _place(self, reservation: Reservation, at: int) -> tuple[tuple[bytes, str], float]:
        """Balance of the `at`-th budget, and its refill time of one unit for this gateway's share."""
        schedule = reservation.schedule
        assert schedule is not None
        bucket = schedule.buckets[at]
        of_key = at < schedule.key_buckets
        interval_us = bucket.interval_us * self._replicas / (reservation.factor if of_key else 1.0)
        return (reservation.names[1 if of_key else 2], bucket.field), interval_us

    def _full_slots(self, reservation: Reservation) -> Refusal | None:
        schedule = reservation.schedule
        assert schedule is not None
        for slot, name in zip(schedule.slots, reservation.slot_names, strict=True):
            factor = 1.0 if slot.scope == "organization" else reservation.factor
            if self._in_use.get(name, 0) >= max(1, int(slot.limit * factor / self._replicas)):
                return Refusal("concurrent", slot.scope, 0)
        return None

    def _put(self, balance: tuple[bytes, str], full_at: int) -> None:
        balances = self._full_at
        balances[balance] = full_at
        balances.move_to_end(balance)
        if len(balances) > self._most:
            balances.popitem(last=False)
