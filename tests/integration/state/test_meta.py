"""What is fixed for the life of a deployment is checked at each start."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError, StateUnavailable
from app.settings import Settings, load
from app.state import meta
from app.state.factory import background_client
from app.state.keys import META


def _settings(partitions: int) -> Settings:
    return load(environ={"STILLWATCH_STATE__PARTITIONS": str(partitions)})


async def test_an_empty_state_notes_its_partitions(client: Any) -> None:
    """The first start writes partitions and layout, and a start with the same settings agrees."""
    await meta.check(client, _settings(8))
    await meta.check(client, _settings(8))
    assert await client.hgetall(META) == {b"partitions": b"8", b"schema": b"1"}


async def test_another_partition_count_is_refused(client: Any) -> None:
    """A start with another number of partitions is refused and changes nothing."""
    await meta.check(client, _settings(8))
    with pytest.raises(ConfigError, match=r"^state\.partitions is 16 but the state was made with 8; it is fixed for life$"):
        await meta.check(client, _settings(16))
    assert await client.hget(META, "partitions") == b"8"


async def test_of_two_first_starts_one_wins(client: Any) -> None:
    """When processes with different settings start at once on an empty state, all but one kind are refused."""
    answers = await asyncio.gather(
        *(meta.check(client, _settings(4 if number % 2 else 8)) for number in range(10)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == 5
    assert sum(isinstance(answer, ConfigError) for answer in answers) == 5


async def test_another_layout_is_refused(client: Any) -> None:
    """A state that another version laid out differently is not touched."""
    await client.hset(META, "schema", 99)
    with pytest.raises(ConfigError, match=r"the state has layout 99, and this version reads layout 1$"):
        await meta.check(client, _settings(8))


@pytest.mark.parametrize(
    ("info", "rule"),
    [
        ({"redis_version": "5.0.14"}, "6.2 or later is needed"),
        ({"redis_version": "6.0.16"}, "6.2 or later is needed"),
        ({"redis_version": "7.2.4", "cluster_enabled": 1}, "a node of a Cluster"),
    ],
)
async def test_servers_that_do_not_fit_are_refused(
    client: Any, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any], rule: str
) -> None:
    """A server that is too old, or a node of a Cluster, is refused before anything is written."""

    async def answer() -> dict[str, Any]:
        return info

    monkeypatch.setattr(client, "info", answer)
    with pytest.raises(ConfigError, match=f"^state\\.redis_url: .*{rule}"):
        await meta.check(client, _settings(8))
    assert not await client.exists(META)


async def test_a_server_that_may_forget_is_remarked(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A memory limit with an eviction policy is worth a warning: it would silently drop limits and events."""
    caplog.set_level(logging.WARNING)
    await meta.check(client, _settings(8))
    assert caplog.text == ""
    await client.config_set("maxmemory", "1gb")
    await client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        await meta.check(client, _settings(8))
    finally:
        await client.config_set("maxmemory", "0")
        await client.config_set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy is not noeviction" in caplog.text


async def test_a_server_without_info_is_used(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A managed server that forbids INFO is taken as it is."""
    from redis.exceptions import NoPermissionError

    async def refuse() -> dict[str, Any]:
        raise NoPermissionError

    monkeypatch.setattr(client, "info", refuse)
    await meta.check(client, _settings(8))
    assert await client.hget(META, "partitions") == b"8"


async def test_an_absent_server_is_unavailable(data_dir: Path) -> None:
    """Without a server the check says so and decides nothing."""
    client = background_client(f"unix://{data_dir}/none.sock", _settings(8))
    with pytest.raises(StateUnavailable):
        await meta.check(client, _settings(8))
    await client.aclose()
