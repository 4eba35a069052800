"""Orders: what a person wants done about a key, or not done, for a time. Its level goes on being judged.

One script puts the order's own string where `decide` reads what is asked for, and moves what policy asks for beside it. The
worker goes on writing there, and when the order ends the same script moves it back, with the bytes and the remaining life
that it would have had. So the next request is decided by the order, and the hot path has nothing more to read.

Every order is also in one list, which all gateways hold in memory. The list is written first and says what shall be; the
partitions follow, and whoever dies in between has only left work for the repair (`app.state.order_repair`), which does what
was wanted: gateways know a block from the list at once, before the partition has it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from app.enforcement.policy import PERSON, Action, encode_action
from app.errors import BadInput
from app.settings import ActionName
from app.state.calls import Client, reachable, run_script
from app.state.control import MAX_CHANGES
from app.state.keys import CONTROL_CHANGES, ORDERS, ORDERS_DUE, PROFILE_TTL_SEC, PartitionKeys
from detectors.contract import Level

MAX_HOURS = 720
"""A month. What should hold for longer belongs into the account, or on the allow-list."""

MAX_ORDERS = 50_000
"""Most orders that stand at once: about 1 KB each in state, and each is in every gateway's memory."""

REPAIR_MS = 5_000
"""An order that is not in its partitions after this is taken up by the repair."""

AGAIN_MS = 60_000
"""How often an order that stands is put in its place again, which changes nothing where it is."""

AT_ONCE = 16
"""Orders of a bulk that are under way at the same time."""

_SCAN_COUNT = 1000
_TRIES = 5

Item: TypeAlias = Mapping[str, Any]
"""An item of the key's timeline, fields as `app.enforcement.timeline.item` makes them."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about a key, why, and until when. Times are unix µs.

    Attributes:
        ref: the action's reference, as the customer sees it.
        action: a step of the ladder; observe lifts what policy asks for.
        factor: share of its budgets that the key keeps, in (0, 1].
        requests_per_min: ceiling where the plan has none; None for no ceiling.
        level: name of the key's level when it was given.
        reason_code: kind of reason, from the admin API's list.
        reason: one line.
        by: who gave it.
    """

    since_us: int
    until_us: int
    ref: str = ""
    action: ActionName = "observe"
    factor: float = 1.0
    requests_per_min: float | None = None
    level: str = "clear"
    reason_code: str = ""
    reason: str = ""
    by: str = ""

    def asks(self) -> Action:
        """What it asks for, as `decide` and the gateways understand it."""
        level = Level.__members__.get(self.level.upper(), Level.CLEAR)
        return Action(level, self.action, self.factor, self.requests_per_min, self.until_us, PERSON, self.ref)


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the list.

    Attributes:
        order: what was ordered.
        places: partitions where it stands, or shall.
        item: for the timeline, with the order or with its end.
        ended: it was taken back, and the partitions are to follow.
        number: higher than that of any order before; given by the list, and stored in front of the rest.
    """

    order: Order
    places: tuple[int, ...]
    item: dict[str, Any] = {}
    ended: bool = False
    number: int = 0

    def stands(self, now_us: int) -> bool:
        """The order counts at this time."""
        return not self.ended and now_us < self.order.until_us


_decode_order = msgspec.json.Decoder(Order).decode
_decode_entry = msgspec.json.Decoder(Entry).decode


def read_order(data: bytes | None) -> Order | None:
    """What a partition has → order; None where there is none, or it is not one of ours."""
    try:
        return None if data is None else _decode_order(data)
    except msgspec.DecodeError:
        return None


def read_entry(data: bytes | None) -> Entry | None:
    """What the list has → entry; None where there is none, or it is not one of ours."""
    number, _, rest = (data or b"").partition(b" ")
    try:
        return msgspec.structs.replace(_decode_entry(rest), number=int(number)) if data else None
    except ValueError:  # msgspec's errors are
        return None


def written(entry: Entry) -> bytes:
    """Entry → what the list has."""
    return b"%d " % entry.number + msgspec.json.encode(msgspec.structs.replace(entry, number=0))


class Orders:
    """Places and ends orders. Every method raises StateUnavailable when the server is away.

    A change that failed so may have been made all the same, or be made by the repair within seconds: ask `get`. Doing it
    again does no harm.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def place(self, key_id: str, partitions: Collection[int], order: Order, item: Item) -> None:
        """From the next request on the order is what is done about the key, until it ends; it replaces another one.

        Args:
            key_id: the key.
            partitions: where it is known, and where its next request will be decided.
            order: what, why and until when.
            item: for the key's timeline.

        Raises:
            BadInput: MAX_ORDERS orders stand already, or the end has passed; nothing was done.
        """
        if order.until_us <= _now_us():
            raise BadInput("until: must be in the future")
        wanted = Entry(order=order, places=tuple(sorted(partitions)), item=dict(item))
        answer = await self._list("place", key_id, msgspec.json.encode(wanted), REPAIR_MS, MAX_CHANGES, MAX_ORDERS)
        if answer == -1:
            raise BadInput(f"{MAX_ORDERS:,} orders stand already; end some, or let the accounts say what is allowed")
        data, before = answer
        entry, replaced = read_entry(data), read_entry(before)
        assert entry is not None
        if replaced is not None and not set(replaced.places) <= set(entry.places):
            # Where the one before stood, this one stands too, or that would go on there.
            entry = msgspec.structs.replace(entry, places=tuple(sorted({*replaced.places, *entry.places})))
            expected, data = data, written(entry)
            if not await self.replace(key_id, expected, data):
                return  # a newer order has replaced this one already
        await self.put_in_place(key_id, data, entry)

    async def end(self, key_id: str, partitions: Collection[int], item: Item, *, ref: str = "") -> bool:
        """Takes the order back: what policy asks for is done from the next request on. False when none stood.

        Args:
            key_id: the key.
            partitions: as for `place`; those that the order was placed in are always among them.
            item: for the key's timeline.
            ref: end this order only, and no other one that stands; "" ends any.
        """
        for _ in range(_TRIES):
            data = await self._entry(key_id)
            entry = read_entry(data)
            if data is None or entry is None:  # given by an earlier version, which kept no list
                return any([await self._end_in(key_id, partition, item, ref=ref) for partition in set(partitions)])
            if ref and entry.order.ref != ref:
                return False
            if entry.ended:
                await self.finish(key_id, data, entry)
                return False
            places = tuple(sorted({*entry.places, *partitions}))
            ending = msgspec.structs.replace(entry, places=places, item=dict(item), ended=True)
            changed = written(ending)
            if await self.replace(key_id, data, changed):
                await self.finish(key_id, changed, ending)
                return entry.stands(_now_us())
        raise BadInput("the key's order is being changed by others all the time")

    async def follow(self, key_id: str, partition: int) -> None:
        """The key's account has moved it: the order that stands about it stands where it is decided now, too."""
        data = await self._entry(key_id)
        entry = read_entry(data)
        if data is not None and entry is not None and entry.stands(_now_us()) and partition not in entry.places:
            await self.put_in_place(key_id, *await self.widened(key_id, data, entry, partition))

    async def get(self, key_id: str) -> Order | None:
        """The order that stands about the key."""
        entry = read_entry(await self._entry(key_id))
        return entry.order if entry is not None and entry.stands(_now_us()) else None

    async def get_many(self, key_ids: Sequence[str]) -> dict[str, Order]:
        """Those of the keys about which an order stands."""
        if not key_ids:
            return {}
        with reachable("orders"):
            found: Any = await self._client.hmget(ORDERS, list(key_ids))
        return _standing(zip(key_ids, found, strict=True))

    async def page(self, cursor: int = 0, count: int = _SCAN_COUNT) -> tuple[int, dict[str, Order]]:
        """(next cursor, some standing orders by key id), in no order. Start with 0 and go on until 0 comes back."""
        with reachable("orders"):
            answer: Any = await self._client.hscan(ORDERS, cursor, count=count)
        position, found = answer
        return int(position), _standing((name.decode(), data) for name, data in found.items())

    async def standing(self) -> AsyncIterator[tuple[str, Order]]:
        """(key id, order) of every order that stands, once each if nothing changes meanwhile, in no order."""
        cursor = 0
        while True:
            cursor, found = await self.page(cursor)
            for item in found.items():
                yield item
            if not cursor:
                return

    async def place_many(self, orders: Sequence[tuple[str, Collection[int], Order, Item]]) -> None:
        """`place` for many keys. When it fails, those before the failure are placed, and some behind it may be."""
        await _together([self.place(*one) for one in orders])

    async def end_many(self, keys: Sequence[tuple[str, Collection[int], Item]]) -> int:
        """`end` for many keys; how many orders it ended."""
        return sum(await _together([self.end(*one) for one in keys]))

    # Steps that the repair does again

    async def replace(self, key_id: str, data: bytes, by: bytes) -> bool:
        """Another entry in the list, which the partitions are to follow; false when what is there is not `data`."""
        return bool(await self._list("swap", key_id, data, by, REPAIR_MS, MAX_CHANGES))

    async def widened(self, key_id: str, data: bytes, entry: Entry, partition: int) -> tuple[bytes, Entry]:
        """The entry with one more place; as it was where it has that already, or has just been changed by somebody."""
        if partition in entry.places:
            return data, entry
        wider = msgspec.structs.replace(entry, places=tuple(sorted({*entry.places, partition})))
        changed = written(wider)
        return (changed, wider) if await self.replace(key_id, data, changed) else (data, entry)

    async def put_in_place(self, key_id: str, data: bytes, entry: Entry) -> None:
        """The partitions get what the list says, and the repair looks again after AGAIN_MS, or when the order has ended."""
        for partition in entry.places:
            await self._place_in(key_id, partition, entry)
        left_ms = max(1, entry.order.until_us // 1000 - _now_us() // 1000)
        await self._list("later", key_id, data, min(left_ms, AGAIN_MS))

    async def finish(self, key_id: str, data: bytes, entry: Entry) -> None:
        """An order that was taken back, or is over, leaves the partitions and then the list."""
        for partition in entry.places:
            if entry.ended:
                await self._end_in(key_id, partition, entry.item, most=entry.number)
            else:
                await self._run(key_id, partition, ["expired"])
        await self._list("swap", key_id, data, "", 0, MAX_CHANGES)

    async def claim(self, lease_ms: int, most: int) -> list[tuple[str, bytes]]:
        """(key id, entry) of orders that have to be looked at now; nobody else gets them for `lease_ms`."""
        found: Any = await self._list("claim", lease_ms, most)
        return [(name.decode(), data) for name, data in zip(found[::2], found[1::2], strict=True)]

    async def _end_in(self, key_id: str, partition: int, item: Item, *, most: int | str = "", ref: str = "") -> bool:
        """Ends the order in one partition; false when none is there, or one of a higher number or another reference."""
        args: list[str | int | bytes] = ["end", most, ref, _line(item), PROFILE_TTL_SEC]
        return bool(await self._run(key_id, partition, args))

    async def _place_in(self, key_id: str, partition: int, entry: Entry) -> None:
        order = entry.order
        stored = msgspec.json.encode({**msgspec.structs.asdict(order), "number": entry.number})
        args: list[str | int | bytes] = ["place", stored, entry.number, encode_action(order.asks())]
        args += [order.until_us // 1000, _line(entry.item), PROFILE_TTL_SEC]
        await self._run(key_id, partition, args)

    async def _run(self, key_id: str, partition: int, args: list[str | int | bytes]) -> int:
        names = PartitionKeys(partition)
        keys = [names.verdict(key_id), names.order(key_id), names.asked(key_id), names.timeline(key_id)]
        with reachable("order"):
            return int(await run_script(self._client, "order", keys, args))

    async def _entry(self, key_id: str) -> bytes | None:
        with reachable("orders"):
            found: Any = await self._client.hget(ORDERS, key_id)
        return found if found is None else bytes(found)

    async def _list(self, *args: str | int | bytes) -> Any:
        with reachable("orders"):
            return await run_script(self._client, "orders", [CONTROL_CHANGES, ORDERS, ORDERS_DUE], args)


def _line(item: Item) -> bytes:
    """An item as the timeline has it; empty for none."""
    return msgspec.json.encode(item) if item else b""


def _standing(found: Any) -> dict[str, Order]:
    now_us = _now_us()
    entries = ((name, read_entry(data)) for name, data in found)
    return {name: entry.order for name, entry in entries if entry is not None and entry.stands(now_us)}


async def _together(work: Sequence[Any]) -> list[Any]:
    """Runs them, AT_ONCE at a time; raises what the first of a group raised, when that group has ended."""
    done: list[Any] = []
    begun = 0
    try:
        for first in range(0, len(work), AT_ONCE):
            begun = first + AT_ONCE
            results = await asyncio.gather(*work[first:begun], return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            done += results
    finally:
        # After a failure, or when whoever waits here is cancelled: what was not begun never will be.
        for rest in work[begun:]:
            rest.close()
    return done


def _now_us() -> int:
    return time.time_ns() // 1000
