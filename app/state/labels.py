"""Labels: what a person has found out about a key in some window of time, for fitting and judging models.

They are few and precious: kept until they are erased or exported and removed, in one sorted list. A member is
``<key id>|<when it was given, µs>|<JSON>`` with score 0, so a key's labels stand together and a page starts anywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, get_args

import msgspec

from app.errors import BadInput
from app.state.calls import Client, reachable, run_script
from app.state.keys import LABELS

Finding = Literal["benign", "abusive"]
FINDINGS: tuple[Finding, ...] = get_args(Finding)

Source = Literal["appeal", "analyst"]

MAX_LABELS = 100_000
"""Labels that may be kept, at about 300 bytes each."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a key in a window. Times are unix µs.

    Attributes:
        label: benign, or abusive.
        source: appeal: it was decided so; analyst: a person said so.
        weight: how sure that person is, in (0, 1].
        from_us: beginning of the window.
        until_us: its end.
        at_us: when the label was given.
        by: who gave it.
        ref: the appeal, or the action, that led to it; "" for none.
    """

    key_id: str
    label: Finding
    source: Source
    weight: float
    from_us: int
    until_us: int
    at_us: int
    by: str
    ref: str = ""


_SLICE = 500
_decode = msgspec.json.Decoder(Label).decode


class Labels:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def add(self, label: Label) -> None:
        """Keeps one more; the very same one again changes nothing.

        Raises:
            BadInput: there are MAX_LABELS already.
        """
        member = b"%s|%016d|%s" % (label.key_id.encode(), label.at_us, msgspec.json.encode(label))
        with reachable("labels"):
            kept = await run_script(self._client, "labels", [LABELS], [member, MAX_LABELS])
        if not kept:
            raise BadInput(
                f"there are {MAX_LABELS:,} labels already; export them and erase those of keys that are long gone"
            )

    async def page(self, after: str = "", limit: int = 500) -> tuple[list[Label], str]:
        """(labels behind a cursor, by key and then by time; cursor of the next page, "" behind the last)."""
        found = await self._range(f"({after}|~" if after else "-", "+", limit + 1)
        labels = _read(found[:limit])
        return labels, b"|".join(found[limit - 1].split(b"|", 2)[:2]).decode() if len(found) > limit else ""

    async def of_key(self, key_id: str) -> list[Label]:
        """Those about one key, oldest first."""
        return _read(await self._range(f"[{key_id}|", f"({key_id}}}"))

    async def of_keys(self, key_ids: Sequence[str]) -> dict[str, list[Label]]:
        """Key id → its labels, oldest first, for those that have any."""
        found: dict[str, list[Label]] = {}
        for at in range(0, len(key_ids), _SLICE):
            some = key_ids[at : at + _SLICE]
            with reachable("labels"):
                pipe = self._client.pipeline(transaction=False)
                for key_id in some:
                    pipe.zrangebylex(LABELS, f"[{key_id}|", f"({key_id}}}")
                answers = await pipe.execute()
            found |= {key_id: labels for key_id, answer in zip(some, answers, strict=True) if (labels := _read(answer))}
        return found

    async def all(self) -> AsyncIterator[Label]:
        """Every label, by key and then by time."""
        cursor = ""
        while True:
            labels, cursor = await self.page(cursor)
            for label in labels:
                yield label
            if not cursor:
                return

    async def erase(self, key_id: str) -> int:
        """Forgets every label about a key; how many there were."""
        with reachable("labels"):
            return int(await self._client.zremrangebylex(LABELS, f"[{key_id}|", f"({key_id}}}"))

    async def _range(self, low: str, high: str, most: int | None = None) -> list[bytes]:
        with reachable("labels"):
            start = None if most is None else 0
            found: Any = await self._client.zrangebylex(LABELS, low, high, start=start, num=most)
        return list(found)


def _read(members: list[bytes]) -> list[Label]:
    found = []
    for member in members:
        try:
            found.append(_decode(member.split(b"|", 2)[2]))
        except (msgspec.DecodeError, IndexError):  # of another release
            continue
    return found
