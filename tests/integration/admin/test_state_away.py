"""Without its state server the admin API answers at once that it cannot know, and comes back by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import httpx2

from app.admin import server as admin_server
from app.admin.deadline import ANSWER_SEC
from app.settings import StateSettings
from app.state.server import StateServer

KEY = "0123456789abcdef" * 2
CALLS = [
    ("GET", "/v1/keys", None),
    ("GET", "/v1/keys?level=suspect", None),
    ("GET", "/v1/keys?level=clear", None),
    ("GET", "/v1/keys?q=0", None),
    ("GET", f"/v1/keys/{KEY}", None),
    ("GET", f"/v1/keys/{KEY}/timeline", None),
    ("POST", f"/v1/keys/{KEY}:lift", b'{"reason":"a slip"}'),
    ("DELETE", f"/v1/keys/{KEY}:lift", None),
    ("GET", "/v1/orgs/acme", None),
    ("GET", "/v1/health", None),
    ("GET", "/v1/accounts", None),
    ("GET", f"/v1/accounts/{KEY}", None),
    ("PUT", f"/v1/accounts/{KEY}", b"{}"),
    ("DELETE", f"/v1/accounts/{KEY}", None),
    ("POST", "/v1/accounts:import", b'{"key_id":"%s"}' % KEY.encode()),
    ("POST", "/v1/orders:preview", b'{"subjects":{"org_id":"acme"},"action":"cap"}'),
    ("DELETE", "/v1/orders/sw-b3x7qk2m5aduc", None),
    ("POST", "/v1/policy:preview", b"{}"),
    ("GET", "/v1/plans/default", None),
]


async def test_a_lost_state_server_is_a_503_in_bounded_time(admin_settings: Any, token: str, tmp_path: Any) -> None:
    """Every route that needs state says so with Retry-After when it is gone; the others work; with it back, all do."""
    settings = admin_settings(STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS="300")
    state = StateServer(StateSettings(data_dir=tmp_path / "other"))
    await state.start()
    admin = await admin_server.start(settings, state_url=state.url)
    headers = {"authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(base_url=admin.url, headers=headers, trust_env=False, timeout=30.0) as http:
            assert (await http.get("/v1/health")).status_code == 200
            await state.stop()
            for method, path, body in CALLS:
                started = time.monotonic()
                answer = await http.request(method, path, content=body)
                assert answer.status_code == 503, (method, path, answer.text)
                assert answer.headers["retry-after"] == "5"
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["cache-control"] == "no-store"
                assert str(tmp_path) not in answer.text
                assert time.monotonic() - started < 2 * ANSWER_SEC
            for path in ("/healthz", "/metrics", "/v1/openapi.json"):
                assert (await http.get(path)).status_code == 200
            assert (await http.get("/v1/keys?limit=x")).status_code == 422
            await state.start()
            async with asyncio.timeout(10):
                while (await http.get("/v1/health")).status_code != 200:  # noqa: ASYNC110 - it is the server's turn
                    await asyncio.sleep(0.05)
    finally:
        await admin.stop()
        await state.stop()


async def test_a_silent_state_server_is_a_503_in_bounded_time(admin_settings: Any, token: str) -> None:
    """A server that takes connections and never answers is given up after the configured time, at start too."""
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    settings = admin_settings(STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS="100")
    admin = await admin_server.start(settings, state_url=f"redis://127.0.0.1:{port}/0")
    try:
        async with httpx2.AsyncClient(base_url=admin.url, trust_env=False, timeout=30.0) as http:
            answers = await asyncio.gather(
                *(http.get(f"/v1/keys/{KEY}", headers={"authorization": f"Bearer {token}"}) for _ in range(20))
            )
            assert {answer.status_code for answer in answers} == {503}
            assert (await http.get("/healthz")).status_code == 200
    finally:
        await admin.stop()
        for writer in held:
            writer.close()
        silent.close()
        await silent.wait_closed()


async def test_a_frozen_state_server_is_a_503_within_the_deadline(admin_settings: Any, token: str, tmp_path: Any) -> None:
    """With the ordinary timeouts, and a server that froze under it, every route answers when its one deadline is over."""
    state = StateServer(StateSettings(data_dir=tmp_path / "other"))
    await state.start()
    assert state.pid is not None
    admin = await admin_server.start(admin_settings(), state_url=state.url)
    headers = {"authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(base_url=admin.url, headers=headers, trust_env=False, timeout=30.0) as http:
            assert (await http.get("/v1/health")).status_code == 200
            os.kill(state.pid, signal.SIGSTOP)
            started = time.monotonic()
            answers = await asyncio.gather(*(http.request(method, path, content=body) for method, path, body in CALLS))
            assert time.monotonic() - started < 3 * ANSWER_SEC
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            assert all("the state server did not answer" in answer.json()["detail"] for answer in answers)
            os.kill(state.pid, signal.SIGCONT)
            async with asyncio.timeout(10):
                while (await http.get("/v1/keys")).status_code != 200:  # noqa: ASYNC110 - it is the server's turn
                    await asyncio.sleep(0.05)
    finally:
        os.kill(state.pid, signal.SIGCONT)
        await admin.stop()
        await state.stop()
