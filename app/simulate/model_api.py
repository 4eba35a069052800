"""A simulated model API as a raw ASGI application: the upstream of the demonstration, the tests and the benchmarks.

It speaks the OpenAI dialect (chat completions, responses, completions, embeddings, models) and the Anthropic one
(messages, count_tokens, models), streaming and not, answers as ``answers`` decides, and misbehaves on request
(``faults``). The same seed and the same requests in the same order give the same answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.simulate import anthropic_wire, openai_wire, responses_wire
from app.simulate.answers import JsonObject
from app.simulate.dice import Dice
from app.simulate.faults import Faults, read
from app.simulate.wire import Answered, BadCall

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[JsonObject, Dice, Faults], Answered]

MODELS = ("still-large-2", "still-small-2", "still-reason-1", "claude-still-4", "text-embedding-still")
_KEPT_CALLS = 1000
_POSTS: dict[str, tuple[str, Handler]] = {
    "/chat/completions": ("openai", openai_wire.chat),
    "/completions": ("openai", openai_wire.completions),
    "/responses": ("openai", responses_wire.responses),
    "/embeddings": ("openai", openai_wire.embeddings),
    "/messages": ("anthropic", anthropic_wire.messages),
    "/messages/count_tokens": ("anthropic", anthropic_wire.count_tokens),
}


@dataclass(slots=True)
class Call:
    """One request as the server saw it; `ended` is complete, cut, error or disconnected."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    ended: str = ""


@dataclass(frozen=True, slots=True)
class ModelApiConfig:
    """Behaviour of one server.

    Attributes:
        seed: root of every answer and id.
        models: what /models lists. A model whose name starts with "no-such" does not exist; every other one answers.
        require_key: refuse requests without a credential, and credentials that contain "invalid".
        accepts_stream_options: false for a server that rejects the member, as older ones do.
        faults: default of every request; see ``faults``.
        remember: keep the last calls for tests to look at.
    """

    seed: int = 1
    models: tuple[str, ...] = MODELS
    require_key: bool = True
    accepts_stream_options: bool = True
    faults: Faults = field(default_factory=Faults)
    remember: bool = False


class ModelApi:
    """The ASGI application."""

    def __init__(self, config: ModelApiConfig | None = None) -> None:
        self.config = config or ModelApiConfig()
        self.dice = Dice(self.config.seed)
        self.calls: deque[Call] = deque(maxlen=_KEPT_CALLS)
        self.served = 0
        self.disconnected = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


class _Exchange:
    """One request on its way through."""

    def __init__(self, api: ModelApi, scope: Scope, receive: Receive, send: Send) -> None:
        self.api = api
        self.receive, self.send = receive, send
        self.method: str = scope["method"]
        self.path = scope["path"].removeprefix("/v1").rstrip("/") or "/"
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.named = dict(self.headers)
        self.anthropic = self.path.startswith("/messages") or b"anthropic-version" in self.named
        self.faults = read(self.headers, api.config.faults)
        self.request_id = api.dice.identifier("req_")
        self.call = Call(self.method, scope["path"], {})
        if api.config.remember:
            self.call.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
            api.calls.append(self.call)

    async def run(self) -> None:
        self.api.served += 1
        raw = await self._read_body()
        if raw is None:
            self._gone()
            return
        if self.api.config.remember:
            self.call.body = raw
        if self.faults.latency_ms and await self._pause(self.faults.latency_ms):
            self._gone()
            return
        try:
            answered = self._answer(raw)
        except BadCall as bad:
            self.call.ended = "error"
            await self._whole(bad.status, self._error(bad), self._retry_headers())
            return
        if answered.frames is not None:
            await self._stream(answered.frames)
        elif self.faults.garbage:
            await self._whole(200, b"<html><body>It works!</body></html>", [], b"text/html")
        else:
            await self._whole(200, answered.body, [])

    def _answer(self, raw: bytes) -> Answered:
        self._check_credential()
        faults = self.faults
        if faults.status:
            retried = int(self.named.get(b"x-stainless-retry-count", b"0") or b"0")
            if faults.fail_times < 0 or retried < faults.fail_times:
                raise BadCall(faults.status, f"The simulated server answers {faults.status}.")
        if self.method in ("GET", "HEAD"):
            return Answered(self._get())
        dialect_handler = _POSTS.get(self.path) if self.method == "POST" else None
        if dialect_handler is None:
            raise BadCall(404, f"Invalid URL ({self.method} {self.path})")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise BadCall(400, "We could not parse the JSON body of your request.") from None
        if not isinstance(body, dict):
            raise BadCall(400, "The body must be a JSON object.")
        name = body.get("model")
        if not isinstance(name, str) or not name:
            raise BadCall(400, "you must provide a model parameter" if not self.anthropic else "model: Field required")
        if name.startswith("no-such"):
            raise BadCall(404, f"The model '{name}' does not exist.", code="model_not_found")
        if "stream_options" in body and not self.api.config.accepts_stream_options:
            raise BadCall(400, "Unrecognized request argument supplied: stream_options", param="stream_options")
        return dialect_handler[1](body, self.api.dice, faults)

    def _check_credential(self) -> None:
        if not self.api.config.require_key or self.path in ("/", "/health", "/stats"):
            return
        given = self.named.get(b"x-api-key") or self.named.get(b"authorization", b"").removeprefix(b"Bearer ")
        if not given or b"invalid" in given:
            raise BadCall(
                401, "Incorrect API key provided." if given else "No API key was provided.", code="invalid_api_key"
            )

    def _get(self) -> bytes:
        names = self.api.config.models
        if self.path == "/models":
            return anthropic_wire.models(names) if self.anthropic else openai_wire.models(names)
        if self.path.startswith("/models/"):
            name = self.path.removeprefix("/models/")
            return anthropic_wire.model(name, names) if self.anthropic else openai_wire.model(name, names)
        if self.path == "/files":
            return b'{"object":"list","data":[],"has_more":false}'
        if self.path in ("/", "/health"):
            return b'{"status":"ok"}'
        if self.path == "/stats":
            return orjson.dumps({"served": self.api.served, "disconnected": self.api.disconnected})
        raise BadCall(404, f"Invalid URL ({self.method} {self.path})")

    def _error(self, bad: BadCall) -> bytes:
        if self.anthropic:
            return anthropic_wire.error_body(bad.status, bad.message, self.request_id)
        return openai_wire.error_body(bad.status, bad.message, bad.kind, bad.code, bad.param)

    def _retry_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"retry-after", self.faults.retry_after.encode("latin-1"))] if self.faults.retry_after else []

    def _head(self) -> list[tuple[bytes, bytes]]:
        request_id = self.request_id.encode()
        if self.anthropic:
            return [(b"request-id", request_id), (b"anthropic-organization-id", b"org-simulated")]
        return [
            (b"x-request-id", request_id),
            (b"openai-organization", b"org-simulated"),
            (b"openai-version", b"2020-10-01"),
            (b"openai-processing-ms", b"%d" % (1 + self.faults.latency_ms)),
        ]

    async def _whole(
        self, status: int, body: bytes, extra: list[tuple[bytes, bytes]], kind: bytes = b"application/json"
    ) -> None:
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *self._head(), *extra]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        if self.faults.cut_after >= 0 and status == 200:
            # Returning before the end makes the server close the connection under the client.
            await self.send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            self.call.ended = "cut"
            return
        await self.send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})
        self.call.ended = self.call.ended or "complete"

    async def _stream(self, frames: Iterator[bytes]) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"), *self._head()]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        delay, cut, wrong = self.faults.chunk_delay_ms, self.faults.cut_after, self.faults.error_after
        for number, frame in enumerate(frames):
            if number == cut:
                self.call.ended = "cut"
                return
            if number == wrong:
                frame = self._error_frame()
            if delay and await self._pause(delay):
                self._gone()
                return
            await self.send({"type": "http.response.body", "body": frame, "more_body": True})
            if number == wrong:
                self.call.ended = "error"
                break
        await self.send({"type": "http.response.body", "body": b""})
        self.call.ended = self.call.ended or "complete"

    def _error_frame(self) -> bytes:
        if self.anthropic:
            return anthropic_wire.error_event("Overloaded")
        message = "The server had an error while processing your request."
        if self.path == "/responses":
            made = {"type": "error", "sequence_number": 0, "code": "server_error", "message": message, "param": None}
            return b"event: error\ndata: " + orjson.dumps(made) + b"\n\n"
        return b"data: " + openai_wire.error_body(500, message) + b"\n\n"

    async def _read_body(self) -> bytes | None:
        parts: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)

    async def _pause(self, milliseconds: float) -> bool:
        """Wait; true if the client left meanwhile."""
        try:
            async with asyncio.timeout(milliseconds / 1000):
                while (await self.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    def _gone(self) -> None:
        self.call.ended = "disconnected"
        self.api.disconnected += 1
