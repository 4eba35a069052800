"""A client on the session's server, and servers of a test's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio as aioredis

from app.settings import StateSettings, load
from app.state.factory import background_client


@pytest.fixture
async def client(redis_db: str) -> AsyncIterator[aioredis.Redis]:
    """A background client on an empty database."""
    made = background_client(redis_db, load(environ={}))
    yield made
    await made.aclose()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder with a path short enough for a socket in it, whatever pytest's own folders are called."""
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        yield Path(folder)


@pytest.fixture
def own(data_dir: Path) -> StateSettings:
    """Settings of an embedded server that only this test uses."""
    return StateSettings(data_dir=data_dir)


@pytest.fixture
def no_servers_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder as the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setitem(os.environ, "PATH", str(folder))
    return folder
