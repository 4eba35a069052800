"""What members sent becomes what is looked for, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.intel import bundle as made
from app.intel.digesting import Digest, Digester, reports
from app.settings import load
from app.state.calls import Client
from app.state.factory import background_client
from app.state.intel_indicators import Indicators
from app.state.intel_received import ReceivedQueue
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.tokens import SCHEME
from detectors.sharing.trust import score

NOW = 1_800_000_000_000_000
A = made.Provider(made.provider_id("A"), "A")


def _objects(at_us: int = NOW, revoked: bool = False) -> list[dict[str, Any]]:
    one = Indicator(
        made.indicator_stix_id(A, "r", "template", "0"),
        "template",
        ("ab" * 12,),
        NOW,
        NOW + 50 * DAY_US,
        SCHEME,
        "q4",
        (5.0,),
        90,
    )
    return made.objects(A, made.Shared("r", NOW - DAY_US, NOW, 20, 100, [one]), at_us, revoked)


INDICATOR = next(one["id"] for one in _objects() if one["type"] == "indicator")


class Desk:
    """A queue, what is held, and who digests."""

    def __init__(self, client: Client) -> None:
        self.queue = ReceivedQueue(client)
        self.indicators = Indicators(client)
        self.digester = Digester(self.queue, self.indicators)

    async def send(self, member: str, *objects: dict[str, Any], at_us: int = NOW) -> Digest:
        """Sends and digests."""
        await self.queue.received("g", member, [orjson.dumps(one) for one in objects])
        return await self.digester.step(at_us)

    async def held(self) -> Any:
        """The indicator."""
        return (await self.indicators.get("g", [INDICATOR]))[INDICATOR]


@pytest.fixture
async def desk(redis_db: str) -> AsyncIterator[Desk]:
    """On an empty database."""
    client = background_client(redis_db, load(environ={}))
    yield Desk(client)
    await client.aclose()


def _opinion(word: str, at: str = "2027-01-15T08:00:00.000Z") -> dict[str, Any]:
    return {
        "type": "opinion",
        "id": "opinion--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10",
        "modified": at,
        "opinion": word,
        "object_refs": [INDICATOR],
    }


async def test_again_changes_nothing(desk: Desk) -> None:
    """A bundle is taken once, however often and late it comes; nothing waits then."""
    assert (await desk.send("a", *_objects())).taken == 1
    revision = await desk.indicators.revision()
    again = await desk.send("a", *_objects(), *_objects(NOW - DAY_US))
    assert (again.taken, again.known) == (0, 4)
    assert await desk.indicators.revision() == revision
    assert await desk.queue.sources() == []


async def test_only_owner_changes(desk: Desk) -> None:
    """Another member neither changes an indicator nor takes it back; its copy is a word about it, of half confidence."""
    await desk.send("a", *_objects())
    stolen = next(one for one in _objects(NOW + DAY_US) if one["type"] == "indicator")
    await desk.send("b", {**stolen, "valid_until": "2027-01-16T00:00:00Z"}, at_us=NOW + DAY_US)
    await desk.send("b", *_objects(NOW + 2 * DAY_US, revoked=True), at_us=NOW + 2 * DAY_US)
    held = await desk.held()
    assert (held.owner, held.revoked, held.version_us) == ("a", False, NOW)
    assert {word.member: word.confidence for word in held.words} == {"a": 90, "b": 50}


async def test_retraction_stands(desk: Desk) -> None:
    """What its owner took back has no reporter, and a stale or newer bundle does not bring it back."""
    await desk.send("a", *_objects())
    assert (await desk.send("a", *_objects(NOW + DAY_US, revoked=True), at_us=NOW + DAY_US)).retracted == 1
    for at_us in (NOW, NOW + 2 * DAY_US):
        await desk.send("a", *_objects(at_us), at_us=NOW + 2 * DAY_US)
    held = await desk.held()
    assert held.revoked
    assert reports(held, await desk.indicators.standings()) == []


async def test_words_count(desk: Desk) -> None:
    """Who agrees or saw it adds a voice, who disagrees takes one away; a newer word replaces an older one."""
    await desk.send("a", *_objects())
    alone = score(reports(await desk.held(), await desk.indicators.standings()), NOW)
    await desk.send("b", _opinion("agree"))
    both = score(reports(await desk.held(), await desk.indicators.standings()), NOW)
    assert both > alone
    await desk.send("b", _opinion("strongly-disagree", "2027-01-15T09:00:00.000Z"), at_us=NOW + DAY_US)
    await desk.send("b", _opinion("agree", "2027-01-15T08:30:00.000Z"), at_us=NOW + DAY_US)
    assert reports(await desk.held(), await desk.indicators.standings()) == []


async def test_hostile_objects(desk: Desk) -> None:
    """Broken, self-referencing and unknown objects cause nothing, and are counted."""
    itself = {"type": "bundle", "id": "bundle--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10", "objects": []}
    itself["objects"] = [dict(itself)]
    indicator = next(one for one in _objects() if one["type"] == "indicator")
    done = await desk.send(
        "liar",
        itself,
        {**indicator, "confidence": 10**9},
        {**indicator, "object_marking_refs": ["marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"]},
        {"type": "sighting", "id": "sighting--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10", "sighting_of_ref": INDICATOR},
    )
    assert (done.refused, done.taken) == (2, 0)
    assert await desk.indicators.all() == []


async def test_ended_forgotten(desk: Desk) -> None:
    """What ended is dropped."""
    await desk.send("a", *_objects())
    assert await desk.digester.forget_ended(NOW + 10 * DAY_US) == 0
    assert await desk.digester.forget_ended(NOW + 50 * DAY_US) == 1
    assert await desk.indicators.all() == []
