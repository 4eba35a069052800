"""What workers share for looks at the whole fleet: ballots in the partitions, and the looks that came of them.

Every commit writes the ballots of its verdicts (`app.state.partition`). Any worker may make the next look, one at a time;
each reads the newest, and so does the admin API. A look is a function of the ballots and of the looks before it, and it is
written only behind the very ones it was made from: should two workers make one, the second writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.state.calls import Client, reachable, run_script
from app.state.keys import BALLOT_RING, LOOKER, LOOKS_TTL_SEC, PartitionKeys, looks
from detectors.looks import Ballot, Looks, decode

MARK = b""
"""Field of a ballots' hash that says what it holds; key ids are never empty."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Looks)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the partitions are.

    Attributes:
        newest_us: event time of the newest exchange that was applied, by partition; 0 for none.
        waiting: partitions in which entries wait.
        numbers: intervals that have ballots of the model, in order.
        now_us: the server's clock.
    """

    newest_us: tuple[int, ...]
    waiting: frozenset[int]
    numbers: tuple[int, ...]
    now_us: int


class LookStore:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, partitions: int, model_id: str) -> None:
        self._client = client
        self._parts = [PartitionKeys(number) for number in range(partitions)]
        self._model_id = model_id

    async def read(self) -> bytes:
        """The looks of this model as they are stored; empty before the first."""
        with reachable("looks"):
            found: Any = await self._client.get(looks(self._model_id))
        return found or b""

    async def write(self, before: bytes, after: Looks) -> bool:
        """Stores looks; false where others were stored since `before` was read, and then nothing was written."""
        with reachable("looks"):
            args: list[str | int | bytes] = [before, _encoder.encode(after), LOOKS_TTL_SEC]
            return bool(await run_script(self._client, "looks", [looks(self._model_id)], args))

    async def lease(self, worker: str, lease_ms: int) -> bool:
        """Whether this worker is the one that looks, for so long."""
        with reachable("looks"):
            if await self._client.set(LOOKER, worker, nx=True, px=lease_ms):
                return True
            owner: Any = await self._client.get(LOOKER)
        return bool(owner == worker.encode())

    async def progress(self) -> Progress:
        """How far every partition is, in two round trips."""
        with reachable("looks"):
            pipe = self._client.pipeline(transaction=False)
            for part in self._parts:
                pipe.zrevrange(part.seen, 0, 0, withscores=True)
                pipe.xlen(part.stream)
                for slot in range(BALLOT_RING):
                    pipe.hget(part.ballots(slot), MARK)
            flat = await pipe.execute()
            seconds, micros = await self._client.time()
        width = 2 + BALLOT_RING
        lines = [flat[at : at + width] for at in range(0, len(flat), width)]
        marks = {mark for line in lines for mark in line[2:] if mark}
        return Progress(
            newest_us=tuple(int(seen[0][1]) * 1000 if seen else 0 for seen, *_ in lines),
            waiting=frozenset(number for number, line in enumerate(lines) if line[1]),
            numbers=tuple(sorted(number for mark in marks if (number := self._number(mark)) is not None)),
            now_us=seconds * 1_000_000 + micros,
        )

    async def ballots(self, number: int) -> dict[str, Ballot]:
        """Everybody's ballots of an interval under this model, by key."""
        found: dict[str, Ballot] = {}
        for part in self._parts:
            with reachable("ballots"):
                held: Any = await self._client.hgetall(part.ballots(number))
            if self._number(held.pop(MARK, b"")) == number:
                found |= {name.decode(): one for name, data in held.items() if (one := decode(data)) is not None}
        return found

    def _number(self, mark: bytes) -> int | None:
        number, _, model_id = mark.decode().partition("|")
        return int(number) if number.isdecimal() and model_id == self._model_id else None


def read_looks(data: bytes, every_us: int, q: float) -> Looks:
    """Stored looks → Looks of this rhythm; none where they are of another one, or of another release."""
    fresh = Looks(every_us, q)
    if not data:
        return fresh
    try:
        found = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return fresh
    return msgspec.structs.replace(found, q=q) if found.every_us == every_us else fresh
