"""What a dishonest member can do: members' real credentials, the app's own loop, a real worker with policy in force.

Each of it leads to no action about honest keys and to no crash; next to it two independent members of standing do lead to
an action, so that all of this can fail.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec import structs

from app.enforcement.policy import SHARING
from app.gateway.identity import Hasher
from app.intel import bundle as made
from app.intel import taking
from app.intel.taxii import envelope, times
from app.state.intel_indicators import Indicators, Standing
from app.state.intel_received import ReceivedQueue
from app.state.intel_words import OurWords
from app.state.waiting import end
from app.worker import sharing
from detectors.sharing.indicator import DAY_US
from tests.integration.intel.conftest import TAXII
from tests.integration.sharing_traffic import APP, RING, Style, acting, hits, indicators, keys_folder, order, send, until
from tests.integration.worker.conftest import Lab

PEPPER = "a pepper of the tests, long enough to be taken"
CLOUD = ipaddress.ip_address("52.95.110.1")
HONEST, GUEST = 2, 3
"""A key that writes as it likes, and a user of the popular app."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker.worker.SHARE_CHECK_SEC", 0.02)
    monkeypatch.setattr("app.worker.sharing.REFRESH_SEC", 0.02)
    monkeypatch.setattr("app.worker.sharing.RECHECK_SEC", 0.05)
    monkeypatch.setattr("app.intel.taking.TAKE_SEC", 0.02)


class Front:
    """A provider with a trust group, members that send to it, and a worker that looks for what they sent."""

    def __init__(self, site: Any, lab: Lab, worker: Any) -> None:
        self.site = site
        self.lab = lab
        self.worker = worker
        self.queue = ReceivedQueue(site.state)
        self.indicators = Indicators(site.state)
        self._tokens = {"acme": site.acme, "birch": site.birch}

    async def member(self, name: str, right: int = 0, days: int = 90, organisation: str = "") -> None:
        """Lets a member in that has been one for so many days and was right so many times."""
        if name not in self._tokens:
            self._tokens[name] = await self.site.member(name)
        since_us = _now_us() - days * DAY_US
        await self.indicators.put_standing(Standing("labs", name, organisation or name, since_us, right))

    async def post(self, name: str, objects: Sequence[Any]) -> dict[str, Any]:
        """Sends objects as a member does; what became of them."""
        status: dict[str, Any] = {}
        for first in range(0, len(objects), envelope.MAX_OBJECTS):
            body = orjson.dumps({"objects": objects[first : first + envelope.MAX_OBJECTS]})
            path = f"{self.site.root}collections/submit/objects/"
            answer = await self.site.ask("POST", path, self._tokens[name], content=body)
            assert answer.status_code == 202, answer.text
            status = answer.json()
        return status

    async def tell(self, name: str, *objects: Any) -> None:
        """Sends objects that are all taken, and returns when the worker has looked at every key with what came of them."""
        assert (await self.post(name, objects))["failure_count"] == 0
        await self.settled()

    async def settled(self) -> None:
        """Returns when nothing waits, and what is held was compared with every key and weighed again."""
        await self.lab.until(self.queue.sources, [])
        revision = await self.indicators.revision()
        looks = self.worker._sharing

        async def done() -> bool:
            swept = [looks._swept.get(partition, frozenset()) for partition in range(self.lab.partitions)]
            same = looks._revision == revision and (not len(looks._watch) or all(looks._names <= one for one in swept))
            return bool(same and looks._rechecked > at)

        for _ in range(2):  # a step may have begun before
            at = time.monotonic()
            await self.lab.until(done, True, 60.0)

    async def traffic(self, key: int, style: Style | None, **more: Any) -> None:
        """Three exchanges of a key."""
        await send(self.lab, key, style, count=3, **more)

    async def effect(self, key: int) -> str:
        """What follows for a key."""
        await self.settled()
        found = await hits(self.lab, key)
        return "" if found is None else found.effect

    async def untouched(self, *keys: int) -> bool:
        """Nothing was ordered about these keys."""
        await self.settled()
        return [await order(self.lab, key) for key in keys] == [None] * len(keys)


@pytest.fixture
async def front(site: Any, tmp_path: Path) -> AsyncIterator[Front]:
    """With acme and birch, members of standing, and traffic of honest keys."""
    lab = Lab(str(site.server.app.state.taking and _url(site)), site.state, tmp_path / "archive")
    lab.partitions = 4
    settings = acting(keys_folder(tmp_path / "keys"))
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(lab.worker(STILLWATCH_IDENTITY__PEPPER=PEPPER, **settings))
        front = Front(site, lab, worker)
        await front.member("acme", right=3)
        await front.member("birch", right=3)
        await front.traffic(HONEST, None)
        await front.traffic(GUEST, APP)
        yield front


def _url(site: Any) -> str:
    found = site.state.connection_pool.connection_kwargs
    return f"unix://{found['path']}" if "path" in found else f"redis://{found['host']}:{found['port']}/{found.get('db', 0)}"


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No error was logged: whatever came was taken, or refused for a reason."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
    assert [one.getMessage() for one in caplog.records if "what members sent" in one.getMessage()] == []


def _now_us() -> int:
    return time.time_ns() // 1000


def _at(days: float) -> str:
    return times.version((_now_us() + round(days * DAY_US)) // 1000 * 1000)


def told_by(
    name: str, style: Style = RING, ref: str = "r", at_us: int = 0, revoked: bool = False, **fields: Any
) -> list[dict[str, Any]]:
    """All objects that a member would send of an operation, under ids of its own."""
    provider = made.Provider(made.provider_id(name), name)
    found = [
        structs.replace(one, id=made.indicator_stix_id(provider, ref, one.kind, "0"), **fields) for one in indicators(style)
    ]
    shared = made.Shared(ref, _now_us() - DAY_US, _now_us(), 12, 360, found)
    return made.objects(provider, shared, at_us or _now_us(), revoked)


def _indicators(objects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in objects if one["type"] == "indicator"]


def _about(kind: str, objects: Sequence[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """An opinion about, or a sighting of, each indicator."""
    return [
        {
            "type": kind,
            "spec_version": "2.1",
            "id": f"{kind}--{uuid.uuid4()}",
            "created": _at(0),
            "modified": _at(0),
            **({"object_refs": [one["id"]]} if kind == "opinion" else {"sighting_of_ref": one["id"], "count": 9}),
            **more,
        }
        for one in _indicators(objects)
    ]


async def test_control_two_of_standing_act(front: Front, quiet: None) -> None:
    """Two independent members of standing that tell of one operation lead to an order; honest keys stay as they are."""
    await front.tell("acme", *told_by("acme"))
    await front.traffic(1, RING)
    assert await front.effect(1) == "priority"
    await front.tell("birch", *told_by("birch"))
    await until(front.lab, 1, "acted", "real")
    assert (await order(front.lab, 1)).by == SHARING
    assert await front.untouched(HONEST, GUEST)
    assert await front.effect(HONEST) == await front.effect(GUEST) == ""


async def test_popular_app_of_one_liar(front: Front, quiet: None) -> None:
    """A trusted member that tells of a popular app, of its cloud and of 10,000 more of the same orders nothing; what two
    others tell of a real operation is not hidden by it."""
    template, *_ = told = _indicators(told_by("acme", APP))
    cloud = {"pattern": "[ipv4-addr:value ISSUBSET '52.95.0.0/16']", "pattern_type": "stix"}
    system = {"pattern": "[autonomous-system:number = 16509]", "pattern_type": "stix"}
    bare = {name: value for name, value in template.items() if name not in ("extensions", "pattern_version")}
    many = [
        {**told[number % len(told)], "id": f"indicator--{uuid.UUID(int=number, version=4)}"} for number in range(10_000)
    ]
    plain = [{**bare, **one, "id": f"indicator--{uuid.uuid4()}"} for one in (cloud, system)]
    address = Hasher(PEPPER).ip_prefix(CLOUD)
    await front.traffic(4, APP, ip_prefix_id=address)
    await front.traffic(5, None, ip_prefix_id=address)
    await front.tell("acme", *told, *plain, *many)
    assert await front.effect(GUEST) == await front.effect(4) == "priority"
    await front.traffic(6, APP)
    found = await hits(front.lab, 6)
    assert found is None or found.voices <= 1
    assert await front.untouched(HONEST, GUEST, 4, 5, 6)
    await front.member("cedar", right=3)
    for name in ("birch", "cedar"):
        await front.tell(name, *told_by(name))
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    assert await front.untouched(HONEST, GUEST, 4, 5, 6)


PAIRS = {
    "just let in": [{"right": 0, "days": 0}, {"right": 0, "days": 0}],
    "never right": [{"right": 0, "days": 90}, {"right": 0, "days": 90}],
    "right, and let in last week": [{"right": 5, "days": 7}, {"right": 5, "days": 7}],
    "one organisation": [{"right": 5, "organisation": "evil"}, {"right": 5, "organisation": "evil"}],
    "one of standing with a helper": [{"right": 5}, {"right": 0, "days": 0}],
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_sybil_pairs(front: Front, quiet: None, pair: list[dict[str, Any]]) -> None:
    """Two members that one liar has made, and that say yes to each other, are not two voices about an honest app."""
    names = ("liar-1", "liar-2")
    for name, past in zip(names, pair, strict=True):
        await front.member(name, **past)
    for name, other in zip(names, reversed(names), strict=True):
        await front.tell(name, *told_by(name, APP), *told_by(other, APP))
    for name, other in zip(names, reversed(names), strict=True):
        about = told_by(other, APP)
        await front.tell(name, *_about("opinion", about, opinion="strongly-agree"), *_about("sighting", about))
    assert await front.effect(GUEST) == "priority"
    found = await hits(front.lab, GUEST)
    assert found is not None
    assert found.voices < 2
    assert await front.untouched(HONEST, GUEST)


async def test_stale_bundles(front: Front, quiet: None) -> None:
    """What ended, or is older than what is held, changes nothing; nor does what was told before it was taken back."""
    past = _now_us() - 100 * DAY_US
    ended = told_by("acme", valid_from_us=past, valid_until_us=past + 20 * DAY_US, at_us=past)
    await front.traffic(1, RING)
    for name in ("acme", "birch"):
        await front.tell(name, *told_by(name, ref="old", valid_from_us=past, valid_until_us=past + DAY_US, at_us=past))
    await front.tell("acme", *ended)
    assert await front.effect(1) == ""
    first = {name: told_by(name) for name in ("acme", "birch")}
    for name, objects in first.items():
        await front.tell(name, *objects)
    await until(front.lab, 1, "acted", "real")
    await front.tell("acme", *told_by("acme", APP, at_us=_now_us() - DAY_US))  # an older version, with an app's tokens
    assert await front.effect(GUEST) == ""
    for name in first:
        await front.tell(name, *told_by(name, revoked=True))
    assert await front.effect(1) == ""
    for name, other in (("acme", "birch"), ("birch", "acme")):
        await front.tell(name, *first[name], *first[other], *told_by(name), *ended)
    assert await front.effect(1) == ""
    assert await front.untouched(1, HONEST, GUEST)


async def test_retraction_within_a_minute(front: Front, quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the intervals as they are in operation, hits and orders have gone less than 60 s after members took back."""
    for name in ("acme", "birch"):
        await front.tell(name, *told_by(name))
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    monkeypatch.undo()
    assert taking.TAKE_SEC + sharing.SHARE_CHECK_SEC + sharing.REFRESH_SEC + sharing.RECHECK_SEC <= 30
    began = time.monotonic()
    for name in ("acme", "birch"):
        assert (await front.post(name, told_by(name, revoked=True)))["failure_count"] == 0
    await front.lab.until(lambda: hits(front.lab, 1), None, 60.0)
    await front.lab.until(lambda: order(front.lab, 1), None, 60.0)
    assert time.monotonic() - began < 30


async def test_not_its_own(front: Front, quiet: None) -> None:
    """A member that takes back, changes or ends what is another's changes nothing of it."""
    acme, birch = told_by("acme"), told_by("birch")
    await front.tell("acme", *acme)
    await front.tell("birch", *birch)
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    await front.member("liar", right=5)
    later = _now_us() + 1_000_000
    await front.tell("liar", *told_by("acme", at_us=later, revoked=True), *told_by("birch", at_us=later, revoked=True))
    await front.tell("liar", *told_by("acme", APP, at_us=later), *told_by("birch", APP, at_us=later))
    short = [{**one, "valid_until": _at(-0.01), "modified": _at(0)} for one in _indicators(acme)]
    await front.tell("liar", *short)
    found = await until(front.lab, 1, "acted", "real")
    assert found.voices == 2
    assert await order(front.lab, 1) is not None
    assert await front.effect(GUEST) in ("", "priority")
    assert await front.untouched(HONEST, GUEST)


async def test_ids_taken_first(front: Front, quiet: None) -> None:
    """A liar that sends the ids of two honest members before they do, with an app's tokens, has neither behind it."""
    await front.member("liar", right=5)
    await front.tell("liar", *told_by("acme", APP), *told_by("birch", APP))
    for name in ("acme", "birch"):
        await front.tell(name, *told_by(name))
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    assert await front.effect(GUEST) == "priority"
    assert await front.untouched(HONEST, GUEST)


async def test_bait_and_switch(front: Front, quiet: None) -> None:
    """Two honest members send on what a liar tells, and a person here agrees; for what it puts in its place nobody does."""
    await front.member("liar", right=5)
    bait = told_by("liar")
    await front.tell("liar", *bait)
    await front.traffic(1, RING)
    for name in ("acme", "birch"):
        await front.tell(name, *bait, *_about("opinion", bait, opinion="agree"))
    for held in (await front.indicators.get("labs", [one["id"] for one in _indicators(bait)])).values():
        await OurWords(front.site.state).say(held, "agree", "ann", 1, _now_us())
    await until(front.lab, 1, "acted", "real")
    await front.tell("liar", *told_by("liar", APP))
    assert await front.effect(GUEST) == "priority"
    assert await front.untouched(1, HONEST, GUEST)


async def test_switch_before_bait(front: Front, quiet: None) -> None:
    """Keys that showed what an indicator named at first are not taken for those that show what others agreed with."""
    await front.member("liar", right=5)
    await front.tell("liar", *told_by("liar", APP))
    assert await front.effect(GUEST) == "priority"
    bait = told_by("liar")
    await front.tell("liar", *bait)
    for name in ("acme", "birch"):
        await front.tell(name, *bait)
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    assert await front.effect(GUEST) == ""
    assert await front.untouched(HONEST, GUEST)


async def test_tells_each_member_another_thing(front: Front, quiet: None) -> None:
    """Members who agree with an id may have been shown other tokens under it: to agree is heard, and is no voice."""
    await front.member("liar", right=5)
    shown_to_others = told_by("liar")
    await front.tell("liar", *told_by("liar", APP))
    alone = await hits(front.lab, GUEST)
    for name in ("acme", "birch"):
        await front.tell(name, *_about("opinion", shown_to_others, opinion="strongly-agree"))
        await front.tell(name, *_about("sighting", shown_to_others))
    assert await front.effect(GUEST) == "priority"
    found = await hits(front.lab, GUEST)
    assert alone is not None
    assert found is not None
    assert (found.voices, found.score > alone.score) == (1, True)
    assert await front.untouched(HONEST, GUEST)


async def test_future_dated(front: Front, quiet: None) -> None:
    """Dates years ahead count as now: they neither outlive what is worth looking for, nor hold up later versions, nor keep
    a retraction out."""
    ahead = {"created": "2099-01-01T00:00:00.000Z", "modified": "2280-12-31T23:59:59.999Z"}
    future = [{**one, **ahead} for one in told_by("acme")]
    late = {**ahead, "valid_from": "2279-01-01T00:00:00Z", "valid_until": "2281-12-31T00:00:00Z"}
    await front.member("liar")
    liar = [{**one, **late} for one in _indicators(told_by("liar", APP))]
    assert (await front.post("liar", [{**one, "modified": "9999-12-31T23:59:59Z"} for one in liar]))["success_count"] == 0
    await front.tell("liar", *liar)
    await front.tell("acme", *future)
    await front.tell("birch", *told_by("birch"))
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    for held in await front.indicators.all():
        assert held.version_us <= _now_us()
        assert held.indicator.valid_from_us <= _now_us()
        assert held.indicator.valid_until_us <= _now_us() + 61 * DAY_US
        assert all(word.at_us <= _now_us() for word in held.words)
    await front.tell("acme", *told_by("acme", revoked=True))
    assert await front.effect(1) == "priority"
    assert await front.untouched(1, HONEST, GUEST)


def _nested(levels: int) -> Any:
    found: Any = "end"
    for number in range(levels):
        found = [found] if number % 2 else {"a": found}
    return found


_WRONG: list[Any] = [
    None, True, -1, 0, 1e308, 2**63, "", "x" * 5000, "\x00", "indicator--", [], {}, [[]], [None], ["x", 1], {"a": {}},
    "2026-99-99T00:00:00Z", "9999-12-31T23:59:60Z", _nested(14),
]  # fmt: skip


def _spoilt(objects: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every field of every object, and of an indicator's extension, with a value of every wrong type."""
    for one in objects:
        for name in [*one, "revoked", "object_marking_refs", "granular_markings", "lang"]:
            if name not in ("id", "type"):
                yield from ({**one, name: value} for value in _WRONG)
        for extension, fields in one.get("extensions", {}).items():
            for name in fields:
                for value in _WRONG:
                    yield {**one, "extensions": {**one["extensions"], extension: {**fields, name: value}}}


def _strange(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects that speak of themselves or of nothing, and those of versions that nobody knows."""
    first = _indicators(told)[0]
    common = {"spec_version": "2.1", "created": _at(0), "modified": _at(0)}

    def one(kind: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, "id": f"{kind}--{uuid.uuid4()}", **common, **more}

    nowhere = f"indicator--{uuid.uuid4()}"
    itself = {kind: f"{kind}--{uuid.uuid4()}" for kind in ("relationship", "sighting", "opinion", "indicator", "report")}
    sketch = first["extensions"][made.EXTENSION]
    return [
        one("relationship", relationship_type="indicates", source_ref=first["id"], target_ref=first["id"]),
        one(
            "relationship", id=itself["relationship"], source_ref=itself["relationship"], target_ref=itself["relationship"]
        ),
        one("sighting", id=itself["sighting"], sighting_of_ref=itself["sighting"]),
        one("sighting", sighting_of_ref=nowhere, where_sighted_refs=[nowhere], observed_data_refs=[nowhere]),
        one("opinion", id=itself["opinion"], opinion="agree", object_refs=[itself["opinion"]]),
        one("opinion", opinion="strongly-disagree", object_refs=[nowhere] * 100),
        one("report", id=itself["report"], object_refs=[itself["report"]]),
        one("x-unknown", anything=_nested(10)),
        {**first, "id": itself["indicator"], "created_by_ref": itself["indicator"], "object_marking_refs": [nowhere]},
        {**first, "id": f"indicator--{uuid.uuid4()}", "extensions": {made.EXTENSION: {**sketch, made.EXTENSION: sketch}}},
        {**first, "id": f"indicator--{uuid.uuid4()}", "pattern_version": "99.0"},
        {**first, "id": f"indicator--{uuid.uuid4()}", "pattern_type": "stillwatch-sketch-9"},
        {**first, "id": f"indicator--{uuid.uuid4()}", "extensions": {f"extension-definition--{uuid.uuid4()}": sketch}},
        {**first, "id": f"indicator--{uuid.uuid4()}", "pattern_type": "stix", "pattern": "[" * 4000 + "]" * 4000},
        {**first, "id": f"indicator--{uuid.uuid4()}", "pattern_type": "stix", "pattern": "[a:b = '" + "\\'" * 3000 + "']"},
        {**first, "id": f"indicator--{uuid.uuid4()}", "pattern_type": "sigma", "pattern": "title: x"},
    ]


async def test_hostile_objects(front: Front, quiet: None) -> None:
    """Fields of every wrong type, objects about themselves or about nothing, unknown versions and deep ones order nothing,
    and what honest members tell afterwards is taken as ever."""
    await front.member("liar", right=5)
    told = told_by("liar", APP)
    about = [_about("opinion", told, opinion="agree")[0], _about("sighting", told)[0]]
    deep = [{**told[-1], "x": _nested(levels)} for levels in (25, 100, 240)]
    status = await front.post("liar", deep)
    assert (status["success_count"], status["failure_count"]) == (0, 3)
    for body in (
        b"[" * 100_000,
        b'{"objects": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"objects": [NaN]}',
        b"\xff\xfe",
        b"",
    ):
        path = f"{front.site.root}collections/submit/objects/"
        answer = await front.site.ask("POST", path, front._tokens["liar"], content=body)
        assert answer.status_code == 422
    await front.post("liar", [*_strange(told), *_spoilt([*_indicators(told), *about])])
    await front.settled()
    assert await front.effect(GUEST) in ("", "priority")
    assert await front.untouched(HONEST, GUEST)
    for name in ("acme", "birch"):
        await front.tell(name, *told_by(name))
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    assert await front.untouched(HONEST, GUEST)


async def test_gigabyte_refused(front: Front, quiet: None) -> None:
    """A body of 1 GB from a member is refused by its length, and one without a length as soon as it is too long."""
    host, port = front.site.server.url.removeprefix("http://").split(":")
    head = (
        f"POST /taxii2/labs/collections/submit/objects/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {front.site.acme}\r\n"
        f"Accept: {TAXII}\r\nContent-Type: {TAXII}\r\n"
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Content-Length: {1 << 30}\r\n\r\n".encode())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()

    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    sent, piece = 0, b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    async def flood() -> None:
        nonlocal sent
        for _ in range(1024):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    sending = asyncio.create_task(flood())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 30)
    await end(sending)
    writer.transport.abort()
    assert sent < 64 * 1024 * 1024
    assert await front.queue.sources() == []


async def test_disagrees_with_everything(front: Front, quiet: None) -> None:
    """Who disagrees with everything takes one voice away: of three the action stays, of two the place in the queue. It is
    no voice any more once a person here has agreed with what it spoke against."""
    told = {name: told_by(name) for name in ("acme", "birch", "cedar")}
    await front.member("cedar", right=3)
    await front.member("liar")
    for name, objects in told.items():
        await front.tell(name, *objects)
    await front.traffic(1, RING)
    await until(front.lab, 1, "acted", "real")
    spoken = [one for objects in told.values() for one in _about("opinion", objects, opinion="strongly-disagree")]
    await front.tell("liar", *spoken)
    await front.tell("liar", *spoken, *[{**one, "id": f"opinion--{uuid.uuid4()}"} for one in spoken])
    found = await until(front.lab, 1, "acted", "real")
    await front.settled()
    found = await until(front.lab, 1, "voices", 2)
    assert (found.effect, found.acted) == ("automatic", "real")
    await front.tell("cedar", *told_by("cedar", revoked=True))
    assert await front.effect(1) == "priority"
    assert await front.untouched(1)
    held = await front.indicators.get("labs", [one["id"] for one in _indicators(told["birch"])])
    for one in held.values():
        await OurWords(front.site.state).say(one, "agree", "ann", 1, _now_us())
    found = await until(front.lab, 1, "acted", "real")
    assert found.effect == "automatic"
