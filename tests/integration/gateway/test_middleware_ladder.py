"""The response ladder in the middleware: the application inside never sees what a key may not use, or is stopped."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.middleware.gzip import GZipMiddleware

from app.enforcement.policy import Action
from app.enforcement.rules import FixedRules
from app.gateway.core import Core
from app.gateway.middleware import StillwatchMiddleware
from app.limits.limiter import Decision
from app.settings import EnforcementSettings, Settings
from app.simulate.rig import EventList
from detectors.contract import Level
from detectors.event import Event

SETTINGS = Settings.model_validate({"identity": {"pepper": "a pepper for tests only"}})
POLICY = EnforcementSettings(mode="enforce", automatic_up_to="suspend", appeal_url="https://provider.example/appeal")
SECRET = "because seven is prime"
COMPLETION = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "7", "reasoning": SECRET}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


def chunk(**delta: Any) -> bytes:
    """One chunk of a stream."""
    return b"data: %b\n\n" % orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


class Rules(FixedRules):
    """Rules that change when a test says so."""

    def __init__(self) -> None:
        super().__init__(POLICY)
        self.orders: dict[str, Action] = {}
        self.listeners: list[Callable[[], None]] = []

    def order(self, key_id: str) -> Action | None:
        """This test's."""
        return self.orders.get(key_id)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """To be told."""
        self.listeners.append(changed)


class Judge:
    """A limiter that admits everybody, and says which action is in force for a key."""

    def __init__(self) -> None:
        self.actions: dict[str, str] = {}
        self.events = EventList()
        self.refunds: list[bool] = []

    async def decide(self, ask: Any) -> Decision:
        """Admit, unless blocked."""
        action = self.actions.get(ask.key_id, "")
        if action in ("step_up", "suspend"):
            return Decision(False, blocked=True, action=action, effect="enforced", ref="sw-a")
        return Decision(True, throttled=bool(action), action=action, effect="enforced" if action else "")

    def settle(self, reservation: Any, *, event: bytes | None, refund: bool = False, **told: Any) -> None:
        """Remember."""
        self.refunds.append(refund)
        if event is not None:
            self.events.append(event, 0)


class Inside:
    """A model server whose streams go on until somebody ends them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.left = threading.Event()
        self.api = FastAPI()
        self.api.add_middleware(GZipMiddleware, minimum_size=1)
        self.api.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])

    async def chat(self, request: Request) -> Response:
        """As `user` says."""
        raw = await request.body()
        self.bodies.append(raw)
        self.heads.append(dict(request.headers))
        wanted = orjson.loads(raw).get("user")
        if wanted in ("stream", "silent", "stubborn"):
            return StreamingResponse(self.stream(wanted), media_type="text/event-stream")
        if wanted == "slow":
            try:
                await asyncio.sleep(5)
            finally:
                self.left.set()
        return JSONResponse(COMPLETION)

    async def stream(self, how: str) -> AsyncIterator[bytes]:
        """Reasoning, then words without an end."""
        try:
            yield chunk(role="assistant", content="")
            yield chunk(reasoning=SECRET)
            yield chunk(content="seven")
            while True:
                await asyncio.sleep(0.05 if how != "silent" else 30)
                yield chunk(content=" more")
        except asyncio.CancelledError:
            if how != "stubborn":
                raise
            yield chunk(content=" once more")
        finally:
            self.left.set()


class Wrapped:
    """The application with the middleware around it."""

    def __init__(self, rig: Any) -> None:
        self.inside, self.judge, self.rules = Inside(), Judge(), Rules()
        self.core = Core(SETTINGS, limiter=self.judge, control=self.rules)
        self.inside.api.add_middleware(StillwatchMiddleware, core=self.core)
        self.loop = rig.thread.loop
        self.url = rig.thread.serve(self.inside.api)

    def key_id(self, credential: str) -> str:
        """Id of a credential."""
        return self.core.identifier.hasher.key(credential)

    def suspend(self, credential: str) -> None:
        """A person's order reaches this process."""
        until_us = time.time_ns() // 1000 + 60_000_000
        action = Action(Level.CONFIRMED, "suspend", 1.0, None, until_us, "person", "sw-b")
        self.rules.orders[self.key_id(credential)] = action
        for changed in self.rules.listeners:
            self.loop.call_soon_threadsafe(changed)

    def event(self, credential: str) -> Event:
        """The one event of a credential."""
        (only,) = self.judge.events.of(self.key_id(credential))
        return only


@pytest.fixture(scope="module")
def wrapped(rig: Any) -> Wrapped:
    """One wrapped application for all tests."""
    return Wrapped(rig)


def request(key: str, **body: Any) -> bytes:
    """One chat request that takes a compressed answer."""
    data = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **body})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nAccept-Encoding: gzip\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def test_a_capped_request_and_its_answer(wrapped: Wrapped, raw: Any, key: str) -> None:
    """The application gets the changed body with its true length; the answer goes out readable and without reasoning."""
    wrapped.judge.actions[wrapped.key_id(key)] = "cap"
    reply = raw(wrapped.url, request(key, n=4, logprobs=True)).reply
    seen = orjson.loads(wrapped.inside.bodies[-1])
    assert (seen.get("n"), "logprobs" in seen) == (1, False)
    head = wrapped.inside.heads[-1]
    assert (int(head["content-length"]), "accept-encoding" in head) == (len(wrapped.inside.bodies[-1]), False)
    assert reply.json["choices"][0]["message"] == {"role": "assistant", "content": "7", "reasoning": None}
    assert int(reply.header("content-length")) == len(reply.body)
    event = wrapped.event(key)
    assert (event.action, event.decision, event.n, event.output_tokens) == ("cap", "throttled", 4, 2)
    other = raw(wrapped.url, request(key + "-other", n=4)).reply
    assert other.header("content-encoding") == "gzip"
    assert orjson.loads(wrapped.inside.bodies[-1])["n"] == 4


def test_a_block_never_reaches_the_application(wrapped: Wrapped, raw: Any, key: str) -> None:
    """A suspended key gets the refusal of the proxy, word for word."""
    wrapped.judge.actions[wrapped.key_id(key)] = "suspend"
    before = len(wrapped.inside.bodies)
    reply = raw(wrapped.url, request(key)).reply
    assert (reply.status, reply.json["error"]["code"]) == (403, "access_suspended")
    assert len(wrapped.inside.bodies) == before


@pytest.mark.parametrize("how", ["stream", "silent", "stubborn"])
def test_a_suspension_ends_the_applications_stream(how: str, wrapped: Wrapped, raw: Any, key: str) -> None:
    """Within a second the stream ends with the refusal, also if the application is silent or will not be cancelled."""
    wrapped.judge.actions[wrapped.key_id(key)] = "cap"
    wrapped.inside.left.clear()
    timer = threading.Timer(0.3, wrapped.suspend, (key,))
    timer.start()
    wire = raw(wrapped.url, request(key, stream=True, user=how), timeout_sec=4)
    timer.join()
    assert wire.seconds < 1.3
    reply = wire.reply
    assert SECRET.encode() not in reply.body
    assert b"seven" in reply.body
    assert b"once more" not in reply.body
    error = orjson.loads(reply.body.rstrip().rpartition(b"data: ")[2])["error"]
    assert (error["code"], error["message"].endswith("Reference: sw-b.")) == ("access_suspended", True)
    gc.collect()  # a generator that stood at its yield when its reader was cancelled is closed when it is collected
    assert how == "stubborn" or wrapped.inside.left.wait(2)
    event = wrapped.event(key)
    assert (event.outcome, event.action, event.decision, event.status) == ("stopped", "suspend", "blocked", 200)
    assert event.answer_chars >= len("seven")


def test_a_whole_answer_that_has_not_begun_is_refused(wrapped: Wrapped, raw: Any, key: str) -> None:
    """The application is cancelled, and the client is answered at once like a new request."""
    wrapped.inside.left.clear()
    timer = threading.Timer(0.3, wrapped.suspend, (key,))
    timer.start()
    wire = raw(wrapped.url, request(key, user="slow"), timeout_sec=4)
    timer.join()
    assert wire.seconds < 1.3
    assert (wire.reply.status, wire.reply.json["error"]["code"]) == (403, "access_suspended")
    assert wrapped.inside.left.wait(2)
    event = wrapped.event(key)
    assert (event.outcome, event.action, event.status) == ("refused", "suspend", 403)
    assert wrapped.judge.refunds[-1]
