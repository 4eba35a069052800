"""Client and model text ends with the stream entry."""

from __future__ import annotations

import logging
from typing import Any

import polars as pl
import pytest

from app.state.keys import UNBOUNDED_OK, PartitionKeys
from app.worker.archive import check, list_files
from detectors.event import TEXT_FIELDS, encode

CANARY = "qzxcanary7f3a9"


async def test_no_text_outlives_its_entry(lab: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Words that every event carried are in no value in state, no archive file and no log line once the worker is done."""
    caplog.set_level(logging.DEBUG)
    await lab.fill(300, text=CANARY)
    assert CANARY.encode() in encode(lab.event(1, text=CANARY))
    async with lab.worker(STILLWATCH_WORKER__ARCHIVE_ROWS="1000000"):
        await lab.until_applied()
        assert sum([await lab.client.xlen(PartitionKeys(number).rows) for number in range(lab.partitions)]) == 300
        assert CANARY.encode() not in await _everything(lab.client)
    assert CANARY.encode() not in await _everything(lab.client)
    assert await lab.left() == 0
    files = list_files(lab.folder)
    assert check(lab.folder).rows == 300
    for file in files:
        assert CANARY.encode() not in file.path.read_bytes()
        frame = pl.read_parquet(file.path)
        assert not set(TEXT_FIELDS) & set(frame.columns)
        assert CANARY not in str(frame.rows())
    assert CANARY not in caplog.text


async def test_every_key_has_a_time_to_live_or_a_stated_bound(lab: Any) -> None:
    """After a run no key of ours is without TTL unless keys.py states what else bounds it."""
    await lab.fill(300)
    async with lab.worker(STILLWATCH_WORKER__ARCHIVE_ROWS="1000000"):
        await lab.until_applied()
        names = [name.decode() async for name in lab.client.scan_iter("*")]
        forever = [name for name in names if await lab.client.pttl(name) == -1]
    assert names
    assert [name for name in forever if not name.endswith(UNBOUNDED_OK)] == []


async def _everything(client: Any) -> bytes:
    """Names and raw values of the whole database."""
    found = []
    async for name in client.scan_iter("*"):
        kind = (await client.type(name)).decode()
        value = {
            "string": client.get,
            "list": lambda key: client.lrange(key, 0, -1),
            "zset": lambda key: client.zrange(key, 0, -1),
            "stream": client.xrange,
            "hash": client.hgetall,
        }[kind](name)
        found.append(b"%s=%s" % (name, repr(await value).encode()))
    return b"\n".join(found)
