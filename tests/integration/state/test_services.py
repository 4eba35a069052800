"""A gateway's services: started in order, with and without state, and what they say about their health."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput, ConfigError, StateUnavailable
from app.gateway import services as module
from app.gateway.guard import Head
from app.gateway.services import Services
from app.settings import Settings, StateSettings, load
from app.state.factory import background_client
from app.state.keys import META
from app.state.server import StateServer

PEPPER = "a pepper of some length"


def _settings(data_dir: Path, **more: str) -> Settings:
    return load(environ={"STILLWATCH_PEPPER": PEPPER, "STILLWATCH_STATE__DATA_DIR": str(data_dir), **more})


def _accounts_file(folder: Path, *lines: dict[str, Any]) -> str:
    path = folder / "accounts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def _who(services: Services, credential: str) -> str:
    """Organisation of a caller, as the gateway sees it."""
    head = Head()
    head.authorization = f"Bearer {credential}".encode()
    return services.core.identifier.identify(head, "openai").org_id


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another task makes it hold
            await asyncio.sleep(0.01)


async def test_with_nothing_configured_the_embedded_server_is_used(data_dir: Path) -> None:
    """Started with a pepper alone it is healthy, has noted the layout, and leaves neither task nor server behind."""
    tasks = asyncio.all_tasks()
    services = await Services.start(_settings(data_dir))
    assert services.health() == (True, "ok")
    async with StateServer(StateSettings(data_dir=data_dir)) as joined:
        assert joined.pid is None
        client = background_client(joined.url, _settings(data_dir))
        assert await client.hget(META, "partitions") == b"16"
        await client.aclose()
    await services.stop()
    assert asyncio.all_tasks() == tasks
    assert not (data_dir / "state" / "server.sock").exists()


async def test_accounts_of_the_file_are_known(redis_db: str, data_dir: Path) -> None:
    """A credential of the accounts file has its organisation at once; the state then has it for other gateways too."""
    file = _accounts_file(data_dir, {"key": "sk-one", "org": "acme"})
    first = await Services.start(_settings(data_dir, STILLWATCH_IDENTITY__ACCOUNTS_FILE=file), redis_db)
    second = await Services.start(_settings(data_dir), redis_db)
    assert [_who(services, "sk-one") for services in (first, second)] == ["acme", "acme"]
    assert _who(first, "sk-other") == ""
    await second.stop()
    await first.stop()


async def test_it_starts_without_state_and_recovers(
    own: StateSettings, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the configured server away it starts, not ready; when the server comes it is ready and the layout is checked."""
    monkeypatch.setattr(module, "CHECK_SEC", 0.05)
    server = StateServer(own)
    services = await Services.start(_settings(data_dir / "gateway", STILLWATCH_REDIS_URL=server.url))
    assert services.health() == (False, "the state server has not answered since the start")
    assert _who(services, "sk-one") == ""
    await server.start()
    client = background_client(server.url, _settings(data_dir))
    await _until(lambda: services.health() == (True, "ok"))
    assert await client.hget(META, "partitions") == b"16"
    await services.stop()
    await client.aclose()
    await server.stop()


async def test_a_misfit_found_late_takes_it_out_of_service(
    own: StateSettings, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server that was away turns out to hold another layout, the health says so and stays bad."""
    monkeypatch.setattr(module, "CHECK_SEC", 0.05)
    async with StateServer(own) as server:
        client = background_client(server.url, _settings(data_dir))
        await client.hset(META, mapping={"partitions": 8, "schema": 1})
        await client.aclose()
    services = await Services.start(_settings(data_dir / "gateway", STILLWATCH_REDIS_URL=server.url))
    await server.start()
    await _until(lambda: "state.partitions is 16 but the state was made with 8" in services.health()[1])
    assert services.health()[0] is False
    await services.stop()
    await server.stop()


async def test_a_misfit_is_refused_at_the_start(redis_db: str, data_dir: Path) -> None:
    """Another partition count than the state has is a ConfigError, and nothing keeps running."""
    tasks = asyncio.all_tasks()
    first = await Services.start(_settings(data_dir), redis_db)
    await first.stop()
    with pytest.raises(ConfigError, match=r"^state\.partitions is 4 but the state was made with 16"):
        await Services.start(_settings(data_dir, STILLWATCH_STATE__PARTITIONS="4"), redis_db)
    assert asyncio.all_tasks() == tasks


async def test_who_may_pass_must_be_known(data_dir: Path) -> None:
    """With unknown keys denied and no state there is nobody to let in, so it does not start, unless a file names keys."""
    environ = {
        "STILLWATCH_REDIS_URL": f"unix://{data_dir}/none.sock",
        "STILLWATCH_IDENTITY__UNKNOWN_KEYS": "deny",
    }
    with pytest.raises(StateUnavailable):
        await Services.start(_settings(data_dir, **environ))
    file = _accounts_file(data_dir, {"key": "sk-one", "org": "acme"})
    services = await Services.start(_settings(data_dir, STILLWATCH_IDENTITY__ACCOUNTS_FILE=file, **environ))
    assert _who(services, "sk-one") == "acme"
    await services.stop()


async def test_losing_the_state_later_keeps_it_in_service(own: StateSettings, data_dir: Path) -> None:
    """A gateway whose state server dies stays ready: taking all of them out at once would be worse than lost limits."""
    server = StateServer(own).open()
    services = await Services.start(_settings(data_dir / "gateway"), server.url)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await _until(lambda: server.pid is None)
    assert services.health()[0] is True
    services._accounts._fresh_at -= 100  # type: ignore[operator]  # as if it had been away for so long
    ready, sentence = services.health()
    assert ready
    assert sentence.startswith("degraded: the state server has not answered for 10")
    await services.stop()
    server.close()


@pytest.mark.parametrize(
    ("field", "line", "rule"),
    [
        ("accounts_file", '{"org": "acme"}', "line 1: needs either"),
        ("networks_file", '{"asn": 1}', "line 1: Object missing required field `prefix`"),
    ],
)
async def test_a_bad_file_is_refused_before_anything_starts(data_dir: Path, field: str, line: str, rule: str) -> None:
    """A line that breaks a rule is named, and no server was started for it."""
    path = data_dir / "file.jsonl"
    path.write_text(line)
    with pytest.raises(BadInput, match=rule):
        await Services.start(_settings(data_dir, **{f"STILLWATCH_IDENTITY__{field.upper()}": str(path)}))
    assert not (data_dir / "state").exists()


async def test_a_missing_pepper_is_refused(data_dir: Path) -> None:
    """Without a pepper there is no gateway, and what was started for it is stopped."""
    tasks = asyncio.all_tasks()
    with pytest.raises(ConfigError, match=r"^identity\.pepper must be set"):
        await Services.start(load(environ={"STILLWATCH_STATE__DATA_DIR": str(data_dir)}))
    assert asyncio.all_tasks() == tasks
    assert not (data_dir / "state" / "server.sock").exists()
