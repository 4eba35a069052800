"""Received indicators that are looked for, who reported each, and how often each reporter was right.

One hash holds the indicators, one the reporters, one what we say about either (`app.state.intel_words`), one number grows
with every change: whoever holds a copy in memory asks for that number and reads again when it has grown. All lie under one
hash tag, so a change and its number are written together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import structs

from app.errors import BadInput
from app.state.calls import Client, reachable
from app.state.intel_keys import INTEL_BY_REPORTER, INTEL_INDICATORS, INTEL_REPORTERS, INTEL_REVISION, INTEL_VERDICTS
from detectors.sharing.indicator import Indicator

MAX_INDICATORS = 200_000
"""That are held. One that does not fit is refused, so that nobody pushes out what others have said."""

MOST_OF_ONE = 100_000
"""Of one member: it leaves place for others whatever it sends."""

MAX_REPORTERS = 1_000

_SLICE = 500


class Word(msgspec.Struct, frozen=True):
    """What one member says about an indicator.

    Attributes:
        member: its name in the group.
        at_us: the version of what it said, unix µs; an older one does not replace a newer.
        received_us: when it came.
        confidence: 0 … 100; of who only says that it saw it too, 50.
        agrees: False: it says that the indicator is wrong.
        told: it has sent the indicator itself, not an opinion or a sighting.
    """

    member: str
    at_us: int
    received_us: int
    confidence: int = 50
    agrees: bool = True
    told: bool = False


class Held(msgspec.Struct, frozen=True):
    """An indicator, and everything that was said about it.

    Attributes:
        indicator: as its owner sent it last.
        group: trust group that it was shared in.
        owner: member that sent it: the only one who can change it or take it back.
        version_us: of the indicator.
        tlp: level of its markings.
        words: of the owner and of others, one for each member.
        revoked: the owner took it back; kept until it would have ended, so that an old bundle does not bring it back.
        content_us: when it came with the tokens that it has now: what was said and seen before was about others.
        rivals: members whose own indicator of this id has other tokens; each is held by itself.
        aside: a person of ours disagrees: it is not looked for here. This and the next are read with the indicator and
            not written with it, so a new version of it, or one that comes again, changes nothing of them.
        agreed: a person of ours agrees, after having looked: evidence of our own beside the reporters' word.
    """

    indicator: Indicator
    group: str
    owner: str
    version_us: int
    tlp: str
    words: tuple[Word, ...] = ()
    revoked: bool = False
    content_us: int = 0
    rivals: tuple[str, ...] = ()
    aside: bool = False
    agreed: bool = False

    def counts(self, now_us: int) -> bool:
        """It is looked for: nobody took it back or set it aside, and it has not ended."""
        return not self.revoked and not self.aside and now_us < self.indicator.valid_until_us

    @property
    def name(self) -> str:
        """Where it is held."""
        return place(self.group, self.indicator.id)


class Standing(msgspec.Struct, frozen=True):
    """A member as a reporter.

    Attributes:
        group: trust group.
        member: its name there.
        organisation: that it belongs to; two members of one are one voice.
        since_us: when it was let in.
        confirmed: of its reports, those that turned out right here.
        disputed: those that turned out wrong.
    """

    group: str
    member: str
    organisation: str
    since_us: int
    confirmed: int = 0
    disputed: int = 0


def place(group: str, indicator_id: str) -> str:
    """An indicator's field: two groups may share the same one, and each has its own keys and its own trust."""
    return f"{group} {indicator_id}"


_held = msgspec.msgpack.Decoder(Held)
_standing = msgspec.msgpack.Decoder(Standing)
_encode = msgspec.msgpack.Encoder().encode


class Indicators:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def revision(self) -> int:
        """Grows with every change."""
        with reachable("indicators"):
            return int(await self._client.get(INTEL_REVISION) or 0)

    async def get(self, group: str, ids: Iterable[str]) -> dict[str, Held]:
        """Those of a group that are held, by id."""
        asked = list(ids)
        found: dict[str, Held] = {}
        for first in range(0, len(asked), _SLICE):
            part = asked[first : first + _SLICE]
            with reachable("indicators"):
                names = [place(group, one) for one in part]
                rows: Any = await self._client.hmget(INTEL_INDICATORS, names)
                said: Any = await self._client.hmget(INTEL_VERDICTS, names)
            for one, data, word in zip(part, rows, said, strict=True):
                if data and (held := _read(data, word)):
                    found[one] = held
        return found

    async def page(self, group: str = "", owner: str = "", after: str = "", count: int = 500) -> list[Held]:
        """Those of a group, or of one that sent them, in the order of group, owner and id.

        Args:
            group: of which; "" for every one.
            owner: of which, in that group; "" for every one.
            after: `page_mark` of the last one before these.
            count: most.
        """
        first, end = _span(group, owner)
        with reachable("indicators"):
            names: Any = await self._client.zrangebylex(
                INTEL_BY_REPORTER, f"({after}" if after else first, end, start=0, num=count
            )
        places = [name.decode().split(" ") for name in names]
        by_group: dict[str, list[str]] = {}
        for one in places:
            by_group.setdefault(one[0], []).append(one[2])
        found = {one: await self.get(one, ids) for one, ids in by_group.items()}
        return [held for one in places if (held := found[one[0]].get(one[2]))]

    async def owned(self, group: str, owner: str) -> int:
        """How many of this owner are held."""
        with reachable("indicators"):
            return int(await self._client.zlexcount(INTEL_BY_REPORTER, *_span(group, owner)))

    async def all(self) -> list[Held]:
        """All, the revoked and ended too, in no order."""
        found: list[Held] = []
        cursor = 0
        rows: Any
        with reachable("indicators"):
            said: Any = await self._client.hgetall(INTEL_VERDICTS)
        while True:
            with reachable("indicators"):
                cursor, rows = await self._client.hscan(INTEL_INDICATORS, cursor, count=_SLICE)
            found += [held for name, data in rows.items() if (held := _read(data, said.get(name)))]
            if not cursor:
                return list({one.name: one for one in found}.values())  # a scan may give one twice

    async def count(self) -> int:
        """How many are held."""
        with reachable("indicators"):
            return int(await self._client.hlen(INTEL_INDICATORS))

    async def put(self, held: Iterable[Held], unsaid: Collection[str] = ()) -> None:
        """Writes them.

        Args:
            held: the indicators.
            unsaid: names of those about which our word counts no more, for it was about other tokens.

        Raises:
            BadInput: there is no room for as many new ones.
        """
        kept = list(held)
        rows = {one.name: _encode(structs.replace(one, aside=False, agreed=False)) for one in kept}
        marks = {one.name: page_mark(one) for one in kept}
        if await self.count() + len(rows) > MAX_INDICATORS:
            new = len(rows) - len([data for data in await self._present(list(rows)) if data])
            if await self.count() + new > MAX_INDICATORS:
                raise BadInput(f"indicators: at most {MAX_INDICATORS:,} are held")
        names = list(rows)
        for first in range(0, len(names), _SLICE):
            part: dict[Any, Any] = {name: rows[name] for name in names[first : first + _SLICE]}
            with reachable("indicators"):
                pipe = self._client.pipeline(transaction=True)
                pipe.hset(INTEL_INDICATORS, mapping=part)
                pipe.zadd(INTEL_BY_REPORTER, {marks[name]: 0 for name in part})
                if gone := [name for name in part if name in unsaid]:
                    pipe.hdel(INTEL_VERDICTS, *gone)
                pipe.incr(INTEL_REVISION)
                await pipe.execute()

    async def drop(self, held: Iterable[Held]) -> int:
        """Forgets those that ended; how many there were. What we have said about them stays."""
        gone = list(held)
        dropped = 0
        for first in range(0, len(gone), _SLICE):
            part = gone[first : first + _SLICE]
            with reachable("indicators"):
                pipe = self._client.pipeline(transaction=True)
                pipe.hdel(INTEL_INDICATORS, *(one.name for one in part))
                pipe.zrem(INTEL_BY_REPORTER, *(page_mark(one) for one in part))
                pipe.incr(INTEL_REVISION)
                dropped += int((await pipe.execute())[0])
        return dropped

    async def standings(self) -> dict[tuple[str, str], Standing]:
        """All reporters, by group and member."""
        with reachable("indicators"):
            rows: Any = await self._client.hgetall(INTEL_REPORTERS)
        found = [_standing.decode(data) for data in rows.values()]
        return {(one.group, one.member): one for one in found}

    async def put_standing(self, standing: Standing) -> None:
        """Writes one.

        Raises:
            BadInput: there are too many.
        """
        name = f"{standing.group} {standing.member}"
        with reachable("indicators"):
            known = await self._client.hexists(INTEL_REPORTERS, name)
            if not known and await self._client.hlen(INTEL_REPORTERS) >= MAX_REPORTERS:
                raise BadInput(f"reporters: at most {MAX_REPORTERS:,} are known")
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(INTEL_REPORTERS, name, _encode(standing))
            pipe.incr(INTEL_REVISION)
            await pipe.execute()

    async def _present(self, names: list[str]) -> list[Any]:
        found: list[Any] = []
        for first in range(0, len(names), _SLICE):
            with reachable("indicators"):
                found += await self._client.hmget(INTEL_INDICATORS, names[first : first + _SLICE])
        return found


def _read(data: bytes, word: bytes | None) -> Held | None:
    """With what we say about it; None for one of another release."""
    try:
        found = _held.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return structs.replace(found, aside=word == b"disagree", agreed=word == b"agree") if word else found


def page_mark(held: Held) -> str:
    """An indicator's place in the order of pages."""
    return f"{held.group} {held.owner} {held.indicator.id}"


def _span(group: str, owner: str) -> tuple[str, str]:
    """Bounds of a group's or an owner's in the order of pages: "!" is the character behind the space."""
    if not group:
        return "-", "+"
    name = f"{group} {owner}" if owner else group
    return f"[{name} ", f"({name}!"
