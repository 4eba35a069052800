"""Traces of a batch for the linker: which pass each is to know, and only the newest of a key for each pass.

A replay decides by the same rule (`detectors.campaign.passes`): a pass at B knows a trace of before B that was cast until
its partition came to B + SETTLE_US.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from app.state.partition import parse_id
from detectors.analysis import REFUSED, EntityState
from detectors.campaign.passes import PASS_US, SETTLE_US
from detectors.campaign.trace import Trace, encode
from detectors.event import Event


class Casting:
    """Remembers when each exchange of a batch came, before it is analysed.

    Args:
        states: before the batch.
        items: (entry id, exchange) in their order.
        reached_us: event time that the partition has come to before.

    Attributes:
        reached_us: event time that it comes to with the batch. A clock that is ahead does not move it beyond the stream's.
    """

    def __init__(
        self, states: Mapping[tuple[str, str], EntityState], items: Iterable[tuple[str, Event]], reached_us: int
    ) -> None:
        self.reached_us = reached_us
        self._came: dict[tuple[str, int], int] = {}  # (key id, number of its exchange) → time reached with it
        counts: dict[str, int] = {}
        for entry_id, event in items:
            self.reached_us = max(self.reached_us, min(event.at_us, parse_id(entry_id)[0] * 1000 + 999))
            if event.outcome == REFUSED:
                continue
            if event.key_id not in counts:
                state = states.get(("key", event.key_id))
                counts[event.key_id] = state.exchanges if state is not None else 0
            counts[event.key_id] += 1
            self._came[event.key_id, counts[event.key_id]] = self.reached_us

    def due(self, traces: Sequence[Trace]) -> list[tuple[str, int, bytes]]:
        """(key id, end of the first pass that knows it, bytes), in the order in which they were cast."""
        newest: dict[tuple[str, int], Trace] = {}
        for trace in traces:
            came_us = self._came.get((trace.key_id, trace.exchanges), self.reached_us)
            place = trace.key_id, due_us(trace.at_us, came_us)
            newest.pop(place, None)
            newest[place] = trace
        return [(key_id, moment_us, encode(trace)) for (key_id, moment_us), trace in newest.items()]


def due_us(at_us: int, reached_us: int) -> int:
    """End of the first pass that is to know a trace of `at_us`, cast when its partition had come to `reached_us`."""
    return (max(at_us, reached_us - SETTLE_US) // PASS_US + 1) * PASS_US
