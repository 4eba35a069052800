"""Appeals: a customer objects to an action, a person decides, and what was decided becomes a label.

The customer's own words and contact are personal data: they are in a string of their own with a shorter life, never in a
log, an audit record or a label. Everything else about an appeal is kept as long as the flag that it is about.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any, Literal, get_args

import msgspec

from app.errors import BadInput, Conflict
from app.state.calls import Client, reachable, run_script
from app.state.keys import (
    APPEALS_DECIDED,
    APPEALS_OPEN,
    FLAG_TTL_SEC,
    appeal,
    appeal_of_reference,
    appeal_words,
    appeals_of_key,
)

Outcome = Literal["upheld", "overturned", "partly"]
"""The action was right; it was wrong; it was right in part."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

MAX_OPEN = 10_000
"""Appeals that wait at a time; a support desk that is this far behind needs people, not a longer list."""

MAX_OF_KEY = 50
MAX_TEXT_CHARS = 4_000

_HORIZON_US = FLAG_TTL_SEC * 1_000_000


class Appeal(msgspec.Struct, frozen=True, kw_only=True):
    """One appeal without the customer's words. Times are unix µs.

    Attributes:
        id: reference of the appeal, for the customer.
        ref: reference of the action.
        by_person: the action was a person's order, not the policy's.
        action: the action as it was when the appeal came.
        level: the key's level as the statement has it; "" for none.
        flagged_us: when the behaviour began that the action is about.
        placed_by: who gave the order; "" for the policy. That person does not decide.
        about_use: the action was about how the key is used; an order may have another reason.
        outcome: "" while it is open.
        note: the person's reason, internal.
        label: what the decision became, benign or abusive; "" for neither.
        release: what was done about the key with the decision: none, end or observe, for `hours`.
    """

    id: str
    ref: str
    key_id: str
    at_us: int
    by_person: bool
    action: str
    level: str
    flagged_us: int
    placed_by: str = ""
    about_use: bool = True
    outcome: str = ""
    decided_us: int = 0
    decided_by: str = ""
    note: str = ""
    label: str = ""
    release: str = "none"
    hours: float = 0.0

    @property
    def is_open(self) -> bool:
        """Nobody has decided yet."""
        return not self.outcome

    @property
    def release_sec(self) -> int:
        """How long an observe order stands from the decision on; an order stands for a minute at least."""
        return max(60, round(self.hours * 3600))


class Words(msgspec.Struct, frozen=True):
    """What the customer wrote, and where the provider can reach it."""

    contact: str
    text: str


_decode = msgspec.json.Decoder(Appeal).decode
_words = msgspec.json.Decoder(Words).decode
_encode = msgspec.json.Encoder().encode


def new_id() -> str:
    """An id that nobody can guess from another one, such as ``ap-b3x7qk2m5aduc``."""
    return "ap-" + base64.b32encode(secrets.token_bytes(8)).decode().rstrip("=").lower()


class Appeals:
    """Every method raises StateUnavailable when the server is away.

    Args:
        words_sec: how long a customer's words are kept.
    """

    def __init__(self, client: Client, words_sec: int) -> None:
        self._client = client
        self._words_sec = min(words_sec, FLAG_TTL_SEC)

    async def file(self, found: Appeal, words: Words) -> None:
        """Stores a new one.

        Raises:
            Conflict: one about this reference is open already; the message has its id.
            BadInput: MAX_OPEN are open.
        """
        args: list[str | int | bytes] = ["file", found.id, _place(found.at_us, found.id), _encode(found), _encode(words)]
        answer = await self._run(found, [*args, self._words_sec, FLAG_TTL_SEC, MAX_OPEN, MAX_OF_KEY])
        if answer == b"full":
            raise BadInput(f"{MAX_OPEN:,} appeals are open already; some must be decided first")
        if answer:
            raise Conflict(f"the appeal {answer.decode()} about this reference is open already")

    async def get(self, appeal_id: str) -> tuple[Appeal, Words | None] | None:
        """One with the customer's words, which end earlier; None when there is none."""
        with reachable("appeals"):
            found_both: Any = await self._client.mget([appeal(appeal_id), appeal_words(appeal_id)])
        record, words = found_both
        found = _read(record)
        return None if found is None else (found, None if words is None else _words(words))

    async def decide(self, before: Appeal, after: Appeal) -> bool:
        """Stores what was decided; false when somebody else was faster."""
        args: list[str | int | bytes] = ["decide", before.id, _place(before.at_us, before.id), _encode(before)]
        args += [_encode(after), _place(after.decided_us, after.id), FLAG_TTL_SEC]
        args.append(_place(max(0, after.decided_us - _HORIZON_US), ""))
        return bool(await self._run(before, args))

    async def open(self, after: str = "", limit: int = 100) -> tuple[list[Appeal], str]:
        """(open ones behind a cursor, the longest waiting first; cursor of the next page, "" behind the last)."""
        with reachable("appeals"):
            low = f"({after}" if after else "-"
            found: Any = await self._client.zrangebylex(APPEALS_OPEN, low, "+", start=0, num=limit + 1)
        return await self._page(found, limit)

    async def decided(self, before: str = "", limit: int = 100) -> tuple[list[Appeal], str]:
        """(decided ones before a cursor, the newest decision first; cursor of the next page)."""
        with reachable("appeals"):
            high = f"({before}" if before else "+"
            found: Any = await self._client.zrevrangebylex(APPEALS_DECIDED, high, "-", start=0, num=limit + 1)
        return await self._page(found, limit)

    async def of_key(self, key_id: str) -> list[Appeal]:
        """Those about one key, newest first."""
        with reachable("appeals"):
            places: Any = await self._client.zrevrangebylex(appeals_of_key(key_id), "+", "-")
        return (await self._page(places, len(places)))[0]

    async def waiting(self) -> tuple[int, int | None]:
        """(how many are open, when the oldest of them came, unix µs)."""
        with reachable("appeals"):
            pipe = self._client.pipeline(transaction=False)
            pipe.zcard(APPEALS_OPEN)
            pipe.zrangebylex(APPEALS_OPEN, "-", "+", start=0, num=1)
            count, oldest = await pipe.execute()
        return int(count), int(oldest[0].partition(b":")[0]) if oldest else None

    async def erase(self, key_id: str) -> int:
        """Forgets every appeal about a key, the customer's words with it; how many names were deleted."""
        gone = 0
        for found in await self.of_key(key_id):
            decided = _place(found.decided_us, found.id) if found.outcome else ""
            came = _place(found.at_us, found.id)
            gone += int(await self._run(found, ["erase", found.id, came, decided, came]))
        return gone

    async def _page(self, places: list[bytes], limit: int) -> tuple[list[Appeal], str]:
        shown = [place.decode() for place in places[:limit]]
        if not shown:
            return [], ""
        with reachable("appeals"):
            records: Any = await self._client.mget([appeal(place.partition(":")[2]) for place in shown])
        found = [one for record in records if (one := _read(record)) is not None]
        return found, shown[-1] if len(places) > limit else ""

    async def _run(self, found: Appeal, args: list[str | int | bytes]) -> Any:
        keys = [appeal(found.id), appeal_words(found.id), APPEALS_OPEN, APPEALS_DECIDED]
        keys += [appeals_of_key(found.key_id), appeal_of_reference(found.ref)]
        with reachable("appeals"):
            return await run_script(self._client, "appeals", keys, args)


def _place(at_us: int, appeal_id: str) -> str:
    return f"{at_us:016d}:{appeal_id}"


def _read(record: bytes | None) -> Appeal | None:
    try:
        return None if record is None else _decode(record)
    except msgspec.DecodeError:  # of another release
        return None
