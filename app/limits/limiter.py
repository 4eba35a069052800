"""What a request asks of the budgets, what it is answered, and who answers."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec

from app.enforcement.policy import RUNGS, Action, decode_verdict, share_of
from app.enforcement.rules import FixedRules, Rules
from app.errors import StateUnavailable
from app.limits.budgets import Plans
from app.limits.local import KnownActions, LocalBudgets
from app.limits.reservation import Reservation
from app.limits.slots import SlotKeeper
from app.settings import EnforcementSettings, LimitSettings, Settings
from app.state.cluster import link_to
from app.state.decisions import Decisions, Mode, manner_of
from app.state.events import EventLog
from app.state.keys import PartitionKeys, partition_of
from app.state.schedule import MINUTE_US, Schedule
from app.telemetry import metrics

_ADMITTED, _OVERSIZED, _BLOCKED = 1, 2, 3
_ENFORCED, _WOULD_NARROW, _WOULD_REFUSE = 1, 2, 3

_STEP_UP = RUNGS["step_up"]
_LADDER = tuple(RUNGS)

_SLOT_WAIT_MS = 1000
"""When a slot will be free is not known; a client that asks every second is cheap."""

_CLOSED_WAIT_MS = 1000

FALLBACK_SEC = 3.0
"""How long after a request that was decided without state that counts as going on: time for a link to find out itself."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One request that wants to pass. `model` is as the client named it; tokens are an estimate and a reserve."""

    key_id: str
    org_id: str
    plan: str
    model: str
    input_tokens: int
    output_tokens: int
    request_id: str


class Budget(msgspec.Struct, frozen=True, gc=False):
    """One budget after the decision.

    Attributes:
        name: requests, input_tokens, output_tokens, tokens_day or concurrent.
        scope: key, organization or model.
        limit: units per window.
        remaining: units that could be charged now.
        reset_ms: time until it is full again.
        window_sec: 60, 86,400, or 0 for concurrent.
    """

    name: str
    scope: str
    limit: float
    remaining: float
    reset_ms: int
    window_sec: int


class Decision(msgspec.Struct, frozen=True):
    """What happens to a request.

    Attributes:
        admitted: it may pass.
        blocked: nobody asked the budgets: `action` refuses every request of this key.
        limited_by: name of the budget that refused it; "unavailable" where state is away and the policy is closed.
        scope: scope of that budget.
        retry_after_ms: when it would pass; 0 when admitted, and when it would never pass.
        oversized: it asks for more than the whole budget holds, so that waiting does not help.
        throttled: an action narrowed the budgets, whether or not the request passed.
        action: the step of the ladder that is in force for the key, done or only counted; "" for none.
        effect: "enforced", "shadow" where it is only counted, "" without an action.
        ref: reference of the action for the customer.
        shadow_would: what enforcing would have done to this request, "" for nothing: a step of the ladder, or "refuse"
            where the narrowed budgets would not have let it pass.
        level: of the verdict or order that asks for the action; 0 without one.
        degraded: "" when state decided, else what the failure policy did: open, local or closed.
        budgets: of the key, organisation and model, for the headers.
        reservation: give it to `settle` unchanged.
    """

    admitted: bool
    limited_by: str = ""
    scope: str = ""
    retry_after_ms: int = 0
    oversized: bool = False
    blocked: bool = False
    throttled: bool = False
    action: str = ""
    effect: str = ""
    ref: str = ""
    shadow_would: str = ""
    level: int = 0
    degraded: str = ""
    budgets: tuple[Budget, ...] = ()
    reservation: Any = None


class Limiter:
    """Decides in one round trip, and settles without making anybody wait."""

    def __init__(self, settings: Settings, url: str, events: EventLog, control: Rules | None = None) -> None:
        """Not connected yet.

        Args:
            settings: limits, and the timeout of a decision.
            url: of the state server.
            events: takes what is settled, and the events that come with it.
            control: policy, kill switch, orders and allow-list as they change; None: the settings' policy for good.
        """
        self._control: Rules = control or FixedRules(settings.enforcement)
        self._adopt(self._control.policy)
        self._on_loss = settings.limits.on_state_loss
        self._events = events
        timeout_ms = settings.state.decision_timeout_ms
        self._decisions = Decisions(link_to(url, timeout_ms, settings.state), timeout_ms)
        self._fell_back_at = -math.inf  # monotonic, when a request was decided without state last
        self._limits = settings.limits
        self._plans = Plans(self._limits, self._decisions.prepare)
        self._partitions = tuple(PartitionKeys(number) for number in range(settings.state.partitions))
        self._known = KnownActions()
        self._local = LocalBudgets(settings.limits.replicas)
        self._slots = SlotKeeper(events.link)

    @property
    def ready(self) -> bool:
        """State answers; otherwise the failure policy decides."""
        return self._decisions.link.ready

    def use_plans(self, limits: LimitSettings) -> None:
        """The plans of these limits are in force from the next request on; what is spent stays spent."""
        if limits is not self._limits:
            self._limits = limits
            self._plans = Plans(limits, self._decisions.prepare)

    async def start(self) -> bool:
        """Connects; false when the server is still away, which does not keep anybody from asking."""
        self._slots.start()
        metrics.STATE_UP.set_function(lambda: float(self._decisions.link.whole))
        metrics.FALLBACK_ACTIVE.set_function(lambda: float(self._falls_back()))
        return await self._decisions.link.start()

    async def stop(self) -> None:
        """Closes the connection."""
        await self._slots.stop()
        await self._decisions.link.stop()

    async def decide(self, ask: Ask) -> Decision:
        """Charge a request, or refuse it. Never raises but when it is cancelled; takes at most the decision timeout."""
        org_id = ask.org_id
        key_id = ask.key_id
        partition = partition_of(org_id or key_id, len(self._partitions))
        kill = self._control.kill
        if kill == "all":
            return Decision(True, reservation=Reservation(partition, ask.request_id))
        order = self._control.order(key_id)
        if order is not None and not kill and order.blocks(time.time_ns() // 1000):
            # Known from the list of orders at once, also where the key's partition has not heard of it, or has changed.
            return _blocked(Reservation(partition, ask.request_id), order.action, order.ref)
        mode: Mode = "killed" if kill else self._mode(key_id, org_id)
        highest = self._highest  # as it is asked for; another policy may be in force when the answer comes
        schedule = self._plans.schedule(ask.plan, ask.model, org_id != "")
        names = _names(self._partitions[partition], schedule, key_id, org_id)
        input_tokens = max(0, ask.input_tokens)
        output_tokens = max(0, ask.output_tokens)
        reservation = Reservation(partition, ask.request_id, schedule, names, input_tokens, output_tokens)
        try:
            reply = await self._decisions.decide(
                schedule, names, ask.request_id, input_tokens, output_tokens, self._manners[mode], partition
            )
        except StateUnavailable:
            if schedule.slots:  # state may take them all the same, late, and nobody would know
                self._decisions.free(reservation.slot_names, ask.request_id, partition)
            return self._without_state(ask, reservation, mode)
        except asyncio.CancelledError:
            # It may be charged all the same. Nobody will settle it, so its slots are freed now; the reserve stays charged.
            self._decisions.free(reservation.slot_names, ask.request_id, partition)
            raise
        status, which, wait_us, effect, now_us = reply[:5]
        action = None
        if effect:
            action = decode_verdict(reply[-1])
            self._known.learn(key_id, action)
        elif self._known and mode != "killed":
            self._known.learn(key_id, None)
        if action is None:
            done = would = ref = ""
        else:
            done = would = _LADDER[_rung(action, highest)]
            ref = action.ref
            if effect == _WOULD_REFUSE:
                would = "refuse"
        if status == _BLOCKED:
            return _blocked(reservation, done, ref)
        if self._local.owed and (owed := self._local.hand_over(schedule, names, reply)):
            self._events.append(None, partition, owed)
        self._local.follow(schedule, names, reply)
        enforced = action is not None and effect == _ENFORCED
        narrowed = action.factor if action is not None and enforced else 1.0
        budgets = _budgets(schedule, reply, narrowed)
        if action is not None and enforced and schedule.ceiling and action.requests_per_min:
            budgets.append(_ceiling(action.requests_per_min, reply[-2]))
        how = "" if action is None else "enforced" if enforced else "shadow"
        if status == _ADMITTED:
            reservation.at_us = now_us
            reservation.factor = narrowed
            if schedule.slots:
                self._slots.hold(reservation)
            if effect == _WOULD_NARROW and action is not None:
                reservation.shadow = action.factor
            return Decision(
                True,
                throttled=enforced,
                action=done,
                effect=how,
                ref=ref,
                shadow_would="" if enforced else would,
                level=0 if action is None else action.level,
                budgets=tuple(budgets),
                reservation=reservation,
            )
        reservation.schedule = None
        limited_by, scope = _named(schedule, which)
        return Decision(
            False,
            limited_by,
            scope,
            retry_after_ms=0 if status == _OVERSIZED else -(-wait_us // 1000) or _SLOT_WAIT_MS,
            oversized=status == _OVERSIZED,
            throttled=enforced,
            action=done,
            effect=how,
            ref=ref,
            budgets=tuple(budgets),
            reservation=reservation,
        )

    def settle(
        self, reservation: Any, *, input_tokens: int, output_tokens: int, event: bytes | None, refund: bool = False
    ) -> None:
        """True up what was reserved, free the slots, append the event; returns at once and never raises.

        Args:
            reservation: of the decision; a second settlement of it does nothing.
            input_tokens: true usage, ≥ 0.
            output_tokens: true usage, ≥ 0.
            event: encoded exchange, None logs nothing.
            refund: the request failed: give all reserved tokens back. The request itself stays charged.
        """
        if reservation is None or reservation.settled:
            return
        reservation.settled = True
        self._slots.release(reservation)
        if refund:
            input_tokens = output_tokens = 0
        settlements = reservation.settlements(max(0, input_tokens), max(0, output_tokens))
        if reservation.local:
            self._local.settle(reservation, max(0, input_tokens), max(0, output_tokens))
        if settlements or event is not None:
            self._events.append(event, reservation.partition, settlements)

    def _adopt(self, policy: EnforcementSettings) -> None:
        """A policy is in force from now on."""
        self._policy = policy
        self._highest = RUNGS[policy.automatic_up_to]
        modes: tuple[Mode, ...] = ("enforce", "shadow", "off", "killed")
        self._manners = {mode: manner_of(mode, self._highest) for mode in modes}
        self._whole = policy.enabled_percent >= 100 and (policy.mode == "shadow" or policy.enforced_percent >= 100)

    def _mode(self, key_id: str, org_id: str) -> Mode:
        """What is done about what policy asks for about this key."""
        control = self._control
        policy = control.policy
        if policy is not self._policy:
            self._adopt(policy)
        if control.allowed(key_id, org_id):
            return "off"
        if self._whole:
            return policy.mode
        share = share_of(key_id)
        if share >= policy.enabled_percent:
            return "off"
        return policy.mode if share < policy.enforced_percent else "shadow"

    def _without_state(self, ask: Ask, reservation: Reservation, mode: Mode) -> Decision:
        """What the failure policy says. What state may have charged before it fell silent stays charged.

        Whoever was blocked stays blocked under each of them: an order stands in the local copy, and what policy asked for
        is remembered from the last time state answered.
        """
        self._fell_back_at = time.monotonic()
        action, rung, enforced = self._remembered(ask.key_id, mode)
        done = _LADDER[rung] if rung else ""
        ref = action.ref if action is not None else ""
        if enforced and rung >= _STEP_UP:
            return _blocked(reservation, done, ref, degraded=self._on_loss)
        if self._on_loss == "closed":
            return Decision(
                False, "unavailable", retry_after_ms=_CLOSED_WAIT_MS, degraded="closed", reservation=reservation
            )
        how = "enforced" if enforced else "shadow" if done else ""
        if self._on_loss == "open":
            return Decision(
                True,
                action=done,
                effect=how,
                ref=ref,
                level=0 if action is None else action.level,
                degraded="open",
                reservation=reservation,
            )
        refusal = self._local.charge(reservation, action if enforced else None)
        if refusal is None:
            return Decision(
                True,
                throttled=enforced,
                action=done,
                effect=how,
                ref=ref,
                shadow_would="" if enforced else done,
                level=0 if action is None else action.level,
                degraded="local",
                reservation=reservation,
            )
        return Decision(
            False,
            refusal.name,
            refusal.scope,
            retry_after_ms=0 if refusal.oversized else -(-refusal.wait_us // 1000) or _SLOT_WAIT_MS,
            oversized=refusal.oversized,
            throttled=enforced,
            action=done,
            effect=how,
            ref=ref,
            degraded="local",
            reservation=reservation,
        )

    def _falls_back(self) -> bool:
        """Requests are decided without state now, or would be: all of them, or those of some partitions."""
        return not self._decisions.link.whole or time.monotonic() - self._fell_back_at < FALLBACK_SEC

    def _remembered(self, key_id: str, mode: Mode) -> tuple[Action | None, int, bool]:
        """(what is in force about a key, its rung, whether it is done), as decide.lua has it; (None, 0, False): nothing."""
        if mode == "killed":
            return None, 0, False
        now_us = time.time_ns() // 1000
        action = self._control.order(key_id)
        if action is None or now_us >= action.until_us:
            action = self._known.get(key_id)
        if action is None or now_us >= action.until_us:
            return None, 0, False
        rung = _rung(action, self._highest)
        enforced = action.by_person or mode == "enforce"
        return (action, rung, enforced) if rung and (enforced or mode == "shadow") else (None, 0, False)


def _rung(action: Action, highest: int) -> int:
    """How far up the ladder an action goes: policy's own never above what it may do now, whenever it was asked for."""
    return action.rung if action.by_person else min(action.rung, highest)


def _blocked(reservation: Reservation, action: str, ref: str, degraded: str = "") -> Decision:
    """Refused by the action alone; nothing was charged."""
    reservation.schedule = None
    return Decision(
        False, blocked=True, action=action, effect="enforced", ref=ref, degraded=degraded, reservation=reservation
    )


def _names(keys: PartitionKeys, schedule: Schedule, key_id: str, org_id: str) -> list[bytes]:
    """KEYS of decide.lua."""
    names = [keys.verdict(key_id).encode(), keys.limits("k", key_id).encode()]
    if schedule.org_hash:
        names.append(keys.limits("o", org_id).encode())
    for slot in schedule.slots:
        if slot.scope == "organization":
            names.append(keys.inflight("o", org_id).encode())
        else:
            names.append(keys.inflight("k", f"{key_id}:{slot.suffix}" if slot.suffix else key_id).encode())
    return names


def _budgets(schedule: Schedule, reply: list[Any], narrowed: float) -> list[Budget]:
    """What is left after the decision."""
    found = []
    at = 5
    for bucket in schedule.buckets:
        level = reply[at]
        limit, interval_us = bucket.limit, bucket.interval_us
        if narrowed != 1.0 and bucket.scope != "organization":
            limit *= narrowed
            interval_us /= narrowed
        left = (bucket.full_us - level) / interval_us
        found.append(
            Budget(bucket.name, bucket.scope, limit, left if left > 0 else 0.0, -(-level // 1000), bucket.window_sec)
        )
        at += 1
    for slot in schedule.slots:
        limit = slot.limit
        if narrowed != 1.0 and slot.scope != "organization":
            limit = max(1, int(limit * narrowed))
        found.append(Budget("concurrent", slot.scope, limit, max(0, limit - reply[at]), 0, 0))
        at += 1
    return found


def _ceiling(requests_per_min: float, level: int) -> Budget:
    left = (MINUTE_US - level) * requests_per_min / MINUTE_US
    return Budget("requests", "key", requests_per_min, max(0.0, left), -(-level // 1000), 60)


def _named(schedule: Schedule, which: int) -> tuple[str, str]:
    """(name, scope) of the budget that refused, as decide.lua numbers them."""
    if which == 0:
        return "requests", "key"
    if which <= len(schedule.buckets):
        bucket = schedule.buckets[which - 1]
        return bucket.name, bucket.scope
    return "concurrent", schedule.slots[which - len(schedule.buckets) - 1].scope
