"""What an order leaves behind under its reference: which key it is about, and the order that it replaced.

The list of standing orders is by key. A person, a customer and an appeal speak of the reference, also when the order has
ended; and undoing one order must put back the one that stood before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from app.state.calls import Client, reachable
from app.state.keys import order_record
from app.state.orders import Order

KEPT_SEC = 7 * 86_400
"""How long the record outlives its order."""


class OrderRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One order.

    Attributes:
        replaced: the order that stood about the key when this one was given.
        bulk: id of the bulk order that it is a part of; "" for none.
        overturned: an appeal about it was granted, so it never stands again, whatever is undone.
    """

    key_id: str
    order: Order
    replaced: Order | None = None
    bulk: str = ""
    overturned: bool = False


_decode = msgspec.json.Decoder(OrderRecord).decode


class OrderRecords:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def put(self, records: Sequence[OrderRecord], now_us: int) -> None:
        """Stores them, in one round trip."""
        with reachable("order records"):
            pipe = self._client.pipeline(transaction=False)
            for record in records:
                left_sec = max(0, (record.order.until_us - now_us) // 1_000_000)
                pipe.set(order_record(record.order.ref), msgspec.json.encode(record), ex=left_sec + KEPT_SEC)
            if records:
                await pipe.execute()

    async def overturn(self, record: OrderRecord) -> None:
        """The order never stands again. Doing it twice does no harm; its record lives as long as it would have."""
        data = msgspec.json.encode(msgspec.structs.replace(record, overturned=True))
        with reachable("order records"):
            await self._client.set(order_record(record.order.ref), data, keepttl=True, xx=True)

    async def beneath(self, records: Iterable[OrderRecord], now_us: int) -> dict[str, Order]:
        """Reference → the order that stands again when the one of that reference is undone; none for what policy does.

        An order that was overturned is passed over: what it replaced is next.
        """
        found: dict[str, Order] = {}
        looked = {record.order.ref: record.replaced for record in records}
        while True:
            open_ = {ref: one for ref, one in looked.items() if one is not None and one.until_us > now_us}
            if not open_:
                return found
            below = await self.get_many([one.ref for one in open_.values()])
            looked = {}
            for ref, one in open_.items():
                record = below.get(one.ref)
                if record is None or not record.overturned:
                    found[ref] = one
                else:
                    looked[ref] = record.replaced

    async def keep(self, ref: str, life_sec: int) -> None:
        """A record stays for so long from now on, if that is longer: an appeal about it must be explained."""
        name = order_record(ref)
        with reachable("order records"):
            if 0 <= int(await self._client.ttl(name)) < life_sec:
                await self._client.expire(name, life_sec)

    async def forget(self, refs: Sequence[str]) -> None:
        """Deletes the records of references."""
        with reachable("order records"):
            for ref in refs:
                await self._client.delete(order_record(ref))

    async def get(self, ref: str) -> OrderRecord | None:
        """The record of a reference."""
        return (await self.get_many([ref])).get(ref)

    async def get_many(self, refs: Sequence[str]) -> Mapping[str, OrderRecord]:
        """Those of the references that have one."""
        with reachable("order records"):
            pipe = self._client.pipeline(transaction=False)
            for ref in refs:
                pipe.get(order_record(ref))
            answers: list[Any] = await pipe.execute() if refs else []
        found = {}
        for ref, data in zip(refs, answers, strict=True):
            if data is not None and (record := _read(data)) is not None:
                found[ref] = record
        return found


def _read(data: bytes) -> OrderRecord | None:
    try:
        return _decode(data)
    except msgspec.DecodeError:  # of another release
        return None
