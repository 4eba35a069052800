"""A model API to talk to, and everything that is logged meanwhile."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvicorn

from app.simulate.model_api import ModelApi, ModelApiConfig
from app.telemetry import logging as logs


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """Address of a simulated model API."""
    app = ModelApi(ModelApiConfig(seed=3))
    served = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", ws="none"))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(served.serve(sockets=[listener]))
    while not served.started:  # noqa: ASYNC110 - uvicorn offers no event to wait for
        await asyncio.sleep(0.005)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    served.should_exit = True
    await task
    listener.close()


@pytest.fixture
def logged() -> Iterator[Callable[[str], io.StringIO]]:
    """Sets logging up as a real process does, from DEBUG on, in a form; what it then writes is in the stream."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, {name: logging.getLogger(name).level for name in logs.OURS})

    def start(form: str) -> io.StringIO:
        stream = io.StringIO()
        logs.setup("DEBUG", form, stream)
        return stream

    yield start
    root.handlers[:], level, sys.excepthook, levels = before
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
