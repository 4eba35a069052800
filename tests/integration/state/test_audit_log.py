"""The audit log in a real server: one line of writers, no record twice, and a chain that outlives its retention."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.errors import StateUnavailable
from app.settings import load
from app.state import audit as module
from app.state.audit import AuditLog, Head
from app.state.audit_file import Broken, line, start_line, verify
from app.state.factory import background_client
from app.state.keys import AUDIT, AUDIT_CHAIN


@pytest.fixture
async def client(redis_db: str, tmp_path: Path) -> AsyncIterator[Any]:
    """A background client of an empty database."""
    made = background_client(redis_db, load(environ={"STILLWATCH_STATE__DATA_DIR": str(tmp_path)}))
    yield made
    await made.aclose()


async def _export(log: AuditLog) -> list[bytes]:
    anchor, _ = await log.ends()
    return [start_line(anchor), *[line(link.record, link.digest) async for link in log.walk()]]


async def test_records_are_numbered_and_chained(client: Any) -> None:
    """Records get the numbers 1, 2, 3 …, and the whole verifies to the head the server tells."""
    log = AuditLog(client, 400)
    assert str(await log.head()) == "0"
    assert [await log.append({"what": f"ä{number}"}) for number in range(5)] == [1, 2, 3, 4, 5]
    found = verify(await _export(log))
    assert (found.records, found.head) == (5, await log.head())
    assert [json.loads(link.record)["number"] for link in await log.newest(count=2)] == [5, 4]


async def test_writers_of_many_processes_stand_in_one_line(client: Any) -> None:
    """Eight writers that know nothing of each other write at once: every record is there once, and the chain holds."""
    logs = [AuditLog(client, 400) for _ in range(8)]

    async def write(writer: int) -> list[int]:
        return [await logs[writer].append({"writer": writer, "at": at}) for at in range(10)]

    numbers = [number for written in await asyncio.gather(*map(write, range(8))) for number in written]
    assert sorted(numbers) == list(range(1, 81))
    assert verify(await _export(logs[0])).records == 80
    said = [json.loads(link.record) for link in await logs[0].read(count=100)]
    assert {(record["writer"], record["at"]) for record in said} == {(w, a) for w in range(8) for a in range(10)}


async def test_a_call_that_is_repeated_writes_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the answer to an append is lost and the client asks again, the record is there once, also behind another's."""
    first, other = AuditLog(client, 400), AuditLog(client, 400)
    run = module.run_script
    meanwhile = True

    async def twice(*args: Any) -> Any:
        await run(*args)
        if meanwhile:
            await other.append({"who": "other"})
        return await run(*args)

    async def once(self: AuditLog, record: Any) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(module, "run_script", run)
            return await append(self, record)

    append = AuditLog.append
    monkeypatch.setattr(other, "append", lambda record: once(other, record))
    monkeypatch.setattr(module, "run_script", twice)
    assert await first.append({"who": "first"}) == 1
    monkeypatch.setattr(module, "run_script", run)
    said = [json.loads(link.record)["who"] for link in await first.read()]
    assert said == ["first", "other"]
    assert verify(await _export(first)).records == 2


async def test_a_trimmed_chain_still_verifies(client: Any) -> None:
    """Records older than the retention go, oldest first; what is left verifies from the anchor, and heads go on."""
    log = AuditLog(client, 400)
    for number in range(6):
        await log.append({"n": number})
    heads = [Head(at, link.digest) for at, link in enumerate(await log.read(), start=1)]
    entries = await client.xrange(AUDIT)
    now_ms = int(entries[-1][0].split(b"-")[0])
    await client.delete(AUDIT)
    for at, (_, fields) in enumerate(entries):  # as if the first four were written 401 days ago
        age_ms = 401 * 86_400_000 if at < 4 else 0
        await client.xadd(AUDIT, fields, id=f"{now_ms - age_ms}-{at}")
    await log.append({"n": 6})
    anchor, head = await log.ends()
    assert (anchor, head.number) == (heads[3], 7)
    assert await client.xlen(AUDIT) == 3
    lines = await _export(log)
    assert verify(lines, heads[4]).records == 3
    with pytest.raises(Broken, match="older than what is kept"):
        verify(lines, heads[1])
    with pytest.raises(Broken):
        verify([start_line(Head(0, "")), *lines[1:]])


async def test_trimming_is_bounded(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One append trims a bounded number, so a much shorter retention is reached step by step and never blocks."""
    monkeypatch.setattr(module, "TRIMMED_AT_ONCE", 3)
    log = AuditLog(client, 400)
    for number in range(8):
        await log.append({"n": number})
    await asyncio.sleep(0.005)
    short = AuditLog(client, 0)
    left = []
    for number in range(4):
        await short.append({"m": number})
        left.append(await client.xlen(AUDIT))
        verify(await _export(short))
    assert left[0] == 8 + 1 - 3
    assert left[-1] < left[0]
    assert (await short.ends())[0].number == 12 - left[-1]


async def test_a_record_that_changed_in_the_server_is_found(client: Any) -> None:
    """Whoever rewrites a stored record, its digest or the order is found by verification."""
    log = AuditLog(client, 400)
    for number in range(4):
        await log.append({"n": number})
    entries = await client.xrange(AUDIT)
    stolen = entries[1][0]
    await client.xdel(AUDIT, stolen)
    with pytest.raises(Broken, match=r"line 3 \(after record 1\)"):
        verify(await _export(log))


@pytest.mark.parametrize("trouble", ["full", "read-only"])
async def test_a_server_that_takes_no_writes_refuses_the_record(client: Any, redis_db: str, trouble: str) -> None:
    """Out of memory or read-only: the append fails with one sentence, nothing is stored, and afterwards it goes on."""
    log = AuditLog(client, 400)
    await log.append({"n": 0})
    with redis.Redis.from_url(redis_db, socket_timeout=10) as control:
        try:
            if trouble == "full":
                control.config_set("maxmemory", 1)
            else:
                control.execute_command("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(StateUnavailable, match="audit log"):
                await log.append({"n": 1})
            assert (await client.xlen(AUDIT), (await log.head()).number) == (1, 1)
        finally:
            control.config_set("maxmemory", 0)
            control.execute_command("REPLICAOF", "NO", "ONE")
    assert await log.append({"n": 2}) == 2
    assert verify(await _export(log)).records == 2


async def test_a_log_that_vanished_is_said(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A server that was emptied begins a new chain, and the process that knew the old one logs an error."""
    log = AuditLog(client, 400)
    await log.append({"n": 0})
    await client.delete(AUDIT, AUDIT_CHAIN)
    assert await log.append({"n": 1}) == 1
    assert "the audit log ends at record 0, and 1-" in caplog.text


async def test_every_key_is_in_one_slot(client: Any) -> None:
    """Stream and chain share a hash tag, so one script may touch both in a Cluster."""
    assert AUDIT.split("}")[0] == AUDIT_CHAIN.split("}")[0]
    await AuditLog(client, 400).append({"n": 0})
    assert sorted(await client.keys("*")) == sorted([AUDIT.encode(), AUDIT_CHAIN.encode()])
