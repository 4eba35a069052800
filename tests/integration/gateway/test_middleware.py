"""The gateway as ASGI middleware inside a FastAPI application, served by plain uvicorn."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
import redis
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai import OpenAI

from app.errors import ConfigError
from app.gateway.core import Core
from app.gateway.identity import Hasher
from app.gateway.middleware import StillwatchMiddleware
from app.limits.limiter import Budget, Decision
from app.settings import Settings
from app.simulate.rig import EventList, LoopThread
from app.state.keys import PartitionKeys, partition_of
from detectors.event import decode

ASK: Any = [{"role": "user", "content": "hi"}]
SETTINGS = Settings.model_validate(
    {"identity": {"pepper": "a pepper for tests only"}, "gateway": {"max_body_bytes": 50_000}}
)
COMPLETION = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip

CHUNK = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)


class Judge:
    """A limiter that refuses one key and admits the rest, and remembers what was settled."""

    def __init__(self) -> None:
        self.refused = ""
        self.settled: list[dict[str, Any]] = []

    async def decide(self, ask: Any) -> Decision:
        """Admit or refuse."""
        budgets = (Budget("requests", "key", 60, 12, 5000, 60),)
        if ask.key_id == self.refused:
            return Decision(False, "requests", "key", 1500, budgets=budgets)
        return Decision(True, budgets=budgets, reservation=ask.key_id)

    def settle(self, reservation: Any, **told: Any) -> None:
        """Remember."""
        self.settled.append({"reservation": reservation, **told})


class Inside:
    """A model server with a route of each kind."""

    def __init__(self) -> None:
        self.started = 0
        self.left = threading.Event()
        self.bodies: list[bytes] = []
        self.api = FastAPI(on_startup=[self._start])
        self.api.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        self.api.add_api_route("/health", self.health, methods=["GET", "POST"])

    def _start(self) -> None:
        self.started += 1

    async def health(self, request: Request) -> JSONResponse:
        """Not an API route."""
        return JSONResponse({"read": len(await request.body())})

    async def chat(self, request: Request) -> Any:
        """A whole answer, a stream, or a fault, as `user` says."""
        raw = await request.body()
        self.bodies.append(raw)
        wanted = orjson.loads(raw).get("user")
        if wanted == "fault":
            raise RuntimeError("the model server's own fault")
        if wanted == "stream":
            return StreamingResponse(self.stream(), media_type="text/event-stream")
        return JSONResponse(COMPLETION)

    async def stream(self) -> AsyncIterator[bytes]:
        """A slow stream that notes when it is ended early."""
        try:
            for _ in range(200):
                yield CHUNK
                await asyncio.sleep(0.02)
            yield b"data: [DONE]\n\n"
        finally:
            self.left.set()


class Wrapped:
    """The application with the middleware around it."""

    def __init__(self, rig: Any) -> None:
        self.inside = Inside()
        self.judge = Judge()
        self.events = EventList()
        self.core = Core(SETTINGS, limiter=self.judge, events=self.events)
        self.inside.api.add_middleware(StillwatchMiddleware, core=self.core)
        self.url = rig.thread.serve(self.inside.api, lifespan="on")

    def key_id(self, credential: str) -> str:
        """Id of a credential."""
        return self.core.identifier.hasher.key(credential)

    def settled(self, key: str, count: int = 1) -> list[dict[str, Any]]:
        """What was settled for a credential, once there is that much."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            found = [told for told in self.judge.settled if told["reservation"] == self.key_id(key)]
            if len(found) >= count:
                return found
            time.sleep(0.005)
        raise TimeoutError(key)


@pytest.fixture(scope="module")
def wrapped(rig: Any) -> Wrapped:
    """One wrapped application for all tests."""
    return Wrapped(rig)


def test_request_is_admitted_answered_and_settled(wrapped: Wrapped, key: str) -> None:
    """A completion passes with our rate headers; usage is settled and the application saw the client's own bytes."""
    with OpenAI(base_url=wrapped.url + "/v1", api_key=key, max_retries=0) as client:
        made = client.chat.completions.with_raw_response.create(model="m", messages=ASK)
    assert made.parse().choices[0].message.content == "Hello."
    assert made.headers["x-ratelimit-remaining-requests"] == "12"
    assert orjson.loads(wrapped.inside.bodies[-1])["messages"] == ASK
    (told,) = wrapped.settled(key)
    assert (told["input_tokens"], told["output_tokens"], told["refund"]) == (3, 2, False)
    assert wrapped.inside.started == 1


def test_refusals_never_reach_the_application(wrapped: Wrapped, raw: Any, key: str) -> None:
    """A limited request and a body that is too large are answered by us."""
    before = len(wrapped.inside.bodies)
    wrapped.judge.refused = wrapped.key_id(key)
    with OpenAI(base_url=wrapped.url + "/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="m", messages=ASK)
        assert caught.value.response.headers["retry-after"] == "2"
        with pytest.raises(openai.APIStatusError) as large:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a" * 60_000}])
        assert large.value.status_code == 413
    assert raw(wrapped.url, b"POST /v1/./x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").reply.status == 400
    assert len(wrapped.inside.bodies) == before


def test_other_paths_pass_untouched(wrapped: Wrapped, raw: Any) -> None:
    """Health checks and the like are not watched: not limited, not bounded, not logged."""
    body = b"x" * 60_000
    head = b"POST /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 60000\r\n\r\n"
    before = len(wrapped.judge.settled)
    assert raw(wrapped.url, head + body).reply.json == {"read": 60_000}
    assert len(wrapped.judge.settled) == before


def test_leaving_a_stream_reaches_the_application(wrapped: Wrapped, key: str) -> None:
    """A client that leaves ends the application's stream at once, and what it took is settled."""
    wrapped.inside.left.clear()
    with OpenAI(base_url=wrapped.url + "/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(model="m", messages=ASK, stream=True, user="stream")
        for _ in range(3):
            next(stream)
        stream.close()
    assert wrapped.inside.left.wait(2)
    (told,) = wrapped.settled(key)
    assert 3 <= told["output_tokens"] < 150
    assert not told["refund"]


def test_fault_of_the_application_is_refunded_and_its_own(wrapped: Wrapped, key: str) -> None:
    """An exception of the application stays its 500, and its reservation is given back."""
    with (
        OpenAI(base_url=wrapped.url + "/v1", api_key=key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model="m", messages=ASK, user="fault")
    (told,) = wrapped.settled(key)
    assert told["refund"]


async def test_settings_that_do_not_fit_fail_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pepper the application's start fails with one sentence, instead of its first request."""
    monkeypatch.delenv("STILLWATCH_PEPPER", raising=False)
    monkeypatch.chdir(tmp_path)
    sent: list[Any] = []
    pending = [{"type": "lifespan.startup"}]

    async def receive() -> Any:
        return pending.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await StillwatchMiddleware(Inside().api, settings=Settings())({"type": "lifespan", "state": {}}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert sent[0]["message"].startswith("stillwatch: identity.pepper must be set")


def test_core_needs_a_pepper() -> None:
    """There is no default pepper."""
    with pytest.raises(ConfigError, match=r"^identity\.pepper"):
        Core(Settings())


@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_class_path_and_environment_are_enough(
    lifespan: str, redis_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Given as a class path, as `vllm serve --middleware` takes it, it starts from the environment and logs what passes."""
    monkeypatch.setenv("STILLWATCH_REDIS_URL", redis_db)
    monkeypatch.setenv("STILLWATCH_PEPPER", "a pepper for tests only")
    monkeypatch.setenv("STILLWATCH_STATE__DATA_DIR", str(tmp_path))
    module, _, name = "app.gateway.middleware.StillwatchMiddleware".rpartition(".")
    middleware = getattr(importlib.import_module(module), name)
    assert inspect.isclass(middleware)  # a function would become BaseHTTPMiddleware
    inside = Inside()
    app: Any = inside.api
    thread = LoopThread()
    if lifespan == "on":
        app.add_middleware(middleware)
    else:
        app = middleware(app)
        thread.at_stop(app.close)
    try:
        url = thread.serve(app, lifespan=lifespan)
        with OpenAI(base_url=url + "/v1", api_key=key, max_retries=0) as client:
            assert client.chat.completions.create(model="m", messages=ASK).id
        key_id = Hasher("a pepper for tests only").key(key)
        stream = PartitionKeys(partition_of(key_id, 16)).stream
        with redis.Redis.from_url(redis_db) as state:
            until = time.monotonic() + 5
            while not (entries := state.xrange(stream)) and time.monotonic() < until:
                time.sleep(0.01)
        (event,) = [decode(fields[b"e"]) for _, fields in entries]
        assert (event.key_id, event.route, event.output_tokens, event.sdk) == (key_id, "chat", 2, "openai-python")
    finally:
        thread.stop()
