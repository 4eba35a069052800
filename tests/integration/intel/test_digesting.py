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
from app.state.intel_indicators import Indicators, Standing
from app.state.intel_received import ReceivedQueue
from app.state.intel_words import OurWords
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
    """Another member neither changes an indicator nor takes it back; its copy is a word about it, of half
    confidence, until it takes that back."""
    await desk.send("a", *_objects())
    stolen = next(one for one in _objects(NOW + DAY_US) if one["type"] == "indicator")
    await desk.send("b", {**stolen, "valid_until": "2027-01-16T00:00:00Z"}, at_us=NOW + DAY_US)
    assert {word.member: word.confidence for word in (await desk.held()).words} == {"a": 90, "b": 50}
    await desk.send("b", *_objects(NOW + 2 * DAY_US, revoked=True), at_us=NOW + 2 * DAY_US)
    held = await desk.held()
    assert (held.owner, held.revoked, held.version_us) == ("a", False, NOW)
    assert {word.member: word.confidence for word in held.words} == {"a": 90}


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


def _other(objects: list[dict[str, Any]], token: str = "cd" * 12) -> dict[str, Any]:
    """The indicator with another token, as its id says nothing about what it looks for."""
    one = next(one for one in objects if one["type"] == "indicator")
    sketch = {**one["extensions"][made.EXTENSION], "tokens": [token]}
    return {**one, "extensions": {**one["extensions"], made.EXTENSION: sketch}}


async def _voices(desk: Desk, held: Any) -> list[str]:
    return sorted(one.reporter.name for one in reports(held, await desk.indicators.standings()))


async def test_id_taken_by_another(desk: Desk) -> None:
    """Who sends an honest member's id first, with other tokens, has nobody behind it; the honest one is held by itself,
    and its owner takes it back."""
    await desk.send("liar", _other(_objects()))
    await desk.send("c", _opinion("agree"))
    await desk.send("a", *_objects())
    first, second = sorted(await desk.indicators.all(), key=lambda one: one.owner != "liar")
    assert (first.indicator.tokens, first.rivals) == (("cd" * 12,), ("a",))
    assert [word.member for word in first.words] == ["liar", "c"]
    assert (second.owner, second.indicator.tokens) == ("a", ("ab" * 12,))
    assert await _voices(desk, first) == ["g/liar"]
    assert await _voices(desk, second) == ["g/a"]
    assert (await desk.send("a", *_objects())).taken == 0
    await desk.send("a", *_objects(NOW + DAY_US, revoked=True), at_us=NOW + DAY_US)
    assert {one.owner: one.revoked for one in await desk.indicators.all()} == {"liar": False, "a": True}


async def test_rival_takes_no_voice_of_the_trusted(desk: Desk) -> None:
    """A member that is trusted less gains nothing by sending other tokens under an id of one that is trusted more."""
    await desk.send("a", *_objects())
    await desk.send("c", _opinion("agree"))
    await desk.indicators.put_standing(Standing("g", "a", "a", NOW - 90 * DAY_US, 3, 0))
    await desk.send("liar", _other(_objects(NOW + DAY_US)), at_us=NOW + DAY_US)
    held = await desk.held()
    assert (held.indicator.tokens, held.rivals) == (("ab" * 12,), ("liar",))
    assert await _voices(desk, held) == ["g/a", "g/c"]


async def test_changed_tokens_lose_agreement(desk: Desk) -> None:
    """What others, or a person here, agreed with was something else: none of it counts for the tokens that come later."""
    await desk.send("liar", *_objects())
    await desk.send("b", _opinion("agree"))
    await desk.send("c", _opinion("disagree"))
    words = OurWords(desk.indicators._client)
    await words.say(await desk.held(), "agree", "ann", 3, NOW)
    before = await desk.held()
    assert before.agreed
    await desk.send("liar", *_objects(NOW + DAY_US), at_us=NOW + DAY_US)  # the same tokens: a newer version, no more
    same = await desk.held()
    assert (same.agreed, same.content_us, len(same.words)) == (True, before.content_us, 3)
    await desk.send("liar", _other(_objects(NOW + 2 * DAY_US)), at_us=NOW + 2 * DAY_US)
    held = await desk.held()
    assert (held.indicator.tokens, held.agreed) == (("cd" * 12,), False)
    assert held.content_us > before.content_us
    assert {word.member: word.agrees for word in held.words} == {"liar": True, "c": False}
    await words.say(held, "agree", "ann", 3, NOW + 3 * DAY_US)
    assert (await desk.held()).agreed
    assert (await desk.indicators.standings())["g", "liar"].confirmed == 1


async def test_set_aside_stays(desk: Desk) -> None:
    """What a person here disagrees with stays set aside, whatever its owner puts into it."""
    await desk.send("liar", *_objects())
    await OurWords(desk.indicators._client).say(await desk.held(), "disagree", "ann", 0, NOW)
    await desk.send("liar", _other(_objects(NOW + DAY_US)), at_us=NOW + DAY_US)
    assert (await desk.held()).aside


async def test_no_room_but_for_retractions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that has as many as it may, or a store that is full, refuses new ones and takes a retraction beside them."""
    await desk.send("a", *_objects())
    new = {**_other(_objects()), "id": "indicator--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10"}
    monkeypatch.setattr("app.intel.digesting.MOST_OF_ONE", 1)
    assert (await desk.send("a", new)).refused == 1
    monkeypatch.setattr("app.intel.digesting.MOST_OF_ONE", 10)
    monkeypatch.setattr("app.state.intel_indicators.MAX_INDICATORS", 1)
    done = await desk.send("a", new, *_objects(NOW + DAY_US, revoked=True), at_us=NOW + DAY_US)
    assert (done.refused, done.retracted) == (1, 1)
    (held,) = await desk.indicators.all()
    assert held.revoked


async def test_fault_holds_up_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what one member sent cannot be taken, the others' is taken nevertheless."""
    take = desk.digester._take

    async def broken(group: str, member: str, *more: Any) -> None:
        if member == "a":
            raise LookupError("of a")
        await take(group, member, *more)

    monkeypatch.setattr(desk.digester, "_take", broken)
    await desk.queue.received("g", "a", [b"{}"])
    with pytest.raises(LookupError):
        await desk.send("b", *_objects())
    assert (await desk.held()).owner == "b"
    assert [source.member for source in await desk.queue.sources()] == ["a"]
