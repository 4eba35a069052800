"""Collections of shared objects: versions by object and by the time that they were added, bounded, and paged without loss.

An entry is one version of an object, as JSON. Every entry gets a date of its own from one script, and dates only grow; so
whoever goes on behind the last date that he has seen gets everything that was added since, however many add at a time.
Which collections there are is in `app.state.intel_groups`.
"""

from __future__ import annotations

from collections.abc import Collection as Many
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.state.calls import Client, reachable, run_script
from app.state.intel_keys import CollectionKeys

Which = Literal["first", "last", "all"]

_SLICE = 100
"""Objects that one script takes, at most `app.intel.taxii.envelope.MAX_OBJECT_BYTES` each."""

_LOOKED_AT = 5_000
MAX_LOOKED_AT = 50_000
"""Entries that a filtered page looks at, in so many steps; the next page goes on behind them."""

_MOST_VERSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a collection holds. Beyond it the oldest entries go.

    Attributes:
        versions: entries.
        size_bytes: of all objects.
        keep_sec: how long an entry is kept.
    """

    versions: int
    size_bytes: int
    keep_sec: int


FEED = Bounds(250_000, 256 * 1024 * 1024, 90 * 86_400)
"""What a group shares: 10^5 indicators with their sightings and a version or two; longer than any of them is valid."""

SUBMIT = Bounds(50_000, 64 * 1024 * 1024, 30 * 86_400)
"""What members have sent, as a person can look at it; what is done about it goes through `app.state.intel_received`."""

BOUNDS = {"feed": FEED, "submit": SUBMIT}


@dataclass(frozen=True, slots=True)
class NewObject:
    """A version of an object that is to be added.

    Attributes:
        object_id: STIX id; no "|" and no brace can be in it.
        version_us: `modified`, else `created`, unix µs; None where an object has neither, and so only one version.
        data: the object, JSON.
    """

    object_id: str
    version_us: int | None
    data: bytes

    @property
    def name(self) -> str:
        """What the entry is called."""
        return f"{self.object_id}|" + ("" if self.version_us is None else f"{self.version_us:016d}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in a collection.

    Attributes:
        name: of the version, as state knows it.
        added_us: when it was added; no other entry of the collection has this one.
    """

    name: str
    added_us: int

    @property
    def object_id(self) -> str:
        """Of which object."""
        return self.name.partition("|")[0]

    @property
    def version_us(self) -> int:
        """The version; of an object without one, when it was added."""
        version = self.name.partition("|")[2]
        return int(version) if version else self.added_us


@dataclass(frozen=True, slots=True)
class Query:
    """Which entries. None: no matter which.

    Attributes:
        after_us: added later than this.
        ids: of these objects.
        types: of these types, the part of an id before "--".
        which: versions by their place among those of their object.
        versions_us: these versions too.
    """

    after_us: int = 0
    ids: frozenset[str] | None = None
    types: frozenset[str] | None = None
    which: frozenset[Which] = frozenset(("last",))
    versions_us: frozenset[int] = field(default_factory=frozenset)

    def of(self, object_id: str) -> bool:
        """Whether entries of this object can be meant."""
        return self.types is None or object_id.partition("--")[0] in self.types


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order in which they were added.

    Attributes:
        more: there may be others behind them.
        next_us: date to go on behind.
    """

    entries: list[Entry]
    more: bool
    next_us: int


class Collection:
    """One collection. Every method raises StateUnavailable when the server is away.

    Args:
        client: of the state server.
        group: trust group.
        kind: "feed" or "submit".
        bounds: how much it holds.
    """

    def __init__(self, client: Client, group: str, kind: str, bounds: Bounds | None = None) -> None:
        self._client = client
        self._names = CollectionKeys(group, kind)
        self._bounds = BOUNDS[kind] if bounds is None else bounds

    async def add(self, objects: Sequence[NewObject]) -> list[tuple[Entry, bool]]:
        """(its entry, whether it is new) of each object. A version that is there already stays as it was."""
        found: list[tuple[Entry, bool]] = []
        bounds = [self._bounds.versions, self._bounds.size_bytes, self._bounds.keep_sec]
        for first in range(0, len(objects), _SLICE):
            part = objects[first : first + _SLICE]
            args: list[str | int | bytes] = [*bounds]
            for one in part:
                args += [one.name, one.data]
            with reachable("collections"):
                dates = await run_script(self._client, "intel_add", self._names.all(), args)
            for one, date in zip(part, dates, strict=True):
                found.append((Entry(one.name, abs(int(date))), int(date) > 0))
        return found

    async def page(self, query: Query, limit: int) -> Page:
        """The first `limit` entries that are meant."""
        if query.ids is not None:
            found = await self._of_ids(query.ids, query)
            chosen = [entry for entry in found if entry.added_us > query.after_us][: limit + 1]
            return _page(chosen, limit, query.after_us)
        newest_only = query.which == {"last"} and not query.versions_us
        source = self._names.newest if newest_only else self._names.dated
        chosen, position, looked_at = [], query.after_us, 0
        while len(chosen) <= limit and looked_at < MAX_LOOKED_AT:
            # Where every entry counts, no more are fetched than are given.
            step = min(limit + 1, _LOOKED_AT) if newest_only and query.types is None else _LOOKED_AT
            with reachable("collections"):
                stored: Any = await self._client.zrangebyscore(
                    source, f"({position}", "+inf", start=0, num=step, withscores=True, score_cast_func=int
                )
            entries = [Entry(name.decode(), date) for name, date in stored]
            if entries:
                position = entries[-1].added_us
            looked_at += len(entries)
            entries = [entry for entry in entries if query.of(entry.object_id)]
            chosen += entries if newest_only else await self._versions(entries, query)
            if len(stored) < step:
                return _page(chosen, limit, position)
        if len(chosen) > limit:
            return _page(chosen, limit, position)
        return Page(chosen, True, position)

    async def of_object(self, object_id: str, query: Query) -> list[Entry]:
        """Entries of one object that are meant, in the order in which they were added."""
        return await self._of_ids([object_id], query)

    async def has(self, object_id: str) -> bool:
        """Whether there is any version of the object."""
        with reachable("collections"):
            found: Any = await self._client.zrangebylex(self._names.by_id, *_span(object_id), start=0, num=1)
        return bool(found)

    async def objects(self, entries: Sequence[Entry]) -> list[bytes | None]:
        """The object of each entry, JSON; None where it has gone since."""
        if not entries:
            return []
        with reachable("collections"):
            found: Any = await self._client.hmget(self._names.objects, [entry.name for entry in entries])
        return list(found)

    async def delete(self, entries: Sequence[Entry]) -> int:
        """Takes entries out; how many were there."""
        gone = 0
        for first in range(0, len(entries), _SLICE):
            names = [entry.name for entry in entries[first : first + _SLICE]]
            with reachable("collections"):
                gone += int(await run_script(self._client, "intel_delete", self._names.all(), names))
        return gone

    async def size(self) -> tuple[int, int]:
        """(entries, bytes of their objects)."""
        with reachable("collections"):
            entries: Any = await self._client.zcard(self._names.dated)
            size: Any = await self._client.hget(self._names.size, "bytes")
        return int(entries), int(size or 0)

    async def _of_ids(self, ids: Many[str], query: Query) -> list[Entry]:
        """Entries of these objects that are meant, in the order of their dates, whatever the query's `after_us` is."""
        wanted = sorted(object_id for object_id in ids if query.of(object_id))
        if not wanted:
            return []
        with reachable("collections"):
            pipe = self._client.pipeline(transaction=False)
            for object_id in wanted:
                pipe.zrangebylex(self._names.by_id, *_span(object_id), start=0, num=_MOST_VERSIONS)
            listed = await pipe.execute()
            names = [name for versions in listed for name in versions]
            dates: Any = await self._client.zmscore(self._names.dated, names) if names else []
        ends = {versions[0] for versions in listed if versions}, {versions[-1] for versions in listed if versions}
        found = [
            entry
            for name, date in zip(names, dates, strict=True)
            if date is not None
            and _meant(query, entry := Entry(name.decode(), int(date)), name in ends[0], name in ends[1])
        ]
        return sorted(found, key=lambda entry: entry.added_us)

    async def _versions(self, entries: list[Entry], query: Query) -> list[Entry]:
        """Those whose version is meant."""
        if "all" in query.which or not entries:
            return entries
        with reachable("collections"):
            pipe = self._client.pipeline(transaction=False)
            for entry in entries:
                pipe.zrangebylex(self._names.by_id, *_span(entry.object_id), start=0, num=1)
                pipe.zscore(self._names.newest, entry.name)
            told = await pipe.execute()
        return [
            entry
            for at, entry in enumerate(entries)
            if _meant(query, entry, told[2 * at] == [entry.name.encode()], told[2 * at + 1] is not None)
        ]


def _span(object_id: str) -> tuple[str, str]:
    """Bounds of an object's versions in the order of names: "}" is the character behind "|"."""
    return f"[{object_id}|", f"({object_id}}}"


def _meant(query: Query, entry: Entry, first: bool, last: bool) -> bool:
    if "all" in query.which or (first and "first" in query.which) or (last and "last" in query.which):
        return True
    return entry.version_us in query.versions_us


def _page(chosen: list[Entry], limit: int, position: int) -> Page:
    entries = chosen[:limit]
    more = len(chosen) > limit
    return Page(entries, more, entries[-1].added_us if more else position)
