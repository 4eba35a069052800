"""Keys are linked to campaigns by live workers: as a replay does, whoever is killed, and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import StateUnavailable
from app.offline.linking import Linking
from app.simulate.state_servers import ServerGone
from app.state.calls import reachable
from app.state.campaigns import CampaignState, CampaignStore, Written
from app.state.cluster import slot_of
from app.state.erasures import Erasures
from app.state.keys import CAMPAIGN_OF, CAMPAIGNS_STATE, LINKER, PartitionKeys, campaign_pages
from app.state.partition import AlreadyApplied, Batch
from app.state.traces import Reached, TraceStore
from app.telemetry import metrics
from app.worker import linking
from app.worker.casts import Casting, due_us
from app.worker.linking import LinkJob
from detectors.analysis import Analysis
from detectors.campaign.contract import Campaign, Member
from detectors.campaign.passes import PASS_US, SETTLE_US
from detectors.campaign.trace import Trace, encode
from detectors.contract import Level
from detectors.event import Event
from detectors.event import encode as encode_event
from detectors.fingerprint import fingerprint
from detectors.model import rules_only
from detectors.tally import INDEX

START_US = 1_790_000_000_000_000
RING = 8
KEYS = 24
_WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]


LOOSE = {
    "detectors.campaign.cells.LEAST_NATS": 0.1,
    "detectors.campaign.cells.LEAST_HEAT": -1e9,
    "detectors.campaign.cells.LEAST_PURITY": 0.0,
    "detectors.campaign.judging.WATCH": 0.0,
    "detectors.campaign.judging.WATCH_HEAT": -9.0,
    "detectors.campaign.chronicle.COLD": -9.0,
    "detectors.campaign.linker.WARM": -1e9,
    "app.worker.worker.LINK_CHECK_SEC": 0.02,
}
"""A fleet of two dozen keys without a reference: rare is what a few share, and everybody may belong to a campaign."""


@pytest.fixture(autouse=True)
def _loose(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, value in LOOSE.items():
        monkeypatch.setattr(place, value)


def _event(number: int) -> Event:
    """Keys below RING send one template, the others what they like; every key is an organisation of its own."""
    dice = random.Random(number)
    key = dice.randrange(KEYS)
    words = " ".join(dice.choice(_WORDS) for _ in range(30))
    ring = f"Solve the numbered olympiad task and show all of your reasoning step by step inside tags: {words}"
    return Event(
        event_id=f"{number:016x}",
        at_us=START_US + number * 3_700_000,
        key_id=f"{key:032x}",
        org_id=f"{key:032x}",
        plan="payg",
        key_created_us=START_US - 86_400_000_000,
        dialect="openai",
        route="chat",
        model="large",
        roles="u",
        message_count=1,
        user_turns=1,
        chain_digest=dice.getrandbits(64),
        user_digest=dice.getrandbits(64),
        finish_reason="stop",
        input_tokens=40,
        output_tokens=600,
        answer_chars=2400,
        answer_digest=dice.getrandbits(64),
        latency_us=900_000,
        ip_prefix_id=f"{key:032x}",
        user_head=ring if key < RING else words,
        user_tail=words,
        answer_head=words,
    )


def _replayed(count: int) -> list[Campaign]:
    analysis, states, found = Analysis(rules_only()), {}, Linking(rules_only())  # type: ignore[var-annotated]
    for event in map(_event, range(count)):
        found.count(event.at_us)
        traces: list[Trace] = []
        analysis.observe(states, [(event, fingerprint(event))], None, traces)
        found.take(traces)
    assert found.passes > 8
    return sorted(found._linker.campaigns.values(), key=lambda one: one.id)


async def _fill(lab: Any, first: int, count: int) -> None:
    pipe = lab.client.pipeline(transaction=False)
    for event in map(_event, range(first, first + count)):
        pipe.xadd(lab.stream_of(event), {"e": encode_event(event)}, id=f"{event.at_us // 1000}-{int(event.event_id, 16)}")
    await pipe.execute()


@asynccontextmanager
async def _consuming(lab: Any) -> AsyncIterator[None]:
    """A worker that applies, and leaves the linking to the test."""
    async with lab.worker("consumer") as worker:
        worker._linking._wanted = False
        yield


def _job(lab: Any, name: str) -> LinkJob:
    return LinkJob(lab.client, name, lab.partitions, lab.settings().worker, Analysis(rules_only()))


async def _settled(lab: Any, count: int) -> int:
    """Passes that are due after so many events are made."""
    wanted = (_event(count - 1).at_us - SETTLE_US) // PASS_US * PASS_US

    async def last_us() -> bool:
        state = await CampaignStore(lab.client).state()
        return state.last_us >= wanted - PASS_US

    await lab.until(last_us, True)
    return wanted


async def test_two_workers_one_of_which_goes_give_the_campaigns_of_a_replay(lab: Any) -> None:
    """Members, levels, evidence and history are the same to the last field, though the linker changed in the middle."""
    async with lab.worker("w2"):
        async with lab.worker("w1"):
            await _fill(lab, 0, 200)
            await lab.until_applied()
            await _settled(lab, 200)
            await lab.client.delete(LINKER)
        await _fill(lab, 200, 200)
        await lab.until_applied()
        await _settled(lab, 400)
    last = _job(lab, "w3")  # a pass that the workers were stopped before
    while await last.step():
        pass
    found = await CampaignStore(lab.client).all()
    assert found == _replayed(400)
    assert any(len(one.members) >= RING for one in found)


@pytest.mark.slow
async def test_on_a_cluster_campaigns_are_those_of_a_replay_also_when_their_node_is_lost(cluster_lab: Any) -> None:
    """Traces lie on every node and campaigns on one. That one is killed, its replica takes over, and all is as without."""
    lab, cluster, store = cluster_lab, cluster_lab.cluster, CampaignStore(cluster_lab.client)
    assert len({cluster.master_of(slot_of(number)) for number in range(lab.partitions)}) == 3
    async with lab.worker("w2"):
        async with lab.worker("w1"):
            await _fill(lab, 0, 200)
            await lab.until_applied()
            await _settled(lab, 200)
            await asyncio.sleep(2.0)  # what a replica has not got yet is lost with its master, by the nature of replicas
            place = await asyncio.to_thread(_place_of_campaigns, cluster)
            await asyncio.to_thread(cluster.masters[place].signal, signal.SIGKILL)
            await lab.until(lambda: _all_partitions_answer(lab), True)
        assert "role:master" in await asyncio.to_thread(cluster.replicas[place].ask, "INFO", "replication")
        await _fill(lab, 200, 200)
        await lab.until_applied()
        await _settled(lab, 400)
    last = _job(lab, "w3")
    while await last.step():
        pass
    found = await store.all()
    assert found == _replayed(400)
    assert any(len(one.members) >= RING for one in found)
    await _nothing_is_left_that_was_known(lab, (await store.state()).last_us)
    key = next(one for one in found if one.members).members[0].key_id
    assert await store.erase(key) >= 1
    assert await store.of_keys([key]) == {}


def _place_of_campaigns(cluster: Any) -> int:
    """Which of the masters holds them; the others say that they moved."""
    for place, master in enumerate(cluster.masters):
        with contextlib.suppress(ServerGone):
            if master.ask("EXISTS", CAMPAIGNS_STATE) == "1":
                return place
    raise AssertionError("no master has a pass of the linker")


async def _all_partitions_answer(lab: Any) -> bool:
    with contextlib.suppress(StateUnavailable):
        with reachable("a test"):
            for number in range(lab.partitions):
                await lab.client.set(f"{PartitionKeys(number).tag}:test", "1", px=1000)
            await CampaignStore(lab.client).release("nobody")
        return True
    return False


@pytest.mark.parametrize("killed_at", [0, 1, 2])
async def test_a_linker_killed_between_store_and_trim_loses_nothing(
    lab: Any, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Whether nothing, one partition or all of a pass was settled: the next linker has the campaigns of a replay."""
    settle, settled = TraceStore.settle, 0

    async def dying(self: TraceStore, *arguments: Any) -> None:
        nonlocal settled
        if settled == 2 * 3 + killed_at:  # at the fourth pass
            raise ZeroDivisionError
        settled += 1
        await settle(self, *arguments)

    async with _consuming(lab):
        first, heir = _job(lab, "first"), _job(lab, "heir")
        done = 0

        async def work() -> None:
            nonlocal done
            while done < 300:
                await _fill(lab, done, 50)
                done += 50
                await lab.until_applied()
                while await first.step():
                    assert not await heir.step()

        with monkeypatch.context() as patched:
            patched.setattr(TraceStore, "settle", dying)
            with pytest.raises(ZeroDivisionError):
                await work()
        await lab.client.delete(LINKER)
        while await heir.step():
            pass
        await _fill(lab, done, 300 - done)
        await lab.until_applied()
        while await heir.step():
            assert not await first.step()
    assert await CampaignStore(lab.client).all() == _replayed(300)
    await _nothing_is_left_that_was_known(lab, (await CampaignStore(lab.client).state()).last_us)


@pytest.mark.slow
async def test_killing_whichever_process_links_again_and_again_changes_nothing(lab: Any) -> None:
    """Of two worker processes the one that links is killed −9, at random or just as a pass is stored; the other goes on."""
    dice = random.Random(6)
    sets = LOOSE | {"app.worker.linking.LEASE_MS": 400}
    store, done, kills, seen = CampaignStore(lab.client), 60, 12, []

    async def linker() -> str:
        return ((await lab.client.get(LINKER)) or b"").decode()

    def process(name: str) -> Any:
        return lab.process(STILLWATCH_WORKER__ID=name, FORKER_SETS=json.dumps(sets))

    await _fill(lab, 0, done)
    async with process("a") as first, process("b") as second:
        running = {"a": first, "b": second}
        for one in running.values():
            await one.start()
        for number in range(kills):
            await lab.until(lambda: _true(linker()), True)
            victim, before = await linker(), await store.state()
            await _fill(lab, done, 40)
            done += 40
            if number % 2:
                await asyncio.sleep(dice.uniform(0.0, 0.3))
            else:  # before what it knew is settled
                async with asyncio.timeout(30):
                    while (await store.state()).stored == before.stored:  # noqa: ASYNC110 - another process sets it
                        await asyncio.sleep(0.001)
            await running[victim].signal("SIGKILL")
            seen.append((victim, (await store.state()).last_us))
            (heir,) = running.keys() - {victim}
            await lab.until(linker, heir)
            await running[victim].start()
        for one in running.values():
            await one.signal("SIGKILL")
    await lab.client.delete(LINKER)
    async with lab.worker("last"):
        await lab.until_applied()
        await _settled(lab, done)
    last = _job(lab, "end")
    while await last.step():
        pass
    assert {victim for victim, _ in seen} == {"a", "b"}
    assert len({last_us for _, last_us in seen}) > kills // 3  # each got on a bit
    assert await store.all() == _replayed(done)
    await _nothing_is_left_that_was_known(lab, (await store.state()).last_us)


async def _true(measured: Any) -> bool:
    return bool(await measured)


async def _nothing_is_left_that_was_known(lab: Any, last_us: int) -> None:
    store = TraceStore(lab.client, lab.partitions)
    held: set[str] = set()
    for partition in range(lab.partitions):
        assert all(one.due_us > last_us for one in await store.log(partition, ""))
        async for chunk in store.held(partition):
            held |= chunk.keys()
    assert held == {f"{key:032x}" for key in range(KEYS)}


async def test_a_partition_that_moves_goes_on_where_it_was(lab: Any) -> None:
    """Its new worker knows how far it had come, and the campaigns are those of a replay."""
    job = _job(lab, "linker")
    for at in range(0, 300, 100):
        async with _consuming(lab):  # a new worker each time
            await _fill(lab, at, 100)
            await lab.until_applied()
            while await job.step():
                pass
    assert await CampaignStore(lab.client).all() == _replayed(300)


async def test_traces_are_committed_once(lab: Any) -> None:
    """A batch that comes again, because the reply to its commit was lost, adds nothing."""
    store = await lab.lease(0)
    trace = Trace("k", "o", 5, sums=bytes(3 * len(INDEX)))
    batch = Batch("0-0", "7-0", traces=[("k", PASS_US, encode(trace)), ("k", 2 * PASS_US, b"2")], reached_us=9)
    await store.commit(batch)
    with pytest.raises(AlreadyApplied):
        await store.commit(batch)
    log = await TraceStore(lab.client, 2).log(0, "")
    assert [(one.due_us, one.key_id, one.data) for one in log] == [(PASS_US, "k", encode(trace)), (2 * PASS_US, "k", b"2")]
    assert await store.reached_us() == 9
    for name in (PartitionKeys(0).tracelog, PartitionKeys(0).traces):
        assert await lab.client.ttl(name) > 0


async def test_a_log_is_bounded_and_says_what_it_dropped(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a linker the oldest traces go."""
    monkeypatch.setattr("app.state.partition.MAX_TRACES", 3)
    store = await lab.lease(0)
    await store.commit(Batch("0-0", "7-0", traces=[(f"k{at}", 1, b"x") for at in range(5)], reached_us=9))
    assert store.traces_dropped == 2
    assert [one.key_id for one in await TraceStore(lab.client, 2).log(0, "")] == ["k2", "k3", "k4"]


def _campaign(name: str, keys: list[str], **more: Any) -> Campaign:
    members = tuple(Member(key, key, 1, 0.9, ("wording",)) for key in keys)
    return Campaign(name, Level.WATCH, 0.5, 1, 1, 1, members=members, **more)


async def test_what_was_made_from_an_older_state_is_not_stored(lab: Any) -> None:
    """Of two linkers the slower one writes nothing at all."""
    store = CampaignStore(lab.client)
    first = Written(PASS_US, [_campaign("c-1", ["a", "b"])], [("c-1", "a"), ("c-1", "b")], alive=["c-1"])
    state = await store.write(CampaignState(), first)
    assert state is not None
    assert state == await store.state()
    late = Written(2 * PASS_US, [_campaign("c-2", ["a"])], [("c-2", "a")], alive=["c-2"])
    assert await store.write(CampaignState(), late) is None
    assert await store.all() == list(first.changed)
    assert await store.of_keys(["a", "b", "z"]) == {"a": "c-1", "b": "c-1"}


async def test_campaigns_are_read_by_page_and_forgotten(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads come without members; a key that changed campaigns belongs to the new one; one that ended long ago is gone."""
    monkeypatch.setattr("app.state.campaigns.PAGE_MEMBERS", 2)
    store = CampaignStore(lab.client)
    big = _campaign("c-1", list("abcde"))
    state = await store.write(CampaignState(), Written(1, [big], [("c-1", key) for key in "abcde"], alive=["c-1"]))
    assert state is not None
    (head,) = await store.heads()
    assert (head.size, head.pages, head.campaign.members) == (5, 3, ())
    assert [member.key_id for member in await store.members("c-1", 2)] == ["e"]
    assert await store.members("c-1", 3) == ()
    assert await store.read("c-1") == big
    closed = _campaign("c-1", list("abcde"), closed=True)
    moved = Written(2, [closed, _campaign("c-2", ["a"])], [("c-2", "a")], [("c-1", key) for key in "abcde"], ["c-2"])
    state = await store.write(state, moved)
    assert state is not None
    assert await store.of_keys(list("abcde")) == {"a": "c-2"}
    assert await store.write(state, Written(3, alive=["c-2"], forgotten=["c-1"])) is not None
    assert await store.read("c-1") is None
    assert not await lab.client.exists(campaign_pages("c-1"))
    for name in await lab.client.keys("sw:{wrk}:cmp:*"):
        assert await lab.client.ttl(name) > 0


async def test_an_erased_key_is_in_no_trace_and_no_campaign(lab: Any) -> None:
    """It goes from logs, hashes, members, links and index, and no later pass brings it back."""
    key = f"{3:032x}"
    erasures = Erasures(lab.client, lab.partitions)
    async with lab.worker():
        await _fill(lab, 0, 200)
        await lab.until_applied()
        await _settled(lab, 200)
        assert await CampaignStore(lab.client).of_keys([key])
        assert await _places(lab, key)
        assert await erasures.ask(key, 4_000_000_000_000_000)

        async def complete() -> bool:
            erasure = await erasures.get(key)
            return erasure is not None and erasure.complete

        await lab.until(complete, True)
        assert await _places(lab, key) == []
        await _fill(lab, 200, 100)
        await lab.until_applied()
        await _settled(lab, 300)
    assert await _places(lab, key) == []
    assert any(one.members for one in await CampaignStore(lab.client).all())


async def _places(lab: Any, key: str) -> list[str]:
    found = []
    for partition in range(lab.partitions):
        names = PartitionKeys(partition)
        values = [await lab.client.xrange(names.tracelog), await lab.client.hgetall(names.traces)]
        found += [f"{partition}" for value in values if key.encode() in repr(value).encode()]
    async for name in lab.client.scan_iter("sw:{wrk}:cmp:m:*"):
        pages = (await lab.client.hgetall(name)).values()
        found += [name.decode() for data in pages if key.encode() in zlib.decompress(data)]
    if await lab.client.hexists(CAMPAIGN_OF, key):
        found.append(CAMPAIGN_OF)
    return found


async def test_a_partition_that_is_behind_is_waited_for_and_not_for_ever(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass is made that what waits there may belong to; once it does not get on for BEHIND_SEC, it is left out."""
    store = await lab.lease(0)
    trace = encode(Trace("k", "o", START_US, sums=bytes(3 * len(INDEX))))
    reached_us = START_US + 10 * PASS_US + SETTLE_US
    due = due_us(START_US, START_US)
    await store.commit(Batch("0-0", "7-0", traces=[("k", due, trace)], reached_us=reached_us))
    await lab.client.xadd(PartitionKeys(1).stream, {"e": b"waits"})
    assert await TraceStore(lab.client, 2).reached() == Reached(reached_us, 0)
    job = _job(lab, "linker")
    assert not await job.step()
    assert (await CampaignStore(lab.client).state()).last_us == 0
    monkeypatch.setattr(linking, "BEHIND_SEC", 0.0)
    before = metrics.LINK_INCOMPLETE._value.get()
    assert await job.step()
    assert metrics.LINK_INCOMPLETE._value.get() == before + 1
    assert (await CampaignStore(lab.client).state()).last_us == due


async def test_the_age_of_the_linkers_newest_turn_grows_only_while_nobody_gets_through_one(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn ends it, and finding that another links; a pass that fails does not. Where nobody is to link it is 0."""

    def age(of: LinkJob) -> float:
        metrics.LINK_AGE_SECONDS.set_function(of._age_sec)
        return metrics.REGISTRY.get_sample_value("stillwatch_link_age_seconds") or 0.0

    async def after_a_turn(of: LinkJob) -> float:
        of._well_sec = -1e6
        await of.step()
        return age(of)

    first, second = _job(lab, "first"), _job(lab, "second")
    assert await after_a_turn(first) < 60  # nothing is there yet
    assert await after_a_turn(second) < 60  # the first one links
    async with _consuming(lab):
        await _fill(lab, 0, 200)
        await lab.until_applied()
        with monkeypatch.context() as patched:
            patched.setattr("detectors.campaign.linker.Linker.step", lambda *_: 1 // 0)
            failures = metrics.LINK_FAILURES._value.get()
            assert await after_a_turn(first) > 1e6
            assert metrics.LINK_FAILURES._value.get() == failures + 1
            assert await after_a_turn(first) > 1e6  # it rests
        first._rest_until = 0.0
        assert await after_a_turn(first) < 60
    second._wanted = False
    second._well_sec = -1e6
    assert age(second) == 0.0


def test_only_the_newest_trace_of_a_key_for_each_pass_is_written() -> None:
    """Two of one minute are one; a late one is for the pass that could know it, and a fast clock holds up nobody."""
    minute = START_US // PASS_US * PASS_US
    times = [minute + 1, minute + 2, minute + PASS_US, minute + 10 * PASS_US, minute + 3]
    items = [
        (f"{minute // 1000 + 700_000}-{at}", Event("", time, "k" if at != 3 else "far")) for at, time in enumerate(times)
    ]
    casting = Casting({}, items, 0)
    traces = [Trace("k", "k", at_us, exchanges=number) for number, at_us in enumerate([*times[:3], times[2]], 1)]
    assert [(key, due) for key, due, _ in casting.due(traces)] == [
        ("k", minute + PASS_US),
        ("k", minute + 2 * PASS_US),
        ("k", minute + 9 * PASS_US),
    ]
    assert casting.reached_us == minute + 10 * PASS_US
    ahead = Casting({}, [(f"{minute // 1000}-0", Event("", minute + 100 * PASS_US, "k"))], 0)
    assert ahead.reached_us < minute + PASS_US
