"""One batch of a partition as settle.lua takes it, and what its answers mean."""

from __future__ import annotations

from typing import Any

import hiredis

from app.state.decisions import read_script
from app.state.keys import WRITER_TTL_SEC, PartitionKeys
from app.state.spool import Unit
from app.state.wire import pack

RESERVATION_SEC = 3600
"""A reservation that is older stays as it was charged; what a budget has refilled since must not be given back again."""

DONE, REPEATED, FULL = 1, 0, -1

_TEMPORARY = frozenset(
    ("OOM", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF", "TRYAGAIN", "NOAUTH")
)


class Batches:
    """Encodes batches."""

    __slots__ = ("_sha", "_stream_max", "_text")

    def __init__(self, stream_max: int) -> None:
        """`stream_max`: entries that a partition's stream may hold."""
        self._stream_max = stream_max
        self._sha, self._text = read_script("settle")

    def command(self, unit: Unit, writer: str, number: int, *, with_text: bool = False) -> bytes:
        """The command that does a unit once.

        Args:
            unit: at least one event or settlement.
            writer: name of its sender; batches of one writer and partition are sent one after the other.
            number: grows with every batch of the writer.
            with_text: sends the script itself, for a server that has forgotten it.
        """
        names = PartitionKeys(unit.partition)
        keys: list[str | bytes] = [names.stream, names.writer(writer)]
        places: dict[bytes, int] = {}
        tail: list[str | int] = []
        for name, reserved_us, arguments in unit.settlements:
            place = places.get(name)
            if place is None:
                keys.append(name)
                place = places[name] = len(keys)
            if reserved_us:
                tail += (place, reserved_us, len(arguments) // 2)
            else:
                tail += (place, 0)
            tail += arguments
        events = unit.events
        return pack(
            *(("EVAL", self._text) if with_text else ("EVALSHA", self._sha)),
            len(keys),
            *keys,
            *(number, WRITER_TTL_SEC, self._stream_max, len(events), RESERVATION_SEC * 1_000_000),
            *events,
            *tail,
        )


def forgotten(reply: Any) -> bool:
    """The server does not know the script; nothing was done."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")


def passes(reply: Any) -> bool:
    """An error of the server that is over some time; a batch refused with another one would be refused for ever."""
    return str(reply).split(" ", 1)[0] in _TEMPORARY
