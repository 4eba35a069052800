"""What leaves, and what has left: proposals that wait for a second person, publications, and what takes them back.

The bytes are fixed when they are proposed. Every change of status is one script that names the status before, so two
approvers cannot both win, and of two proposals about one campaign the second is not published behind the first one's back.
A publication whose objects may not all be in the feed is in a set of its own until they are: whoever finds it there goes
on, and adding an object twice changes nothing (`app.state.intel`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from app.errors import BadInput
from app.state.calls import Client, reachable, run_script
from app.state.intel_keys import INTEL_PUBLISHED, INTEL_UNSENT, intel_publication, intel_series

MAX_PUBLICATIONS = 500
"""Records at a time, of some 50 kB each; one with 5,000 accounts has 300 kB."""

WAIT_SEC = 72 * 3600
"""How long a proposal can be approved: what it says of a campaign ages."""

KEPT_SEC = 30 * 86_400
"""How long the record of a proposal is kept beyond that, and of one that was refused."""

PUBLISHED_SEC = 120 * 86_400
"""How long a published one is kept: longer than any of its objects stays in the feed or is looked for."""

Status = Literal["proposed", "refused", "expired", "published", "replaced", "retracted"]


class Terms(msgspec.Struct, frozen=True):
    """What was proposed, and by whom. Times are unix µs.

    Attributes:
        campaign: id of ours; never in the bytes.
        group: trust group.
        tlp: level.
        ref: what the ids of the objects are made of; says nothing.
        first_us: first activity as the first version told it.
        follows: id of the publication that it is a new version of; "" for the first.
        version: number of the version, from 1.
        keys: members that it speaks of; left_out: those that it does not.
        counts: type of object → how many.
        size: of the bytes.
        identities: accounts that a person named.
        reviewed: a person confirmed a campaign that was not confirmed by itself.
        reason: of the proposal.
        sha256: of the bytes, hex.
        since_us: when it was proposed; until_us: until when it can be approved.
    """

    id: str
    campaign: str
    group: str
    tlp: str
    ref: str
    first_us: int
    follows: str
    version: int
    keys: int
    left_out: int
    counts: dict[str, int]
    size: int
    identities: int
    reviewed: bool
    reason: str
    token_id: str
    by: str
    sha256: str
    since_us: int
    until_us: int


class Publication(msgspec.Struct, frozen=True):
    """A publication as it is stored.

    Attributes:
        status: as stored; see `status_at` for one that has expired.
        bundle: exactly what leaves, JSON; empty in a list.
        decided_us, decided_by, decision: who approved or refused it, and why; 0 and "" before.
        retracted_us, retracted_by, retraction: who took it back, and why; 0 and "" before.
        revocation: exactly what takes it back, JSON; empty before, and in a list.
    """

    terms: Terms
    status: Status
    bundle: bytes = b""
    decided_us: int = 0
    decided_by: str = ""
    decision: str = ""
    retracted_us: int = 0
    retracted_by: str = ""
    retraction: str = ""
    revocation: bytes = b""

    @property
    def id(self) -> str:
        """Its name."""
        return self.terms.id

    def status_at(self, now_us: int) -> Status:
        """What it is at a moment."""
        return "expired" if self.status == "proposed" and self.terms.until_us <= now_us else self.status


Args = list[str | int | bytes]

_terms = msgspec.json.Decoder(Terms).decode
_FIELDS = (
    *("terms", "status", "decided_us", "decided_by", "decision", "retracted_us", "retracted_by", "retraction"),
    *("bundle", "revocation"),
)
_LISTED = _FIELDS[:-2]


class Publications:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, found: Publication) -> None:
        """Keeps a proposal.

        Raises:
            BadInput: there are too many records already.
        """
        terms = found.terms
        fields: Args = [
            *("terms", msgspec.json.encode(terms), "status", "proposed", "bundle", found.bundle),
            *("until_ms", terms.until_us // 1000),
        ]
        if await self._run(found, "create", WAIT_SEC + KEPT_SEC, [MAX_PUBLICATIONS, *fields]) != 1:
            raise BadInput(f"there are {MAX_PUBLICATIONS} publications already; wait until some are forgotten")

    async def get(self, publication_id: str) -> Publication | None:
        """One with its bytes; None where there is none, or it is forgotten."""
        return (await self._read([publication_id], _FIELDS))[0]

    async def newest(self, count: int) -> list[Publication]:
        """The newest so many, without their bytes."""
        with reachable("publications"):
            names: Any = await self._client.zrange(INTEL_PUBLISHED, 0, -1)
        found = [one for one in await self._read([name.decode() for name in names], _LISTED) if one is not None]
        return sorted(found, key=lambda one: (one.terms.since_us, one.id), reverse=True)[:count]

    async def standing(self, group: str, campaign: str) -> str:
        """Id of the publication of a campaign that stands; "" for none. Its record may be forgotten."""
        with reachable("publications"):
            found: Any = await self._client.get(intel_series(group, campaign))
        return found.decode() if found else ""

    async def refuse(self, found: Publication, at_us: int, by: str, reason: str) -> bool:
        """False where it is not proposed any more."""
        fields: Args = ["status", "refused", "decided_us", at_us, "decided_by", by, "decision", reason]
        return await self._run(found, "refuse", KEPT_SEC, fields) == 1

    async def publish(self, found: Publication, at_us: int, by: str, reason: str) -> bool | None:
        """True: it is published, and is to be sent. False: it is not proposed any more, or too old. None: another one of
        the campaign was published, or taken back, since it was proposed."""
        fields: Args = ["status", "published", "decided_us", at_us, "decided_by", by, "decision", reason]
        answer = await self._run(found, "publish", PUBLISHED_SEC, [found.terms.follows, *fields])
        return None if answer == -2 else answer == 1

    async def retract(self, found: Publication, revocation: bytes, at_us: int, by: str, reason: str) -> bool:
        """False where it is not published, or another has replaced it."""
        fields: Args = [
            *("status", "retracted", "retracted_us", at_us, "retracted_by", by, "retraction", reason),
            *("revocation", revocation),
        ]
        return await self._run(found, "retract", PUBLISHED_SEC, fields) == 1

    async def unsent(self) -> list[str]:
        """Ids of those whose objects may not all be in the feed."""
        with reachable("publications"):
            found: Any = await self._client.smembers(INTEL_UNSENT)
        return sorted(name.decode() for name in found)

    async def waiting(self) -> tuple[int, int | None]:
        """How many are unsent, and when the first of them was approved or taken back, unix µs; None without one."""
        found = await self._read(await self.unsent(), ("terms", "status", "decided_us", "retracted_us"))
        since = [one.retracted_us or one.decided_us for one in found if one is not None]
        return len(since), min(since, default=None)

    async def sent(self, found: Publication) -> None:
        """All objects of its present status are in the feed."""
        await self._run(found, "sent", PUBLISHED_SEC, [found.status])

    async def forget_unsent(self, publication_id: str) -> None:
        """It has nowhere to go: its record or its group is gone."""
        with reachable("publications"):
            await self._client.srem(INTEL_UNSENT, publication_id)

    async def _read(self, ids: Sequence[str], fields: Sequence[str]) -> list[Publication | None]:
        with reachable("publications"):
            pipe = self._client.pipeline(transaction=False)
            for name in ids:
                pipe.hmget(intel_publication(name), list(fields))
            answers = await pipe.execute() if ids else []
        return [_publication(dict(zip(fields, answer, strict=True))) for answer in answers]

    async def _run(self, found: Publication, what: str, life_sec: int, args: Args) -> int:
        terms = found.terms
        keys = [
            intel_publication(terms.id),
            *(INTEL_PUBLISHED, INTEL_UNSENT, intel_series(terms.group, terms.campaign)),
            intel_publication(terms.follows or terms.id),
        ]
        with reachable("publications"):
            return int(await run_script(self._client, "intel_publication", keys, [what, terms.id, life_sec * 1000, *args]))


def _publication(found: Mapping[str, bytes | None]) -> Publication | None:
    def text(name: str) -> str:
        return (found.get(name) or b"").decode()

    try:
        terms, status = _terms(found["terms"] or b""), text("status")
        return Publication(
            terms,
            msgspec.convert(status, Status),
            bundle=found.get("bundle") or b"",
            decided_us=int(text("decided_us") or 0),
            decided_by=text("decided_by"),
            decision=text("decision"),
            retracted_us=int(text("retracted_us") or 0),
            retracted_by=text("retracted_by"),
            retraction=text("retraction"),
            revocation=found.get("revocation") or b"",
        )
    except (ValueError, msgspec.MsgspecError):  # none, or of another release
        return None
