"""What policy does by itself about keys that shared indicators name: its action about suspects, as an order of "sharing".

It is in shadow unless the operator has said `intel.automatic = "real"` and policy enforces. An order ends by its own time
and is given anew while the key goes on; it ends at once when what it rests on no longer holds. A person's word counts for
more: a key about which a person ordered something is left alone, and so is one whose order a person took back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import structs

from app.admin.ordering import Ordering, Wanted
from app.admin.subjects import Finder, Subject
from app.enforcement.control import Control
from app.enforcement.policy import RUNGS, SHARING, reference, share_of
from app.errors import BadInput
from app.state.calls import Client
from app.state.intel_hits import KeyHits
from app.state.order_records import OrderRecords
from app.state.orders import Orders
from app.telemetry import metrics

log = logging.getLogger(__name__)

_SECOND_US = 1_000_000


@dataclass(slots=True)
class Plan:
    """What is to be done about keys: ended first, then written down, then given, so that a crash leaves no order unknown.

    Attributes:
        end: orders that stand, and are to end.
        hits: what was decided, with what is done.
        give: orders that are to be given.
    """

    end: list[tuple[Subject, KeyHits]] = field(default_factory=list)
    hits: list[KeyHits] = field(default_factory=list)
    give: list[tuple[Subject, KeyHits]] = field(default_factory=list)


class SharingOrders:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away.

    Args:
        client: of the state server.
        finder: of keys.
        control: policy as it changes.
        automatic: off, shadow or real, as the operator has it.
    """

    def __init__(
        self, client: Client, finder: Finder, control: Control, automatic: Literal["off", "shadow", "real"]
    ) -> None:
        self._records = OrderRecords(client)
        self._ordering = Ordering(finder, Orders(client), self._records)
        self._control = control
        self._automatic = automatic

    async def plan(self, found: Sequence[tuple[Subject, KeyHits]], now_us: int, *, active: bool) -> Plan:
        """What is to be done about keys, by what was decided about them.

        Args:
            found: keys, and what was decided; `acted`, `since_us` and `until_us` as of before.
            now_us: the present moment.
            active: the keys have just been active, so that an action that has ended begins anew.
        """
        rule, mode = self._control.policy.suspect, self._mode()
        missing = [(one, hits) for one, hits in found if _ordered(hits, now_us) and not _stands(one, hits)]
        known = await self._records.get_many([reference(one.key_id, hits.since_us) for one, hits in missing])
        plan = Plan()
        for one, hits in found:
            if _ordered(hits, now_us) and not _stands(one, hits):
                if reference(one.key_id, hits.since_us) in known:
                    # Somebody took it back, or put another order in its place; a machine does not answer that.
                    hits = structs.replace(hits, acted="lifted")
                else:  # it was written down and not given any more
                    plan.give.append((one, hits))
            if hits.effect != "automatic" or (hits.acted == "real" and mode != "real"):
                if hits.acted == "real" and _stands(one, hits):
                    plan.end.append((one, hits))
                if hits.acted != "lifted":
                    hits = structs.replace(hits, acted="", since_us=0, until_us=0)
            elif hits.acted != "lifted" and mode:
                way = "real" if mode == "real" and self._may(one) else "shadow"
                if _begins(hits, way, now_us, active):
                    until_us = now_us + rule.ttl_sec * _SECOND_US
                    hits = structs.replace(hits, acted=way, since_us=now_us, until_us=until_us)
                    metrics.SHARED_ACTIONS.labels(mode=way).inc()
                    if way == "real":
                        plan.give.append((one, hits))
            plan.hits.append(hits)
        return plan

    async def give(self, found: Sequence[tuple[Subject, KeyHits]]) -> None:
        """Gives the orders of a plan whose hits are stored. One that cannot be given now is given at the next look."""
        rule = self._control.policy.suspect
        for since_us in sorted({hits.since_us for _, hits in found}):
            wanted = Wanted(
                action=rule.action,
                factor=rule.factor,
                requests_per_min=rule.requests_per_min,
                ttl_sec=rule.ttl_sec,
                reason_code="extraction",
                reason="fits an operation that other providers have shared, and more speaks for it",
                by=SHARING,
                start_us=since_us,
            )
            try:
                await self._ordering.give([one for one, hits in found if hits.since_us == since_us], wanted)
            except BadInput as error:
                log.error("what follows from shared indicators waits: %s", error)
                return

    async def end(self, found: Sequence[tuple[Subject, KeyHits]], note: str) -> None:
        """Ends the orders that stand about keys by what was decided about them before."""
        ours = [(one, hits) for one, hits in found if hits.acted == "real"]
        refs = [reference(one.key_id, hits.since_us) for one, hits in ours]
        if await self._ordering.undo([one for one, _ in ours], refs, note, SHARING):
            log.info("orders by what was shared were ended: %s", note)

    def _mode(self) -> Literal["", "shadow", "real"]:
        policy = self._control.policy
        if self._automatic == "off" or policy.suspect.action == "observe":
            return ""
        may = RUNGS[policy.suspect.action] <= RUNGS[policy.automatic_up_to]
        return "real" if self._automatic == "real" and policy.mode == "enforce" and may else "shadow"

    def _may(self, one: Subject) -> bool:
        """Policy acts about this key at all, and nobody has ordered anything about it."""
        policy = self._control.policy
        return one.order is None and share_of(one.key_id) < min(policy.enabled_percent, policy.enforced_percent)


def _ordered(hits: KeyHits, now_us: int) -> bool:
    """An order is to stand about the key."""
    return hits.acted == "real" and now_us < hits.until_us - _SECOND_US


def _stands(one: Subject, hits: KeyHits) -> bool:
    return one.order is not None and one.order.ref == reference(one.key_id, hits.since_us)


def _begins(hits: KeyHits, way: str, now_us: int, active: bool) -> bool:
    """An action is to begin: there was none, it was only in shadow, or it has ended while the key goes on."""
    if hits.acted == "" or (hits.acted == "shadow" and way == "real"):
        return True
    return active and now_us >= hits.until_us - _SECOND_US
