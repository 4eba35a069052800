"""A worker whose state server goes away waits, and its log holds one line about it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from app.settings import Settings, StateSettings
from app.state.factory import background_client
from app.state.server import StateServer
from app.worker.worker import RETRY_SEC, Worker, load_analysis


async def test_an_outage_is_one_warning_and_one_line_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However many turns of its loops fail meanwhile."""
    caplog.set_level(logging.INFO, "app.worker.worker")
    server = StateServer(StateSettings(data_dir=tmp_path))
    settings = Settings.model_validate(
        {"state": {"redis_url": server.url, "partitions": 2}, "worker": {"archive_dir": tmp_path / "archive"}}
    )
    client = background_client(server.url, settings)
    worker = Worker(client, settings, load_analysis(settings))
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))

    def said(words: str) -> int:
        return sum(words in record.message for record in caplog.records)

    try:
        async with asyncio.timeout(30):
            while not said("the worker waits"):  # noqa: ASYNC110 - the log is what is looked at
                await asyncio.sleep(0.02)
            await asyncio.sleep(4 * RETRY_SEC)
            server.open()
            while not said("the worker goes on") or len(worker.owned) < 2:  # noqa: ASYNC110 - the log is what is looked at
                await asyncio.sleep(0.02)
        assert (said("the worker waits"), said("the worker goes on")) == (1, 1)
        stop.set()
        await task
    finally:
        task.cancel()
        await client.aclose()
        server.close()
