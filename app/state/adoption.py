"""Takes over what is known of a key from its id under the previous pepper to its id under the present one.

The old names stay as they are, and end by their TTLs: a gateway that was not restarted yet still works with them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from app.state.accounts import AccountStore
from app.state.calls import Client, reachable, run_script
from app.state.control import ControlStore, read_entry
from app.state.keys import ALLOWED, LIMIT_TTL_SEC, PROFILE_TTL_SEC, PartitionKeys, partition_of
from app.state.mark_groups import MarkGroups
from app.state.orders import Orders
from detectors.analysis import renamed
from detectors.profile import BadProfile


class Adoption:
    """Over one deployment's state."""

    def __init__(self, client: Client, accounts: AccountStore, partitions: int) -> None:
        self._client = client
        self._accounts = accounts
        self._orders = Orders(client)
        self._control = ControlStore(client)
        self._groups = MarkGroups(client)
        self._partitions = partitions

    async def adopt(self, old: str, new: str) -> None:
        """Account, profile, verdict, timeline, balances, order, allow-list entry, group of marks; nothing that the new id
        has already.

        What statements of reasons rest on stays under the old id, and is found by its reference there.

        Raises:
            StateUnavailable: the server is away; what was not taken over is at the next call.
        """
        found = await self._accounts.get_many((old, new))
        account = found.get(old)
        root = account.org_id if account is not None and account.org_id else ""
        source = PartitionKeys(partition_of(root or old, self._partitions))
        target = PartitionKeys(partition_of(root or new, self._partitions))
        with reachable("adoption"):
            if await self._client.exists(target.adopted(new)):
                return  # what a person has ended since must not come back
        orders = await self._orders.get_many((old, new))
        if old in orders and new not in orders:
            await self._orders.place(new, {target.partition}, orders[old], {})
        await self._allow(old, new)
        groups = await self._groups.get_many((old, new))
        if groups[old] and not groups[new]:
            await self._groups.put(new, groups[old])
        if account is not None and new not in found:
            await self._accounts.put(new, account)
        await self._state(source, target, old, new)

    async def _state(self, source: PartitionKeys, target: PartitionKeys, old: str, new: str) -> None:
        with reachable("adoption"):
            pipe = self._client.pipeline(transaction=False)
            pipe.zscore(source.seen, old)
            pipe.zscore(source.flagged, old)
            pipe.lrange(source.timeline(old), 0, -1)
            pipe.hgetall(source.limits("k", old))
            for name in (source.profile("k", old), source.verdict(old), source.asked(old)):
                pipe.get(name)
                pipe.pttl(name)
            seen, rank, timeline, balances, *values = await pipe.execute()
        lives: list[tuple[bytes, int]] = [
            (value, life) if value and life > 0 else (b"", 0) for value, life in zip(values[::2], values[1::2], strict=True)
        ]
        profile, profile_ms = lives[0]
        if profile:
            try:
                profile = await asyncio.to_thread(renamed, profile, new)
            except BadProfile:
                profile = b""  # of another release; the worker starts such an entity anew
        args: list[Any] = [new, "" if seen is None else int(seen), "" if rank is None else repr(float(rank))]
        args += [profile, profile_ms, PROFILE_TTL_SEC, LIMIT_TTL_SEC, len(timeline), *timeline, 2 * len(balances)]
        for field, value in balances.items():
            args += (field, value)
        # Where an order stands, what policy asks for waits beside it; the order was taken over before.
        args += lives[2] if lives[2][0] else lives[1]
        keys = [target.seen, target.flagged, target.profile("k", new), target.timeline(new), target.limits("k", new)]
        keys += [target.verdict(new), target.order(new), target.asked(new), target.adopted(new)]
        with reachable("adoption"):
            await run_script(self._client, "adopt", keys, args)

    async def _allow(self, old: str, new: str) -> None:
        with reachable("allow-list"):
            found: Any = await self._client.hmget(ALLOWED, [f"key:{old}", f"key:{new}"])
        entry = read_entry(found[0])
        if entry is not None and found[1] is None:
            await self._control.allow_put(msgspec.structs.replace(entry, subject=f"key:{new}"))
