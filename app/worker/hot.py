"""Entity states of one partition, kept in memory between batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from detectors.analysis import EntityState

Entity = tuple[str, str]
"""(kind, id)."""


class HotStates:
    """Least-recently-used cache. A state is taken out to be worked on and put back once its batch is committed.

    A state that was taken and not put back is gone: after a failed commit the copy in memory is ahead of the stored one,
    and only the stored one is true.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._states: OrderedDict[Entity, EntityState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def take(self, entities: Iterable[Entity]) -> dict[Entity, EntityState]:
        """Removes and returns those that are held."""
        taken = {}
        for entity in entities:
            state = self._states.pop(entity, None)
            if state is not None:
                taken[entity] = state
        return taken

    def put(self, states: dict[Entity, EntityState]) -> None:
        """Holds these as the most recent, and lets the oldest go beyond the capacity."""
        self._states.update(states)
        while len(self._states) > self.capacity:
            self._states.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        self._states.clear()
