"""What a person, or an account that a person changed, does about an action: lift it for a time, or take that back.

A lift replaces an order that stood, for good: when it ends, what policy asks for is done.
"""

from __future__ import annotations

import time

from app.enforcement import timeline
from app.enforcement.policy import decode_verdict, reference
from app.state.accounts import Account, AccountStore
from app.state.keys import partition_of
from app.state.order_records import OrderRecord, OrderRecords
from app.state.orders import Order, Orders
from app.state.reading import StateReader, StoredKey
from detectors.analysis import stored_verdict
from detectors.contract import Verdict
from detectors.policy import Policy
from detectors.profile import BadProfile
from detectors.verdict import Moment, level_called

EXCUSE_HOURS = 0.25
"""How long a contracted use holds off verdicts about exchanges that were made before the gateways knew of it."""

_HOUR_US = 3_600_000_000


class Lifting:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(
        self,
        reader: StateReader,
        accounts: AccountStore,
        orders: Orders,
        records: OrderRecords,
        policy: Policy,
        partitions: int,
    ) -> None:
        self._reader = reader
        self._accounts = accounts
        self._orders = orders
        self._records = records
        self._policy = policy
        self._partitions = partitions

    async def lift(self, key_id: str, reason: str, hours: float, by: str) -> Order | None:
        """From the next request on nothing is done about the key; None when it was never seen."""
        stored = await self._reader.key_state(key_id)
        return None if stored is None else await self._lift(stored, reason, hours, timeline.LIFTED, by)

    async def undo(self, key_id: str, by: str) -> bool | None:
        """What policy asks for is done again from the next request on; false when nothing was lifted, None for a stranger.

        An order to do something about the key is none of a lift's business.
        """
        stored = await self._reader.key_state(key_id)
        if stored is None:
            return None
        lift = stored.order
        if lift is None or lift.action != "observe":
            return False
        verdict = _verdict(stored)
        item = timeline.item(
            verdict, what=timeline.LIFT_ENDED, action="", at_us=_now_us(), who="admin", by=by, ref=lift.ref
        )
        return await self._orders.end(key_id, await self._places(stored), item, ref=lift.ref)

    async def excuse(self, key_id: str, account: Account, by: str) -> None:
        """Lifts at once what an account that `by` has just stored excuses, instead of at the key's next verdict.

        Where the account moves the key to another partition, an order about the key follows at once.
        """
        await self._orders.follow(key_id, partition_of(account.org_id or key_id, self._partitions))
        if not account.authorised:
            return
        stored = await self._reader.key_state(key_id)
        action = None if stored is None else decode_verdict(stored.verdict)
        if stored is None or stored.order is not None or action is None or action.action == "observe":
            return  # what a person ordered is for persons to end
        verdict = _verdict(stored)
        if verdict is None:
            return
        moment = Moment(
            entity_id=key_id,
            entity_kind="key",
            at_us=verdict.at_us,
            valuable=0,
            evidence=verdict.evidence,
            authorised=account.authorised,
        )
        _, excused = level_called(self._policy, moment, verdict.scores)
        if excused:
            reason = f"the account allows {' and '.join(account.authorised)}"
            await self._lift(stored, reason, EXCUSE_HOURS, timeline.AUTHORISED, by)

    async def _lift(self, stored: StoredKey, reason: str, hours: float, what: str, by: str) -> Order:
        now_us = _now_us()
        verdict = _verdict(stored)
        order = Order(
            ref=reference(stored.key_id, now_us),
            level="clear" if verdict is None else verdict.level.name.lower(),
            since_us=now_us,
            until_us=now_us + round(hours * _HOUR_US),
            reason_code="agreement",
            reason=reason,
            by=by,
        )
        item = timeline.item(
            verdict,
            what=what,
            action="observe",
            at_us=now_us,
            who="admin",
            by=by,
            note=reason,
            ref=order.ref,
            until_us=order.until_us,
        )
        await self._records.put([OrderRecord(stored.key_id, order)], now_us)
        await self._orders.place(stored.key_id, await self._places(stored), order, item)
        return order

    async def _places(self, stored: StoredKey) -> set[int]:
        """Where the key is known, and where its next request is decided if its account has moved it since."""
        account = await self._accounts.get(stored.key_id)
        root = account.org_id if account is not None and account.org_id else stored.key_id
        return {stored.partition, partition_of(root, self._partitions)}


def _verdict(stored: StoredKey) -> Verdict | None:
    try:
        return None if stored.state is None else stored_verdict(stored.state, stored.key_id, "key")
    except BadProfile:
        return None


def _now_us() -> int:
    return time.time_ns() // 1000
