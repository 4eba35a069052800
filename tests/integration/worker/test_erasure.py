"""What a key did is erased: in state, in memory, among the rows that wait, and in the archive."""

from __future__ import annotations

import time
from typing import Any

from app.state.erasures import Erasures
from app.worker.archive import check, list_files, read_file

KEY = f"{4:032x}"
"""The key of the lab's traffic without an organisation that asks for log-probabilities, so that it has a verdict."""

FAR_US = 4_000_000_000_000_000


async def _traces(lab: Any) -> list[str]:
    """Where the key's id is still found."""
    found = [name for name, value in (await lab.snapshot()).items() if KEY in name or KEY.encode() in repr(value).encode()]
    found += [
        f"row {row.entry_id}" for file in list_files(lab.folder) for row in read_file(file) if row.event.key_id == KEY
    ]
    for partition in range(lab.partitions):
        store = f"sw:{{p{partition:04d}}}:row"
        found += [store for _, fields in await lab.client.xrange(store) if KEY.encode() in fields[b"r"]]
    return found


async def test_nothing_of_an_erased_key_is_left(lab: Any) -> None:
    """Profile, verdict, timeline, indexes, waiting rows and archived rows go; other keys keep theirs; progress is told."""
    await lab.fill(400)
    erasures = Erasures(lab.client, lab.partitions)
    async with lab.worker():
        await lab.until_applied()
        await lab.until(lambda: _archived(lab), True)
        assert await _traces(lab)
        before = await lab.snapshot()
        assert await erasures.ask(KEY, FAR_US)

        async def complete() -> bool:
            erasure = await erasures.get(KEY)
            return erasure is not None and erasure.complete

        await lab.until(complete, True)
        assert await _traces(lab) == []
        after = await lab.snapshot()
        done = await erasures.get(KEY)
        assert done is not None
        assert sum(names for names, _, _ in done.done.values()) >= 2
        assert sum(waiting + archived for _, waiting, archived in done.done.values()) > 10
    others = {name for name in before if KEY not in name and name in after and not name.endswith((":seen", ":flag"))}
    assert all(":r:sw-" in name for name in before.keys() - after.keys() if KEY not in name)  # references of its flags
    for name in others:  # of a hash of ballots the key's own is gone
        kept = before[name]
        assert after[name] == (
            {field: value for field, value in kept.items() if field != KEY.encode()} if isinstance(kept, dict) else kept
        )
    assert check(lab.folder).problems == ()


async def test_events_from_before_an_erasure_are_left_out_later(lab: Any) -> None:
    """What comes late, say out of a spool, counts no more; what the key does afterwards counts as a new key's."""
    erasures = Erasures(lab.client, lab.partitions)
    until_us = lab.event(200).at_us
    async with lab.worker() as worker:
        assert await erasures.ask(KEY, until_us)
        await lab.until(lambda: _known(worker), True)
        await lab.fill(400)
        await lab.until_applied()
    kept = [row.event.at_us for file in list_files(lab.folder) for row in read_file(file) if row.event.key_id == KEY]
    assert kept
    assert min(kept) > until_us


async def test_requests_are_bounded_and_forgotten(lab: Any, monkeypatch: Any) -> None:
    """Beyond the bound a request is refused; one that is older than they are remembered makes room."""
    monkeypatch.setattr("app.state.erasures.MAX_ERASURES", 2)
    erasures = Erasures(lab.client, lab.partitions)
    now_us = time.time_ns() // 1000
    assert await erasures.ask("a", now_us - 31 * 86_400_000_000)
    assert await erasures.ask("b", now_us)
    assert await erasures.ask("c", now_us)
    assert not await erasures.ask("d", now_us)
    assert await erasures.ask("c", now_us + 1)
    assert sorted(await erasures.asked()) == ["b", "c"]
    assert await erasures.get("d") is None


async def _archived(lab: Any) -> bool:
    return lab.folder.is_dir() and bool(list_files(lab.folder))


async def _known(worker: Any) -> bool:
    shares = list(worker._shares.values())
    return bool(shares) and all(KEY in share.consumer.erased for share in shares)
