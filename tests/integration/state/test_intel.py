"""Collections of shared objects, the queues of what was sent, members' credentials: order, bounds, and nothing lost."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest

from app.errors import BadInput
from app.state import intel_groups, intel_received
from app.state.intel import Bounds, Collection, NewObject, Query
from app.state.intel_groups import Credential, IntelGroups
from app.state.intel_keys import INTEL_WAITING, CollectionKeys
from app.state.intel_polls import MAX_STATUSES, Poll, Polls, Statuses
from app.state.intel_received import ReceivedQueue
from app.state.keys import UNBOUNDED_OK

ALL = Query(which=frozenset(("all",)))
WIDE = Bounds(100_000, 10**9, 3600)


def _id(number: int, kind: str = "indicator") -> str:
    return f"{kind}--{uuid.UUID(int=number)}"


def _new(number: int, version_us: int | None = 1, data: bytes = b"{}", kind: str = "indicator") -> NewObject:
    return NewObject(_id(number, kind), version_us, data)


async def _read_all(collection: Collection, query: Query, limit: int) -> list[str]:
    """Names of all entries that are meant, page by page."""
    found: list[str] = []
    after_us = query.after_us
    while True:
        page = await collection.page(Query(after_us, query.ids, query.types, query.which, query.versions_us), limit)
        assert len(page.entries) <= limit
        found += [entry.name for entry in page.entries]
        if not page.more:
            return found
        assert page.next_us > after_us
        after_us = page.next_us


async def test_pages_follow_the_order_of_adding_and_dates_are_all_different(client: Any) -> None:
    """A thousand objects in any order of ids come back once each, in the order in which they were added."""
    collection = Collection(client, "g", "feed", WIDE)
    numbers = sorted(range(1, 1001), key=lambda number: (number * 7919) % 1009)
    added = await collection.add([_new(number) for number in numbers])
    assert all(new for _, new in added)
    dates = [entry.added_us for entry, _ in added]
    assert dates == sorted(set(dates))
    assert await _read_all(collection, Query(), 77) == [_new(number).name for number in numbers]


async def test_nothing_is_lost_while_others_add(client: Any) -> None:
    """A reader who pages while four writers add sees every object exactly once, where none has a second version."""
    collection = Collection(client, "g", "feed", WIDE)
    writing = True

    async def write(writer: int) -> None:
        for number in range(0, 300, 10):
            await collection.add([_new(1 + writer * 1000 + number + more) for more in range(10)])

    async def read() -> list[str]:
        found: list[str] = []
        after_us = 0
        while True:
            last_round = not writing
            page = await collection.page(Query(after_us), 23)
            found += [entry.name for entry in page.entries]
            if page.entries:
                after_us = page.entries[-1].added_us
            elif last_round:
                return found
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write(writer) for writer in range(4)))
    writing = False
    found = await reader
    assert len(found) == len(set(found)) == 1200


async def test_the_newest_version_is_what_is_given_by_default(client: Any) -> None:
    """Older, newer and late versions: last, first, all and named ones are told apart, and the same one again is not new."""
    collection = Collection(client, "g", "feed", WIDE)
    await collection.add([_new(1, 10, b"ten"), _new(2, 5), _new(1, 30, b"thirty")])
    added = await collection.add([_new(1, 20, b"twenty, late"), _new(1, 30, b"another thirty")])
    assert [new for _, new in added] == [True, False]

    async def versions(**more: Any) -> list[tuple[str, int]]:
        page = await collection.page(Query(**more), 100)
        return [(entry.object_id, entry.version_us) for entry in page.entries]

    assert await versions() == [(_id(2), 5), (_id(1), 30)]
    assert await versions(which=frozenset(("first",))) == [(_id(1), 10), (_id(2), 5)]
    assert await versions(which=frozenset(("all",))) == [(_id(1), 10), (_id(2), 5), (_id(1), 30), (_id(1), 20)]
    assert await versions(which=frozenset(), versions_us=frozenset((20, 5))) == [(_id(2), 5), (_id(1), 20)]
    for ids in (frozenset((_id(1),)), frozenset((_id(1), _id(9)))):
        assert await versions(ids=ids) == [(_id(1), 30)]
        assert await versions(ids=ids, which=frozenset(("first", "last"))) == [(_id(1), 10), (_id(1), 30)]
    page = await collection.page(Query(ids=frozenset((_id(1),))), 1)
    assert await collection.objects(page.entries) == [b"thirty"]


async def test_an_object_without_versions_has_its_date_as_version(client: Any) -> None:
    """An observable has one version, whatever comes later under its id, and can be asked for by the date it was added."""
    collection = Collection(client, "g", "feed", WIDE)
    (entry, new), (again, _) = await collection.add([_new(1, None, kind="ipv4-addr"), _new(1, None, b"other", "ipv4-addr")])
    assert new
    assert entry.version_us == entry.added_us == again.added_us
    page = await collection.page(Query(which=frozenset(), versions_us=frozenset((entry.added_us,))), 10)
    assert page.entries == [entry]


async def test_filters_by_type_look_through_more_than_one_step(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few objects of a type among many are found over several pages, some of which may be empty."""
    monkeypatch.setattr("app.state.intel._LOOKED_AT", 50)
    monkeypatch.setattr("app.state.intel.MAX_LOOKED_AT", 100)
    collection = Collection(client, "g", "feed", WIDE)
    await collection.add([_new(number, kind="campaign" if number % 250 == 0 else "indicator") for number in range(1, 1001)])
    found = await _read_all(collection, Query(types=frozenset(("campaign",))), 3)
    assert found == [_new(number, kind="campaign").name for number in (250, 500, 750, 1000)]
    everything = await _read_all(collection, Query(types=frozenset(("campaign",)), which=frozenset(("all",))), 3)
    assert everything == found


async def test_a_collection_is_bounded_in_number_bytes_and_age(client: Any) -> None:
    """The oldest entries go where there are too many, or too large ones, or too old ones; nothing of them is left."""
    names = CollectionKeys("g", "feed")
    few = Collection(client, "g", "feed", Bounds(10, 10**6, 3600))
    await few.add([_new(number) for number in range(1, 31)])
    assert await _read_all(few, ALL, 100) == [_new(number).name for number in range(21, 31)]
    assert await few.size() == (10, 20)
    light = Collection(client, "g", "feed", Bounds(1000, 50, 3600))
    await light.add([_new(99, 1, b"x" * 45)])
    assert await light.size() == (3, 49)
    assert [await client.zcard(name) for name in (names.dated, names.newest, names.by_id)] == [3, 3, 3]
    assert await client.hlen(names.objects) == 3
    for name in (names.dated,):  # as if an hour and more had gone by
        members = await client.zrange(name, 0, 1)
        await client.zadd(name, {member: 1000 + at for at, member in enumerate(members)})
    await few.add([_new(100)])
    assert await few.size() == (2, 47)
    for name in names.all():
        assert 0 < await client.ttl(name) <= 3600 + 86_400


async def test_deleting_the_newest_version_brings_the_one_before_back(client: Any) -> None:
    """After a deletion the newest of what is left counts; bytes are given back; deleting again deletes nothing."""
    collection = Collection(client, "g", "submit", WIDE)
    await collection.add([_new(1, 1, b"a"), _new(1, 2, b"bb"), _new(2, 1, b"c")])
    entries = await collection.of_object(_id(1), Query())
    assert [entry.version_us for entry in entries] == [2]
    assert await collection.delete(entries) == 1
    assert await collection.delete(entries) == 0
    assert [entry.version_us for entry in await collection.of_object(_id(1), Query())] == [1]
    assert await _read_all(collection, Query(), 10) == [_new(1, 1).name, _new(2, 1).name]
    assert await collection.size() == (2, 2)
    await collection.delete(await collection.of_object(_id(1), ALL))
    assert not await collection.has(_id(1))
    assert await collection.has(_id(2))


async def test_a_sender_has_a_queue_of_its_own(client: Any) -> None:
    """What one sender has sent is taken up to its bounds, in order, and is no matter to the queue of another one."""
    queue = ReceivedQueue(client, most=5, most_bytes=100)
    assert await queue.received("g", "liar", [b"%d" % number for number in range(9)]) == 5
    assert await queue.received("g", "liar", [b"more"]) == 0
    assert await queue.received("g", "honest", [b"{}"]) == 1
    assert await queue.received("g", "large", [b"x" * 60, b"y" * 60, b"z"]) == 1
    assert [(source.member, source.objects, source.size_bytes) for source in await queue.sources()] == [
        ("honest", 1, 2),
        ("large", 1, 60),
        ("liar", 5, 5),
    ]
    first = await queue.read("g", "liar", 2)
    assert [one.data for one in first] == [b"0", b"1"]
    assert abs(first[0].received_us - time.time_ns() // 1000) < 60_000_000
    await queue.done("g", "liar", first[-1].entry_id)
    await queue.done("g", "liar", first[-1].entry_id)
    assert [one.data for one in await queue.read("g", "liar")] == [b"2", b"3", b"4"]
    assert await queue.received("g", "liar", [b"5", b"6", b"7"]) == 2
    for source in await queue.sources():
        last = (await queue.read(source.group, source.member))[-1]
        await queue.done(source.group, source.member, last.entry_id)
    assert await queue.sources() == []
    assert await client.keys("sw:{intq}*") == []


async def test_what_nobody_takes_is_forgotten(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old object makes place for a new one; a queue that has ended is no longer told; every name has a time to live."""
    queue = ReceivedQueue(client, most=2)
    name = intel_received.intel_received("g", "m")
    await client.xadd(name, {"o": b"old", "t": 1}, id="1000-0")
    await client.hset(INTEL_WAITING, "g m", "1 3")
    assert await queue.received("g", "m", [b"new", b"newer", b"newest"]) == 2
    assert [one.data for one in await queue.read("g", "m")] == [b"new", b"newer"]
    for key in await client.keys("*"):
        assert await client.ttl(key) > 0, key
    await client.delete(name)
    assert len(await queue.sources()) == 1
    assert await queue.read("g", "m") == []
    assert await queue.sources() == []
    assert await queue.received("g", "m", [b"a", b"b"]) == 2


async def test_many_are_done_at_once(client: Any) -> None:
    """More than a script takes in one call are dropped whole."""
    queue = ReceivedQueue(client)
    assert await queue.received("g", "m", [b"{}"] * 2300) == 2300
    last = (await client.xrevrange(intel_received.intel_received("g", "m"), count=1))[0][0].decode()
    await queue.done("g", "m", last)
    assert await queue.sources() == []


def _credential(token_id: str, member: str, group: str = "g", days: int = 1) -> Credential:
    now = int(time.time())
    return Credential(token_id, "ab" * 32, group, member, True, now, now + days * 86_400, "bootstrap")


async def test_groups_keep_their_collections(client: Any) -> None:
    """A group is made once; another title changes nothing else; a name that cannot be one is refused."""
    groups = IntelGroups(client)
    group, new = await groups.put("labs", "Labs")
    assert new
    assert group.kind(group.feed_id) == group.kind("feed") == "feed"
    assert group.kind(group.submit_id.upper()) == "submit"
    assert group.kind("x") is None
    assert uuid.UUID(group.feed_id).version == 4
    again, new = await groups.put("labs", "All labs")
    assert not new
    assert (again.feed_id, again.title) == (group.feed_id, "All labs")
    assert await groups.all() == [again]
    assert await groups.get("no such {group}") is None
    with pytest.raises(BadInput, match="group: must be 1 to 32"):
        await groups.put("a{b}", "x")


async def test_groups_and_members_are_bounded(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds nothing is made; a member who is there already gets another credential."""
    monkeypatch.setattr(intel_groups, "MAX_GROUPS", 1)
    monkeypatch.setattr(intel_groups, "MAX_MEMBERS", 2)
    groups = IntelGroups(client)
    await groups.put("labs", "Labs")
    with pytest.raises(BadInput, match="there are 1 groups"):
        await groups.put("other", "Other")
    await groups.give(_credential("aaaaaaaa", "acme"))
    await groups.give(_credential("bbbbbbbb", "birch"))
    await groups.give(_credential("cccccccc", "acme"))
    with pytest.raises(BadInput, match="has 2 members"):
        await groups.give(_credential("dddddddd", "cedar"))
    with pytest.raises(BadInput, match="member: must be"):
        await groups.give(_credential("eeeeeeee", "@boss"))


async def test_a_credential_is_replaced_with_or_without_an_overlap(client: Any) -> None:
    """The old one ends at once, or after the overlap, never later than it would have; ending a member ends all."""
    groups = IntelGroups(client)
    await groups.put("labs", "Labs")
    await groups.give(_credential("aaaaaaaa", "acme", "labs"))
    await groups.give(_credential("bbbbbbbb", "acme", "labs"), overlap_sec=3600)
    assert {one.token_id for one in await groups.members("labs")} == {"aaaaaaaa", "bbbbbbbb"}
    old = await groups.credential("aaaaaaaa")
    assert old is not None
    assert abs(old.expires_sec - time.time() - 3600) < 60
    await groups.give(_credential("cccccccc", "acme", "labs"))
    assert [one.token_id for one in await groups.members("labs")] == ["cccccccc"]
    assert await groups.end("labs", "acme") == 1
    assert await groups.end("labs", "acme") == 0
    await groups.give(_credential("dddddddd", "acme", "labs"))
    await Collection(client, "labs", "feed").add([_new(1)])
    assert await groups.delete("labs") == 1
    assert await groups.get("labs") is None
    assert await groups.members("labs") == []
    assert [name for name in await client.keys("*") if b"int.labs" in name] == []
    assert all(name.decode().endswith(UNBOUNDED_OK) for name in await client.keys("*"))


async def test_polls_and_statuses_are_remembered_within_bounds(client: Any) -> None:
    """The place in a peer's collection, who polls, and a member's newest statuses; each with a time to live."""
    polls = Polls(client)
    assert await polls.get("peer", "c") == Poll()
    await polls.put("peer", "c", Poll("2026-01-01T00:00:00.000001Z", 5, 7))
    assert (await polls.all())["peer", "c"].objects == 7
    assert await polls.lease("one", 60_000)
    assert await polls.lease("one", 60_000)
    assert not await polls.lease("two", 60_000)
    statuses = Statuses(client)
    for number in range(MAX_STATUSES + 5):
        await statuses.keep("g", "m", f"s{number}", b"%d" % number)
    assert await statuses.get("g", "m", "s4") is None
    assert await statuses.get("g", "m", "s5") == b"5"
    assert await statuses.get("g", "other", "s5") is None
    for key in await client.keys("*"):
        assert await client.pttl(key) > 0, key
