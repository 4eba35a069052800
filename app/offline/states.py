"""The entity states of a replay: the hot ones as objects, the rest as bytes in a temporary file.

A log of a month may name a million keys; their profiles would not fit in memory as Python objects, as bytes on disk they
do. A state comes back from its bytes exactly as it was, so what is evicted when cannot change a verdict.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from typing import TypeAlias

from detectors.analysis import EntityState

Name: TypeAlias = tuple[str, str]
"""("key" or "org", entity id)."""


class StateTable(MutableMapping[Name, EntityState]):
    """Entity states by name; `trim` between batches moves the least recently used ones to disk."""

    def __init__(self, hot_limit: int) -> None:
        self._hot: OrderedDict[Name, EntityState] = OrderedDict()
        self._hot_limit = hot_limit
        # An empty name is SQLite's private temporary file: deleted when closed, and after a crash.
        self._disk = sqlite3.connect("", isolation_level=None)
        self._disk.execute("PRAGMA journal_mode = OFF")
        self._disk.execute("CREATE TABLE cold (kind TEXT, id TEXT, data BLOB, PRIMARY KEY (kind, id)) WITHOUT ROWID")
        self._cold = 0

    def __getitem__(self, name: Name) -> EntityState:
        state = self._hot.get(name)
        if state is not None:
            self._hot.move_to_end(name)
            return state
        row = self._disk.execute("SELECT data FROM cold WHERE kind = ? AND id = ?", name).fetchone() if self._cold else None
        if row is None:
            raise KeyError(name)
        self._forget(name)
        self._hot[name] = state = EntityState.from_bytes(row[0])
        return state

    def __setitem__(self, name: Name, state: EntityState) -> None:
        self._forget(name)
        self._hot[name] = state
        self._hot.move_to_end(name)

    def __delitem__(self, name: Name) -> None:
        if self._hot.pop(name, None) is None and not self._forget(name):
            raise KeyError(name)

    def __len__(self) -> int:
        return len(self._hot) + self._cold

    def __iter__(self) -> Iterator[Name]:
        """Names in a fixed order, whatever is hot: sorted."""
        names = [*self._hot, *self._disk.execute("SELECT kind, id FROM cold")]
        yield from sorted((kind, entity) for kind, entity in names)

    def trim(self) -> None:
        """Move what is above the limit to disk. Not during a batch: the caller may hold states it is still changing."""
        if len(self._hot) <= self._hot_limit:
            return
        rows = []
        # A tenth below the limit, so that disk is written in large transactions.
        while len(self._hot) > self._hot_limit * 9 // 10:
            (kind, entity), state = self._hot.popitem(last=False)
            rows.append((kind, entity, state.to_bytes()))
        self._disk.execute("BEGIN")
        self._disk.executemany("INSERT INTO cold VALUES (?, ?, ?)", rows)
        self._disk.execute("COMMIT")
        self._cold += len(rows)

    def close(self) -> None:
        """Give the temporary file back."""
        self._disk.close()

    def _forget(self, name: Name) -> bool:
        if not self._cold:
            return False
        gone = self._disk.execute("DELETE FROM cold WHERE kind = ? AND id = ?", name).rowcount
        self._cold -= gone
        return bool(gone)
