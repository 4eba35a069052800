"""A child process takes its settings over a pipe, and whatever happens to it reaches the parent as a sentence."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError, StillwatchError
from app.processes import Child, Tree, revealed, unless
from app.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that differ from the defaults in every kind of value."""
    return Settings.model_validate(
        {
            "state": {"data_dir": tmp_path},
            "identity": {"pepper": "a pepper for this test", "trusted_proxies": ["10.0.0.0/8"]},
            "gateway": {"upstream": "http://127.0.0.1:9", "port": 0, "metrics_port": 0, "upstream_read_timeout_sec": 1.5},
            "limits": {
                "plans": {"default": {"key": {"requests_per_min": 7}}, "team": {"models": {"big*": {"concurrent": 2}}}}
            },
            "enforcement": {"suspect": {"action": "throttle", "factor": 0.5}},
            "admin": {"token": "a token for this test only"},
        }
    )


def test_settings_survive_the_pipe_with_their_secrets(settings: Settings) -> None:
    """What the child makes of the plain values equals what the parent had."""
    assert Settings.model_validate(revealed(settings)) == settings
    assert Settings.model_validate(revealed(Settings())) == Settings()


async def test_a_child_serves_until_it_is_stopped(settings: Settings) -> None:
    """Its addresses are known once it serves, and it ends when asked."""
    child = await Child.start("gateway", "app.main:run_gateway", settings)
    assert child.addresses["gateway"].startswith("http://127.0.0.1:")
    await child.stop(grace_sec=20)
    assert await child.wait() == 0


async def test_a_child_that_cannot_start_says_why(settings: Settings) -> None:
    """Its sentence and its kind of error are the parent's."""
    bare = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"upstream": ""})})
    with pytest.raises(ConfigError, match=r"^gateway\.upstream must be set"):
        await Child.start("gateway", "app.main:run_gateway", bare)


async def test_a_child_that_breaks_is_named(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """One that ends without a word is reported with its status, and quotes no secret in its log."""
    with pytest.raises(StillwatchError, match="the broken process ended before it was ready, with status 1"):
        await Child.start("broken", "app.main:no_such_role", settings)
    assert "a pepper for this test" not in capfd.readouterr().err


async def test_a_tree_stops_what_was_started_when_a_later_part_fails(settings: Settings) -> None:
    """No half of a tree is left running."""
    async with Tree(grace_sec=20) as tree:
        await tree.add("gateway", "app.main:run_gateway", settings)
        bare = settings.model_copy(update={"admin": Settings().admin})
        with pytest.raises(ConfigError, match=r"^admin\.token must be set"):
            await tree.add("admin", "app.main:run_admin", bare)
        broken = asyncio.create_task(tree.broken())
        await asyncio.sleep(0)  # it looks at what runs
    assert await broken == "the gateway process ended with status 0"


async def test_a_wait_for_work_ends_when_it_is_told_to_stop() -> None:
    """The work is cancelled and has ended when the wait is over; without a stop its result or error comes through."""
    stop = asyncio.Event()
    ended: list[str] = []

    async def work(seconds: float, result: Any) -> Any:
        try:
            await asyncio.sleep(seconds)
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            ended.append("work")

    assert await unless(stop, work(0, 5)) == 5
    with pytest.raises(ConfigError, match="no"):
        await unless(stop, work(0, ConfigError("no")))
    asyncio.get_running_loop().call_later(0.05, stop.set)
    assert await unless(stop, work(60, 5)) is None
    assert ended == ["work"] * 3
