"""decide.lua and settle.lua on a real server against budgets in plain Python, over random sequences of requests."""

from __future__ import annotations

import asyncio
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from app.enforcement.policy import encode_verdict
from app.limits.budgets import Plan
from app.limits.reservation import Reservation
from app.settings import LADDER, ActionName, ActionRule, LimitRule, PlanLimits, StateSettings
from app.state.batch import RESERVATION_SEC
from app.state.decisions import Decisions, Mode, manner_of
from app.state.events import EventLog
from app.state.keys import UNBOUNDED_OK, PartitionKeys
from app.state.link import Link
from detectors.contract import Level

PLAN = PlanLimits(
    key=LimitRule(
        requests_per_min=5, input_tokens_per_min=700, output_tokens_per_min=50, tokens_per_day=2000, concurrent=3
    ),
    org=LimitRule(requests_per_min=8, input_tokens_per_min=1000, concurrent=4),
    models={"m*": LimitRule(requests_per_min=0.5, output_tokens_per_min=40, concurrent=2), "free": LimitRule()},
)
BARE = PlanLimits()
CALLERS = (("k1", "o1"), ("k2", "o1"), ("k3", ""))
MINUTE = 60_000_000


class Model:
    """Balances as moments at which a budget is full, and sets of slots; nothing is shared with the code under test."""

    def __init__(self, mode: Mode, highest: int) -> None:
        self.mode, self.highest = mode, highest
        self.full_at: dict[tuple[str, str], int] = {}
        self.written_at: dict[str, int] = {}
        self.slots: dict[str, set[str]] = {}
        self.expired: set[str] = set()
        self.asked: dict[str, tuple[int, bool, float, float | None]] = {}  # rung, by a person, factor, ceiling

    def in_force(self, key: str) -> tuple[str, float | None, float | None]:
        """(narrows, counts, blocks, would_block or nothing; factor; ceiling) of what is asked for about a key."""
        rung, person, factor, ceiling = self.asked.get(key, (0, False, None, None))
        rung = rung if person else min(rung, self.highest)
        done = self.mode != "killed" and (person or self.mode == "enforce")
        if not rung or not (done or self.mode == "shadow"):
            return "", None, None
        if rung >= 3:
            return "blocks" if done else "would_block", None, None
        return "narrows" if done else "counts", factor, ceiling

    def level(self, balance: tuple[str, str], now: int) -> int:
        """µs of refill that a budget is away from full."""
        return max(0, self.full_at.get(balance, 0) - now)

    def reanchor(self, name: str, now: int) -> None:
        """A clock behind the last write: every moment moves with it."""
        ahead = self.written_at.get(name, 0) - now
        if ahead > 0:
            self.written_at[name] = now
            for balance in self.full_at:
                if balance[0] == name:
                    self.full_at[balance] -= ahead

    def decide(self, key: str, budgets: list[Any], slots: list[Any], ceiling_applies: bool, now: int) -> tuple[Any, ...]:
        """(status, which, effect) and what is charged when it is admitted.

        budgets: (hash, field, cost, limit, window in µs, narrowed by a verdict); slots: (set, limit, narrowed).
        """
        how, factor, ceiling = self.in_force(key)
        if how == "blocks":
            return 3, 0, 0, 1
        enforces = how == "narrows"
        # Balances that this request does not ask about stay where they are until one does.
        for name in {name for name, *_ in budgets} | ({f"lk:{key}"} if ceiling and ceiling_applies else set()):
            self.reanchor(name, now)
        enforced = factor if enforces else None
        fits, never, waits = True, None, []
        charges: list[tuple[tuple[str, str], int]] = []
        shadow: list[tuple[tuple[str, str], int]] = []
        shadow_fits = True
        for number, (name, field, cost, limit, window, narrowable) in enumerate(budgets, 1):
            whole = max(window, window / limit)
            level = self.level((name, field), now)
            add = cost and max(1, math.floor(cost * (window / limit)))
            if add > whole:
                never = number
            if enforced and narrowable and cost:
                add = max(1, math.floor(cost * (window / limit / enforced)))
            if cost and level + add > whole and not (add > whole and level == 0):
                waits.append((level if add > whole else level + add - whole, number))
            charges.append(((name, field), add))
            if factor and not enforces and narrowable:
                add = cost and max(1, math.floor(cost * (window / limit / factor)))
                balance = (name, "s" + field)
                start = self.level(balance if balance in self.full_at else (name, field), now)
                if cost and start + add > whole and not (add > whole and start == 0):
                    shadow_fits = False
                shadow.append((balance, now + start + add))
        taken = None
        for number, (name, limit, narrowable) in enumerate(slots, len(budgets) + 1):
            few = max(1, math.floor(limit * factor)) if factor and narrowable else limit
            members = self.slots.setdefault(name, set())
            if len(members) >= min(few, limit):  # those of dead gateways are looked for when slots run out
                members -= self.expired
            used = len(members)
            if used >= (few if enforces else limit):
                taken = taken or number
            if used >= few:
                shadow_fits = False
        if factor and ceiling and ceiling_applies:
            hash_of_key = f"lk:{key}"
            add = math.floor(MINUTE / ceiling)
            balance = (hash_of_key, "v" if enforces else "sv")
            level = self.level(balance, now)
            if level + add > max(MINUTE, add):
                if enforces:
                    waits.append((level + add - max(MINUTE, add), 0))
                else:
                    shadow_fits = False
            (charges if enforces else shadow).append((balance, add if enforces else now + level + add))
        fits = never is None and not waits and taken is None
        if fits:
            for balance, add in charges:
                if add:
                    self.full_at[balance] = now + self.level(balance, now) + add
                    self.written_at[balance[0]] = now
            if shadow_fits:
                for balance, full_at in shadow:
                    self.full_at[balance] = full_at
                    self.written_at[balance[0]] = now
        effect = 1 if enforces else 4 if how else 0
        if how == "counts":
            effect = 2 if shadow_fits else 3
        if fits:
            return 1, 0, 0, effect
        if never is not None:
            return 2, never, 0, effect
        if waits:
            longest = max(wait for wait, _ in waits)
            return 0, next(number for wait, number in waits if wait == longest), longest, effect
        return 0, taken, 0, effect


class Both:
    """The scripts and the model, side by side."""

    def __init__(self, url: str, folder: Path, *, mode: Mode, plan: PlanLimits) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = redis.Redis.from_url(url)
        self.client.flushall()
        self.decisions = Decisions(Link(url, 5000), 5000)
        self.events = EventLog(url, StateSettings(partitions=1, background_timeout_ms=5000), folder)
        self.plan = Plan(plan, self.decisions.prepare)
        self.limits = plan
        self.model = Model(mode, 1)
        self.keys = PartitionKeys(0)
        self.numbers = itertools.count()
        self.open: list[Any] = []  # reservations that are not settled

    def connect(self) -> None:
        """Both links."""

        async def start() -> None:
            assert await self.decisions.link.start()
            assert await self.events.start()

        self.loop.run_until_complete(start())

    def close(self) -> None:
        """Close everything."""

        async def stop() -> None:
            await self.events.stop()
            await self.decisions.link.stop()

        self.loop.run_until_complete(stop())
        self.loop.close()
        self.client.close()

    def budgets(self, key: str, org: str, model: str, tokens: tuple[int, int]) -> tuple[list[Any], list[Any]]:
        """What the plan says, read off the settings by hand; the field names of a model are taken from the schedule."""
        schedule = self.plan.schedule(model, bool(org))
        rules = [(f"lk:{key}", "key", self.limits.key, True)]
        pattern = next(
            (name for name in self.limits.models if model == name or model.startswith(name.rstrip("*") + "-")), ""
        )
        if pattern:
            rules.append((f"lk:{key}", "model", self.limits.models[pattern], True))
        if org:
            rules.append((f"lo:{org}", "organization", self.limits.org, False))
        fields = iter([bucket.field for bucket in schedule.buckets])
        sets = iter(range(2 + schedule.org_hash, 10))
        budgets, slots = [], []
        names = self.names(schedule, key, org)
        for name, _, limits, narrowable in rules:
            for cost, limit, window in (
                (1, limits.requests_per_min, MINUTE),
                (tokens[0], limits.input_tokens_per_min, MINUTE),
                (tokens[1], limits.output_tokens_per_min, MINUTE),
                (sum(tokens), limits.tokens_per_day, 1440 * MINUTE),
            ):
                if limit is not None:
                    budgets.append((name, next(fields), cost, limit, window, narrowable))
            if limits.concurrent is not None:
                slots.append((names[next(sets)].decode(), limits.concurrent, narrowable))
        return budgets, slots

    def names(self, schedule: Any, key: str, org: str) -> list[bytes]:
        """KEYS of the script."""
        names = [self.keys.verdict(key), self.keys.limits("k", key)]
        names += [self.keys.limits("o", org)] * schedule.org_hash
        for slot in schedule.slots:
            kind, entity = ("o", org) if slot.scope == "organization" else ("k", key + (slot.suffix and ":" + slot.suffix))
            names.append(self.keys.inflight(kind, entity))
        return [name.encode() for name in names]

    def decide(self, caller: tuple[str, str], model: str, tokens: tuple[int, int]) -> None:
        """A request is admitted exactly when every budget of the model allows it; levels agree to the microsecond."""
        key, org = caller
        schedule = self.plan.schedule(model, bool(org))
        names = self.names(schedule, key, org)
        request_id = f"r{next(self.numbers)}"
        manner = manner_of(self.model.mode, self.model.highest)
        reply = self.loop.run_until_complete(self.decisions.decide(schedule, names, request_id, *tokens, manner))
        status, which, wait, effect, now = reply[:5]
        budgets, slots = self.budgets(key, org, model, tokens)
        ceiling_applies = self.limits.key.requests_per_min is None
        assert (status, which, wait, effect) == self.model.decide(key, budgets, slots, ceiling_applies, now)
        if effect:
            assert reply[-1] == self.client.get(self.keys.verdict(key))
        if status == 3:
            return
        how, factor, ceiling = self.model.in_force(key)
        if ceiling and ceiling_applies:
            assert reply[-2] == self.model.level((f"lk:{key}", "v" if how == "narrows" else "sv"), now)
        if status == 1:
            for name, _, _ in slots:
                self.model.slots.setdefault(name, set()).add(request_id)
        assert reply[5 : 5 + len(budgets)] == [self.model.level((name, field), now) for name, field, *_ in budgets]
        used = [len(self.model.slots.get(name, ())) for name, _, _ in slots]
        assert reply[5 + len(budgets) : 5 + len(budgets) + len(slots)] == used
        if status != 1:
            return
        reservation = Reservation(0, request_id, schedule, names, *tokens, at_us=now)
        if effect == 1:
            reservation.factor = factor or 0.0
        if effect == 2:
            reservation.shadow = factor or 0.0
        self.open.append((reservation, key, org, model))

    def settle(self, which: int, used: tuple[int, int] | None, late: bool) -> None:
        """Settling moves every token budget by the difference to the true usage and frees the slots; late it only frees."""
        if not self.open:
            return
        reservation, key, org, model = self.open.pop(which % len(self.open))
        tokens = used or (0, 0)
        if late:
            reservation.at_us -= (RESERVATION_SEC + 1) * 1_000_000
        before = self.server_time()
        self.loop.run_until_complete(self.hand_over(reservation.settlements(*tokens)))
        after = self.server_time()
        for name, _, _ in self.budgets(key, org, model, tokens)[1]:
            self.model.slots[name].discard(reservation.request_id)
        if late:
            return
        reserved = (reservation.input_tokens, reservation.output_tokens)
        narrowed = {1.0: None}.get(reservation.factor, reservation.factor)
        for at, (old, new) in enumerate(
            zip(self.budgets(key, org, model, reserved)[0], self.budgets(key, org, model, tokens)[0], strict=True)
        ):
            name, field, cost, limit, window, narrowable = old
            if old[2] == new[2] or reservation.schedule.buckets[at].counts == 1:
                continue
            factors = [("", (narrowed or 1.0) if narrowable else 1.0)]
            if reservation.shadow and narrowable:
                factors.append(("s", reservation.shadow))
            for prefix, factor in factors:
                interval = window / limit / factor if factor != 1.0 else window / limit
                add = sum(sign * (n and max(1, math.floor(n * interval))) for sign, n in ((1, new[2]), (-1, cost)))
                self.adjust((name, prefix + field), add, before, after)

    async def hand_over(self, settlements: list[Any]) -> None:
        """To the event log, until it has been done."""
        self.events.append(None, 0, settlements)
        await self.events.flush()

    def adjust(self, balance: tuple[str, str], add: int, before: int, after: int) -> None:
        """A refund reaches down to full; a charge starts at the present at the earliest."""
        full_at = self.model.full_at.get(balance, 0)
        written_at = self.model.written_at[balance[0]]
        low, high = max(before, written_at), max(after, written_at)  # where the script's present lies
        stored = int(self.client.hget(f"{self.keys.tag}:{balance[0]}", balance[1]) or 0)
        if add > 0:
            assert max(low, full_at) + add <= stored <= max(high, full_at) + add
        elif full_at > high:
            assert max(low, full_at + add) <= stored <= max(high, full_at + add)
        else:
            assert stored == full_at or low <= stored <= high
        if stored:
            self.model.full_at[balance] = stored

    def server_time(self) -> int:
        """µs."""
        seconds, micros = self.client.time()
        return seconds * 1_000_000 + micros

    def flag(self, key: str, factor: float, ceiling: float | None, action: ActionName, how: str) -> None:
        """A verdict or an order holds from the next request on; one of an older release is policy's."""
        rule = ActionRule(action=action, factor=factor, requests_per_min=ceiling, ttl_sec=10**6)
        text = encode_verdict(Level.SUSPECT, rule, self.server_time(), by="policy" if how == "older" else how, ref="sw-a")
        text = {"older": text.removesuffix("|policy|sw-a"), "newer": text + "|more"}.get(how, text)
        self.client.set(self.keys.verdict(key), text, ex=1000)
        self.model.asked[key] = (LADDER.index(action), how == "person", factor, ceiling)

    def policy(self, mode: Mode, highest: int) -> None:
        """Another policy, or the kill switch, holds from the next request on; nothing stored changes."""
        self.model.mode, self.model.highest = mode, highest

    def clear(self, key: str, how: str) -> None:
        """Without a verdict in force the plan holds again."""
        name = self.keys.verdict(key)
        if how == "deleted":
            self.client.delete(name)
        elif how == "over":
            rule = ActionRule(action="throttle", ttl_sec=60)
            self.client.set(name, encode_verdict(Level.SUSPECT, rule, self.server_time() - 61_000_000), ex=1000)
        elif how == "observe":
            self.client.set(name, encode_verdict(Level.WATCH, ActionRule(), self.server_time()), ex=1000)
        else:
            self.client.set(name, "suspect|throttle|x||9e99", ex=1000)
        self.model.asked.pop(key, None)

    def time_passes(self, seconds: int) -> None:
        """Waiting refills budgets evenly; the stored moments move into the past by hand, since no test waits a minute."""
        self.shift(-seconds * 1_000_000)

    def clock_steps_back(self, seconds: int) -> None:
        """A server clock that is set back neither refills a budget nor locks anybody out."""
        self.shift(seconds * 1_000_000)

    def gateway_dies(self) -> None:
        """Slots that nobody frees are free again when their time is over."""
        for name in self.client.scan_iter("sw:{p0000}:c*"):
            members = self.client.zrange(name, 0, -1)
            self.client.zadd(name, {member: self.server_time() - 1 for member in members})
        for members in self.model.slots.values():
            self.model.expired |= members

    def shift(self, micros: int) -> None:
        """Move every stored moment, and the model's."""
        for name in self.model.written_at:
            full_name = f"{self.keys.tag}:{name}"
            stored = self.client.hgetall(full_name)
            self.client.hset(full_name, mapping={field: int(value) + micros for field, value in stored.items()})
            self.model.written_at[name] += micros
        for balance in self.model.full_at:
            self.model.full_at[balance] += micros

    def nothing_is_kept_for_ever(self) -> None:
        """Every key has a TTL or is one of those that are bounded otherwise."""
        for name in self.client.scan_iter("sw:*"):
            assert self.client.ttl(name) > 0 or name.decode().endswith(UNBOUNDED_OK), name


TOKENS = st.tuples(st.integers(0, 350), st.integers(0, 30)) | st.tuples(st.integers(0, 1200), st.integers(0, 60))
DECIDE = st.tuples(st.just("decide"), st.sampled_from(CALLERS), st.sampled_from(("m-1", "m-2", "free", "x")), TOKENS)
SETTLE = st.tuples(st.just("settle"), st.integers(0, 5), st.none() | TOKENS, st.booleans())
FLAG = st.tuples(
    st.just("flag"),
    st.sampled_from(("k1", "k3")),
    st.sampled_from((0.1, 0.25, 1.0)),
    st.sampled_from((None, 2.0)),
    st.sampled_from(("throttle", "throttle", "cap", "step_up", "suspend")),
    st.sampled_from(("policy", "policy", "older", "person")),
)
POLICY = st.tuples(st.just("policy"), st.sampled_from(("enforce", "shadow", "off", "killed")), st.integers(0, 4))
CLEAR = st.tuples(st.just("clear"), st.sampled_from(("k1", "k3")), st.sampled_from(("deleted", "over", "observe", "junk")))
CLOCK = st.tuples(st.just("time_passes"), st.integers(1, 90)) | st.tuples(
    st.just("clock_steps_back"), st.integers(10, 10**6)
)
STEPS = st.lists(
    st.one_of(*[DECIDE] * 6, SETTLE, SETTLE, FLAG, FLAG, CLEAR, CLOCK, POLICY, st.just(("gateway_dies",))),
    min_size=30,
    max_size=90,
)


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
@pytest.mark.parametrize("plan", [PLAN, BARE], ids=["limits", "bare"])
def test_the_scripts_do_what_the_model_does(redis_db: str, mode: Mode, plan: PlanLimits) -> None:
    """Charges, settlements, the ladder and clock steps agree with the model, and nothing is kept for ever."""

    @settings(max_examples=80)
    @given(STEPS)
    def check(steps: list[tuple[Any, ...]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            both = Both(redis_db, Path(folder), mode=mode, plan=plan)
            both.connect()
            try:
                for name, *arguments in steps:
                    getattr(both, name)(*arguments)
                    both.nothing_is_kept_for_ever()
            finally:
                both.close()

    check()
