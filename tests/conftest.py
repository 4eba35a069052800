"""What tests of several rooms share: a real state server, one per pytest process, and an empty database on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis

from app.settings import StateSettings
from app.state.server import StateServer

# A shared machine may be slow at any moment: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("shared")

SHARING = (
    "tests/integration/demo/test_demo.py",
    "tests/integration/deploy/test_upgrade.py",
    "tests/integration/observability/",
    "tests/integration/offline/test_job.py",
    "tests/integration/offline/test_many.py",
    "tests/unit/detectors/pooled/test_pools.py",
    "tests/unit/detectors/pooled/test_window.py",
    "tests/unit/detectors/scoring/test_model.py",
    "tests/unit/offline/test_campaign_crowds.py",
    "tests/unit/offline/test_model_jobs.py",
)
"""Files and folders whose tests share something that takes long to make: with `-n`, one process runs all tests of each.
A mark `xdist_group` would say it where the tests are, but pytest-xdist 3.8 loses those under pytest 9.2 without a word."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives tests out one by one, and those that share something together."""
    from xdist.scheduler import LoadScopeScheduling

    root = Path(__file__).resolve().parents[1]
    gone = [shared for shared in SHARING if not (root / shared).exists()]
    if gone:
        raise pytest.UsageError(f"SHARING in tests/conftest.py names what is not there: {', '.join(gone)}")

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((shared for shared in SHARING if nodeid.startswith(shared)), nodeid)

    # By the order of the files: the long ones are in the middle, and many short ones come last.
    config.option.loadscopereorder = False
    return Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


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
