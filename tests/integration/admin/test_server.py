"""Starting and stopping the admin process."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.admin import server
from app.errors import ConfigError
from app.settings import Settings
from app.state.factory import background_client
from app.state.keys import META


async def test_it_starts_a_state_server_of_its_own(admin_settings: Any, token: str, tmp_path: Path) -> None:
    """Without an address it runs on the embedded server in the data folder, and ends it when it stops."""
    admin = await server.start(admin_settings())
    try:
        async with httpx2.AsyncClient(base_url=admin.url, trust_env=False) as http:
            answer = await http.get("/v1/keys", headers={"authorization": f"Bearer {token}"})
        assert answer.json() == {"keys": [], "next_cursor": None}
        assert (tmp_path / "state").is_dir()
    finally:
        await admin.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", int(admin.url.rsplit(":", 1)[1]))


async def test_serve_runs_until_it_is_told_to_stop(redis_db: str, admin_settings: Any) -> None:
    """`serve` answers while it runs and gives its port back."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    stop = asyncio.Event()
    task = asyncio.create_task(server.serve(admin_settings(STILLWATCH_ADMIN__PORT=str(port)), stop, state_url=redis_db))
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http, asyncio.timeout(10):
        while True:
            try:
                assert (await http.get("/healthz")).json() == {"status": "ok"}
                break
            except httpx2.ConnectError:
                await asyncio.sleep(0.02)
    stop.set()
    await task
    socket.create_server(("127.0.0.1", port)).close()


async def test_without_a_token_it_does_not_start(redis_db: str) -> None:
    """There is no admin API without a token, and the sentence names the setting."""
    with pytest.raises(ConfigError, match=r"^admin\.token must be set"):
        await server.start(Settings(), state_url=redis_db)


async def test_a_taken_port_is_one_sentence(redis_db: str, admin_settings: Any) -> None:
    """A port that is in use is named with its setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^admin\.port: cannot listen on 127\.0\.0\.1 port {port}"):
            await server.start(admin_settings(STILLWATCH_ADMIN__PORT=str(port)), state_url=redis_db)


async def test_a_model_that_is_none_is_one_sentence(redis_db: str, admin_settings: Any, tmp_path: Path) -> None:
    """A model folder that holds no model is named with its setting, and nothing is left open."""
    with pytest.raises(ConfigError, match=r"^worker\.model_dir: "):
        await server.start(admin_settings(STILLWATCH_WORKER__MODEL_DIR=str(tmp_path)), state_url=redis_db)


async def test_another_partition_count_is_refused(redis_db: str, admin_settings: Any) -> None:
    """State that was made with another number of partitions would be read in the wrong places, so it is not read."""
    settings = admin_settings()
    client = background_client(redis_db, settings)
    await client.hset(META, "partitions", 7)  # type: ignore[misc]
    await client.aclose()
    with pytest.raises(ConfigError, match=r"state\.partitions is 4 but the state was made with 7"):
        await server.start(settings, state_url=redis_db)


async def test_the_build_is_in_the_metrics(desk: Any) -> None:
    """/metrics names the process and its version."""
    assert 'process="admin"' in (await desk.call("GET", "/metrics")).text
