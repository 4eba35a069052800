"""What tests of several rooms share: a real state server, one per pytest process, and an empty database on it."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import redis

from app.settings import StateSettings
from app.state.server import StateServer

# A shared machine may be slow at any moment: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("shared")


@pytest.fixture(scope="session")
def state_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateServer]:
    """The embedded server of this pytest process."""
    server = StateServer(StateSettings(data_dir=tmp_path_factory.mktemp("data")))
    server.open()
    yield server
    server.close()


@pytest.fixture
def redis_db(state_server: StateServer) -> str:
    """Address of an empty database."""
    with redis.Redis.from_url(state_server.url, socket_timeout=10) as client:
        client.flushall()
    return state_server.url
