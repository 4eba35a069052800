"""An entry that cannot be applied is put aside, counted, and holds up nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.state.keys import PartitionKeys
from app.state.partition import DEAD_MAX_BYTES, DEAD_MAX_ENTRIES, DEAD_TTL_MS, Batch, DeadEntry
from app.telemetry import metrics
from app.worker import consume
from detectors.analysis import Analysis
from detectors.event import SCHEMA_VERSION, encode

BAD = {
    b"": "version is missing",
    b"\x63abc": "version is 99",
    bytes((SCHEMA_VERSION,)) + b"\xc1": "does not decode",
    bytes((SCHEMA_VERSION,)) + msgspec.msgpack.encode({"event_id": "x", "at_us": "soon", "key_id": "k"}): "does not decode",
    bytes((SCHEMA_VERSION,)) + msgspec.msgpack.encode({"event_id": "x", "at_us": 1, "key_id": ""}): "key_id must have",
    bytes((SCHEMA_VERSION,)) + msgspec.msgpack.encode({"event_id": "x", "at_us": -1, "key_id": "k"}): "at_us is outside",
    bytes((SCHEMA_VERSION,))
    + msgspec.msgpack.encode({"event_id": "x", "at_us": 1, "key_id": "k", "max_tokens": 2**63}): "above 2**63",
    bytes((SCHEMA_VERSION,))
    + msgspec.msgpack.encode({"event_id": "x", "at_us": 1, "key_id": "k", "user_digest": -5}): "digest is negative",
}


async def test_bad_entries_are_put_aside_and_the_rest_goes_on(lab: Any) -> None:
    """Each kind of bad entry lands in the dead letters with its rule, and the result is that of the good entries alone."""
    await lab.fill(200)
    async with lab.worker():
        await lab.until_applied()
    good = await lab.snapshot()

    await lab.client.flushdb()
    names = PartitionKeys(0)
    await lab.fill(100)
    counted = metrics.EVENTS_DEAD._value.get()
    base = int((await lab.client.xrevrange(names.stream, count=1))[0][0].partition(b"-")[0])
    for number, data in enumerate(BAD):
        await lab.client.xadd(names.stream, {"e": data}, id=f"{base}-{900_000 + number}")
    await lab.client.xadd(names.stream, {"other": "field"}, id=f"{base}-999999")
    await lab.fill(100, first=100)
    async with lab.worker():
        await lab.until_applied()
    letters = await lab.client.xrange(names.dead)
    assert metrics.EVENTS_DEAD._value.get() - counted == len(BAD) + 1 == len(letters)
    for (_, fields), (data, rule) in zip(letters, BAD.items(), strict=False):
        assert fields[b"e"] == data
        assert rule in fields[b"why"].decode()
    assert 0 < await lab.client.pttl(names.dead) <= DEAD_TTL_MS
    found = await lab.snapshot()
    del found[names.dead]
    assert found == good


@pytest.mark.parametrize("stage", ["fingerprint", "observe"])
async def test_an_entry_that_breaks_the_analysis_is_put_aside(
    lab: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """An exception for one event costs that event alone; its message, which may quote text, is not stored."""
    poison = lab.event(77)
    await lab.fill(77)
    await lab.fill(72, first=78)
    async with lab.worker():
        await lab.until_applied()
    without = await lab.snapshot()

    await lab.client.flushdb()
    await lab.fill(150)
    if stage == "fingerprint":
        monkeypatch.setattr(consume, "fingerprint", _raising(consume.fingerprint, poison.event_id))
    else:
        real = Analysis.observe

        def observe(self: Analysis, states: Any, items: Any, rows: Any = None, traces: Any = None) -> Any:
            found = real(self, states, items, rows, traces)  # states are changed before the failure shows
            if any(event.event_id == poison.event_id for event, _ in items):
                raise RuntimeError(f"cannot judge {poison.user_head}")
            return found

        monkeypatch.setattr(Analysis, "observe", observe)
    async with lab.worker():
        await lab.until_applied()
    names = PartitionKeys(int(lab.stream_of(poison)[5:9]))
    ((_, letter),) = await lab.client.xrange(names.dead)
    assert letter[b"e"] == encode(poison)
    assert letter[b"why"] in (b"fingerprint failed: RuntimeError", b"analysis failed: RuntimeError")
    found = await lab.snapshot()
    del found[names.dead]
    assert found == without


async def test_dead_letters_are_bounded(lab: Any) -> None:
    """The dead-letter stream keeps at most its number of entries, each cut, none older than an hour, and it expires."""
    store = await lab.lease(0)
    names = PartitionKeys(0)
    for at_ms in (1_000_000, 1_000_001, 1_000_001 + DEAD_TTL_MS + 5):
        dead = [DeadEntry(f"{at_ms}-{seq}", b"x" * (2 * DEAD_MAX_BYTES), "rule") for seq in range(3)]
        await store.commit(Batch(await store.cursor(), dead[-1].id, dead=dead))
    letters = await lab.client.xrange(names.dead)
    assert [entry_id for entry_id, _ in letters] == [b"4600006-0", b"4600006-1", b"4600006-2"]
    assert {len(fields[b"e"]) for _, fields in letters} == {DEAD_MAX_BYTES}
    many = [DeadEntry(f"4600007-{seq}", b"y", "rule") for seq in range(DEAD_MAX_ENTRIES + 50)]
    await store.commit(Batch(await store.cursor(), many[-1].id, dead=many))
    assert await lab.client.xlen(names.dead) == DEAD_MAX_ENTRIES
    assert await lab.client.pttl(names.dead) > 0


async def test_a_state_that_does_not_decode_starts_anew(lab: Any) -> None:
    """A stored state of an unknown format is counted and replaced; the key's events are applied all the same."""
    await lab.fill(60)
    async with lab.worker():
        await lab.until_applied()
    good = await lab.snapshot()
    await lab.client.flushdb()
    await lab.fill(60)
    broken = next(name for name in good if ":fk:" in name)
    await lab.client.set(broken, b"\x00 of another release")
    counted = metrics.STATES_RESET._value.get()
    async with lab.worker():
        await lab.until_applied()
    assert metrics.STATES_RESET._value.get() == counted + 1
    assert await lab.snapshot() == good


def _raising(real: Any, event_id: str) -> Any:
    def call(event: Any) -> Any:
        if event.event_id == event_id:
            raise RuntimeError(event.user_head)
        return real(event)

    return call
