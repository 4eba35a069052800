"""The ledger of marks: every marked answer is in it once, whatever happens between reading and committing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.errors import StateUnavailable
from app.offline.archive_reader import read_partitions
from app.state.erasures import Erasures
from app.state.keys import MARKS_TTL_SEC, PartitionKeys, partition_of
from app.state.mark_ledger import Marked, MarkLedger
from app.state.partition import MAX_MARKS, AlreadyApplied, Batch, MarkSum, PartitionStore
from app.worker.marks import MAX_TOKENS, MAX_UNATS, add_marks
from detectors.event import Event, encode

KEY = "0" * 31 + "a"
AT_US = 1_790_000_000_000_000


def answer(number: int, profile: str = "p1", epoch: str = "e1", tokens: int = 100, unats: int = 15_000_001) -> Event:
    """A marked answer; ids and times ascend with the number."""
    return Event(
        event_id=f"{number:016x}",
        at_us=AT_US + number * 1000,
        key_id=KEY,
        dialect="openai",
        route="chat",
        output_tokens=tokens,
        mark_profile=profile,
        mark_epoch=epoch,
        mark_tokens=tokens,
        mark_unats=unats,
    )


async def fill(lab: Any, events: list[Event]) -> None:
    """Appends events."""
    for event in events:
        await lab.client.xadd(lab.stream_of(event), {"e": encode(event)}, id=f"{event.at_us // 1000}-1")


async def ledger(lab: Any) -> list[Marked]:
    """What is read of the key."""
    return await MarkLedger(lab.client, lab.partitions).of_key(KEY)


async def test_answers_are_added_up_by_profile_and_epoch(lab: Any) -> None:
    """Over batches and profiles, with first and last; unmarked ones do not count, and the archive has each by itself."""
    events = [answer(number, "p1", "e1" if number < 40 else "e2") for number in range(50)]
    events += [answer(50 + number, "", "", 0, 0) for number in range(5)]
    events.append(answer(60, "p2", "e2", 7, -250_000))
    await fill(lab, events)
    async with lab.worker():
        await lab.until_applied()
    start_ms = AT_US // 1000
    assert await ledger(lab) == [
        Marked("p2", "e2", 1, 7, -0.25, start_ms + 60, start_ms + 60),
        Marked("p1", "e2", 10, 1000, 150.00001, start_ms + 40, start_ms + 49),
        Marked("p1", "e1", 40, 4000, 600.00004, start_ms, start_ms + 39),
    ]
    name = PartitionKeys(partition_of(KEY, lab.partitions)).marks(KEY)
    assert 0 <= MARKS_TTL_SEC - await lab.client.ttl(name) < 120
    archived = [event for _, exchanges in read_partitions(lab.folder) for event, _ in exchanges]
    assert sorted(event.mark_unats for event in archived) == sorted(event.mark_unats for event in events)


async def test_a_lost_reply_adds_nothing_twice(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other commit is applied and then said to have failed: the ledger is that of one undisturbed run."""
    events = [answer(number) for number in range(200)]
    real, calls = PartitionStore.commit, [0]

    async def lossy(store: PartitionStore, batch: Batch) -> int:
        dropped = await real(store, batch)
        calls[0] += 1
        if calls[0] % 2:
            raise StateUnavailable("the reply was lost")
        return dropped

    monkeypatch.setattr(PartitionStore, "commit", lossy)
    await fill(lab, events)
    async with lab.worker():
        await lab.until_applied()
    assert calls[0] >= 200 // 16
    (found,) = await ledger(lab)
    assert (found.answers, found.tokens, found.nats) == (200, 20_000, 3000.0002)


async def test_a_repeated_commit_adds_nothing(lab: Any) -> None:
    """Sending the same batch again is refused as a whole."""
    await fill(lab, [answer(0)])
    store = await lab.lease(partition_of(KEY, lab.partitions))
    (entry,) = await store.read("0-0", 5)
    batch = Batch("0-0", entry.id, marks={(KEY, "p1|e1"): MarkSum(1, 5, 6, 7, 8)})
    await store.commit(batch)
    before = await ledger(lab)
    with pytest.raises(AlreadyApplied):
        await store.commit(batch)
    assert await ledger(lab) == before == [Marked("p1", "e1", 1, 5, 6e-6, 7, 8)]


async def test_a_ledger_has_only_so_many_profiles(lab: Any) -> None:
    """What is beyond is added up without a name, so that no sum is lost; those that are there go on."""
    many = [answer(number, f"p{number}") for number in range(MAX_MARKS + 9)]
    await fill(lab, [*many, answer(100, "p0")])
    async with lab.worker():
        await lab.until_applied()
    found = {one.profile: one.answers for one in await ledger(lab)}
    assert len(found) == MAX_MARKS + 1
    assert (found["p0"], found[""], sum(found.values())) == (2, 9, MAX_MARKS + 10)


async def test_an_erased_key_has_no_ledger(lab: Any) -> None:
    """It goes with everything else that is known of the key."""
    await fill(lab, [answer(0)])
    async with lab.worker():
        await lab.until_applied()
        assert len(await ledger(lab)) == 1
        await Erasures(lab.client, lab.partitions).ask(KEY, AT_US + 10)
        await lab.until(lambda: ledger(lab), [])


def test_what_an_event_says_is_bounded() -> None:
    """Numbers are cut, and a name that no gateway gives is left out: the event log is not the gateway's own memory."""
    batch = Batch("0-0", "1-0")
    add_marks(batch, answer(0, tokens=2**62, unats=-(2**62)))
    assert batch.marks[KEY, "p1|e1"][1:3] == (MAX_TOKENS, -MAX_UNATS)
    for profile, epoch in (("a|b", "e1"), ("a" * 65, "e" * 33), ("p", "e|")):
        add_marks(batch, answer(1, profile, epoch))
    assert len(batch.marks) == 1
    add_marks(batch, msgspec.structs.replace(answer(1), mark_tokens=-5))
    assert batch.marks[KEY, "p1|e1"].tokens == MAX_TOKENS
