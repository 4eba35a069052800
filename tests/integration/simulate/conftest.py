"""The simulated model API on a real socket, in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from app.simulate.model_api import ModelApi, ModelApiConfig


class Running:
    """A served application and where it is."""

    def __init__(self, api: ModelApi, url: str) -> None:
        self.api = api
        self.url = url


@pytest.fixture
async def model_api() -> AsyncIterator[Running]:
    """A simulated model API that remembers its calls."""
    api = ModelApi(ModelApiConfig(seed=3, remember=True))
    server = uvicorn.Server(uvicorn.Config(api, log_level="critical", access_log=False, lifespan="off", ws="none"))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 — uvicorn offers no event to wait for
        await asyncio.sleep(0.005)
    yield Running(api, f"http://127.0.0.1:{listener.getsockname()[1]}")
    server.should_exit = True
    await task
    listener.close()
