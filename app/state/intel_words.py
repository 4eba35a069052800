"""What people of our own have said about received indicators, and what it did to those who reported them.

A word outlives the indicator: whoever sends again what was set aside, after it has ended too, finds it set aside. Word and
reporters' counts are changed together or not at all, and each word knows what it has counted: said twice it counts once,
and where it changes, what it had counted is taken back first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from app.errors import BadInput, Conflict
from app.state.calls import Client, reachable, run_script
from app.state.intel_indicators import MAX_REPORTERS, Held, Standing, place
from app.state.intel_keys import INTEL_INDICATORS, INTEL_REPORTERS, INTEL_REVISION, INTEL_SAID, INTEL_VERDICTS

OurWord = Literal["agree", "disagree"]
Count = Literal["confirmed", "disputed"]

MAX_SAID = 50_000
"""Words that are kept. Beyond it the oldest about indicators that are held no longer go."""

_DROPPED = 1_000
_ATTEMPTS = 8


class Said(msgspec.Struct, frozen=True):
    """Our word about one indicator.

    Attributes:
        group: trust group.
        indicator: STIX id.
        word: agree, or disagree.
        first_us: when the first word about it was said, whole milliseconds.
        at_us: when this one was; grows from word to word.
        by: token id of the person.
        counted: (member, which of its counts this word has moved by one).
        keys: keys that showed it then, as others are told: rounded, and 0 where nothing is told of them.
        ended_us: of the word before it, where that told of keys: what it told is taken back; 0 for none.
    """

    group: str
    indicator: str
    word: OurWord
    first_us: int
    at_us: int
    by: str
    counted: tuple[tuple[str, Count], ...] = ()
    keys: int = 0
    ended_us: int = 0


_said = msgspec.msgpack.Decoder(Said)
_standing = msgspec.msgpack.Decoder(Standing)
_encode = msgspec.msgpack.Encoder().encode


def moved(held: Held, word: OurWord) -> tuple[tuple[str, Count], ...]:
    """What a word does to those who have one about the indicator.

    Who sent it first was right or wrong. To agree costs nothing once it is out, so whoever only agreed with what is right
    gains nothing, and so does whoever spoke against what is wrong; both lose where they were wrong.
    """
    counted: list[tuple[str, Count]] = [(held.owner, "confirmed" if word == "agree" else "disputed")]
    for one in held.words:
        if one.member != held.owner and one.agrees != (word == "agree"):
            counted.append((one.member, "disputed"))
    return tuple(counted)


class OurWords:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, group: str, indicator: str) -> Said | None:
        """Our word about an indicator."""
        return _said.decode(data) if (data := await self._read(INTEL_SAID, place(group, indicator))) else None

    async def say(self, held: Held, word: OurWord, by: str, keys: int, now_us: int) -> Said:
        """Our word from now on; the one that there is where it says the same already and still counts.

        Args:
            held: what it is about.
            word: agree, or disagree.
            by: token id of the person.
            keys: that show it, as others may be told.
            now_us: the moment.

        Raises:
            BadInput: there are MAX_SAID words, all about what is held.
            Conflict: others change the same over and over.
        """
        await self._make_room()
        field = place(held.group, held.indicator.id)
        for _ in range(_ATTEMPTS):
            raw = await self._read(INTEL_SAID, field)
            before = _said.decode(raw) if raw else None
            verdict = await self._read(INTEL_VERDICTS, field)
            if before is not None and before.word == word and verdict == word.encode():
                return before
            # STIX tells versions apart by the millisecond.
            at_us = max(now_us // 1000 * 1000, 0 if before is None else before.at_us + 1000)
            said = Said(
                held.group,
                held.indicator.id,
                word,
                at_us if before is None else before.first_us,
                at_us,
                by,
                moved(held, word),
                keys if word == "agree" else 0,
                before.at_us if before is not None and before.keys else 0,
            )
            changes = [(2, field, raw, _encode(said)), (3, field, verdict, word.encode())]
            back = () if before is None else before.counted
            if await self._swap([*changes, *await self._counts(held.group, back, said.counted)]):
                return said
        raise Conflict("the indicator's words are changed by others; try it again")

    async def change_standing(self, group: str, member: str, change: Callable[[Standing | None], Standing]) -> Standing:
        """A reporter as `change` makes it of what it is; written if nobody has changed it meanwhile, else tried again.

        Raises:
            BadInput: there are MAX_REPORTERS.
            Conflict: as `say`.
        """
        field = f"{group} {member}"
        for _ in range(_ATTEMPTS):
            raw = await self._read(INTEL_REPORTERS, field)
            before = _standing.decode(raw) if raw else None
            after = change(before)
            if after == before:
                return after
            if before is None and await self._length(INTEL_REPORTERS) >= MAX_REPORTERS:
                raise BadInput(f"reporters: at most {MAX_REPORTERS:,} are known")
            if await self._swap([(4, field, raw, _encode(after))]):
                return after
        raise Conflict("the reporter is changed by others; try it again")

    async def _counts(
        self, group: str, back: Iterable[tuple[str, Count]], on: Iterable[tuple[str, Count]]
    ) -> list[tuple[int, str, bytes, bytes]]:
        """Changes of reporters: what was counted before is taken back. Reporters that are not known stay so."""
        by: dict[str, dict[str, int]] = {}
        for counted, step in ((back, -1), (on, 1)):
            for member, count in counted:
                steps = by.setdefault(member, {"confirmed": 0, "disputed": 0})
                steps[count] += step
        changes = []
        for member, steps in by.items():
            field = f"{group} {member}"
            raw = await self._read(INTEL_REPORTERS, field)
            if raw:
                changes.append((4, field, raw, _encode(_stepped(_standing.decode(raw), steps))))
        return changes

    async def _swap(self, changes: Sequence[tuple[int, str, bytes, bytes]]) -> bool:
        names = [INTEL_REVISION, INTEL_SAID, INTEL_VERDICTS, INTEL_REPORTERS]
        args: list[str | int | bytes] = [value for change in changes for value in change]
        with reachable("our words"):
            return bool(await run_script(self._client, "intel_swap", names, args))

    async def _read(self, name: str, field: str) -> bytes:
        with reachable("our words"):
            found: Any = await self._client.hget(name, field)
        return found or b""

    async def _length(self, name: str) -> int:
        with reachable("our words"):
            return int(await self._client.hlen(name))

    async def _make_room(self) -> None:
        if await self._length(INTEL_SAID) < MAX_SAID:
            return
        with reachable("our words"):
            rows: Any = await self._client.hgetall(INTEL_SAID)
            held: Any = set(await self._client.hkeys(INTEL_INDICATORS))
        gone = sorted((_said.decode(data).at_us, name) for name, data in rows.items() if name not in held)[:_DROPPED]
        if not gone:
            raise BadInput(f"there are {MAX_SAID:,} words about indicators that are held, and no more can be said")
        with reachable("our words"):
            pipe = self._client.pipeline(transaction=True)
            pipe.hdel(INTEL_SAID, *(name for _, name in gone))
            pipe.hdel(INTEL_VERDICTS, *(name for _, name in gone))
            await pipe.execute()


def _stepped(standing: Standing, steps: Mapping[str, int]) -> Standing:
    return structs.replace(
        standing,
        confirmed=max(0, standing.confirmed + steps["confirmed"]),
        disputed=max(0, standing.disputed + steps["disputed"]),
    )
