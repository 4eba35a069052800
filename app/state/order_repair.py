"""Keeps the partitions true to the list of orders: changes that broke off are finished, ended orders are cleared away.

Each worker looks once a second at the orders whose time has come, and no two look at one. Besides, every order is put in
its place again now and then, which changes nothing where it stands: a partition that lost what it had gets it back, and a
key whose account has moved it gets the order where it is decided now.
"""

from __future__ import annotations

import logging
import time

from app.state.accounts import AccountStore
from app.state.calls import Client
from app.state.keys import partition_of
from app.state.orders import Orders, read_entry

log = logging.getLogger(__name__)

REPAIR_CHECK_SEC = 1.0
"""How often a worker looks."""

CLAIM_MS = 10_000
"""What a worker took up and did not finish is taken up by another after this."""

AT_A_TIME = 100


class OrderRepair:
    """Over one deployment's state."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._orders = Orders(client)
        self._accounts = AccountStore(client)
        self._partitions = partitions

    async def step(self) -> bool:
        """Looks at some orders whose time has come; true when there may be more.

        Raises:
            StateUnavailable: the server is away; what was not finished is due again.
        """
        due = await self._orders.claim(CLAIM_MS, AT_A_TIME)
        for key_id, data in due:
            await self._look(key_id, data)
        return len(due) == AT_A_TIME

    async def _look(self, key_id: str, data: bytes) -> None:
        entry = read_entry(data)
        if entry is None:
            log.error("the order about key %s does not decode; it ends by itself", key_id)
        elif entry.stands(_now_us()):
            account = await self._accounts.get(key_id)
            root = account.org_id if account is not None and account.org_id else key_id
            place = partition_of(root, self._partitions)
            await self._orders.put_in_place(key_id, *await self._orders.widened(key_id, data, entry, place))
        else:
            await self._orders.finish(key_id, data, entry)


def _now_us() -> int:
    return time.time_ns() // 1000
