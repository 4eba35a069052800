"""Outermost layer of the admin application: bounds a request's body, makes the answer safe to hold, counts it.

Pure ASGI: the body is counted as it is read, so a body without a length is bounded too. A body has a time as well: one that
stalls would hold its connection for ever. A large one that a route takes as a stream has it for each of its pieces.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admin.problems import ProblemResponse
from app.gateway.core import linger
from app.telemetry import metrics

log = logging.getLogger(__name__)

LINGER_SEC = 5.0
LINGER_BYTES = 64 * 1024 * 1024
"""How long, and how much, a body that nobody wants is read and thrown away behind its answer."""

_ANSWER_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Answers 413 to a body above the limit of its route, 415 to a compressed one, 408 to a slow one, 500 to a fault."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        larger: dict[str, int],
        body_timeout_sec: float,
        streamed: Callable[[str], int | None] = lambda path: None,
    ) -> None:
        """Around an application.

        Args:
            app: the application.
            max_bytes: of a body.
            larger: path → another limit.
            body_timeout_sec: of a whole body; of a streamed one, between two of its pieces.
            streamed: path → limit of a body that the route there takes piece by piece; None for other paths.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger
        self._streamed = streamed
        self._body_timeout_sec = body_timeout_sec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = request_id = secrets.token_hex(8)
        streamed = self._streamed(scope["path"])
        limit = self._larger.get(scope["path"], self._max_bytes) if streamed is None else streamed
        body = _Body(receive, limit, self._body_timeout_sec, by_piece=streamed is not None)
        answer = _Answer(scope, send, body, request_id)
        refusal = _refusal(scope, limit)
        if refusal:
            await refusal(scope, receive, answer.send)
            return
        try:
            await self._app(scope, body.receive, answer.send)
        except Exception as error:
            _log_fault(scope, error)
            if answer.started:
                raise
            # A caller learns nothing about the inside.
            problem = ProblemResponse(500, "The request failed inside; the log of the admin process has the reason.")
            await problem(scope, receive, answer.send)


class _Body:
    """A request's body, counted and timed while it is read. The application makes problems of what is raised here."""

    def __init__(self, receive: Receive, limit: int, timeout_sec: float, *, by_piece: bool) -> None:
        self._receive = receive
        self._by_piece = by_piece
        self._limit = limit
        self._seen = 0
        self._ended = False
        self._timeout_sec = timeout_sec
        self._until: float | None = None

    async def receive(self) -> Message:
        """The next message; behind the body it is the client's leaving, for which there is no deadline."""
        if self._ended:
            return await self._receive()
        if self._until is None or self._by_piece:
            self._until = asyncio.get_running_loop().time() + self._timeout_sec
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            self._ended = True
            raise HTTPException(408, "The body did not arrive in time.") from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                raise HTTPException(413, _sentence(self._limit))
        self._ended = not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Throws away what still comes, within bounds: most clients send a whole body before they read an answer."""
        if not self._ended:
            await linger(self._receive, LINGER_SEC, LINGER_BYTES)


class _Answer:
    """An answer on its way: gets its headers, and is counted by route name and status class."""

    def __init__(self, scope: Scope, send: Send, body: _Body, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._body = body
        self._request_id = request_id
        self.started = False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _ANSWER_HEADERS.items():
                headers.setdefault(name, value)
            # Ours, never the caller's: it stands in the audit log.
            headers["x-request-id"] = self._request_id
            # The router leaves the route it chose in the scope; its name is a function of ours, never a client's word.
            route = getattr(self._scope.get("route"), "name", "none")
            metrics.ADMIN_REQUESTS.labels(route=route, status=f"{message['status'] // 100}xx").inc()
        elif not message.get("more_body", False):
            await self._send({**message, "more_body": True})  # the client has it all now; it only is not over yet
            await self._body.drop()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)


def _refusal(scope: Scope, limit: int) -> ProblemResponse | None:
    for name, value in scope["headers"]:
        # 20 digits are beyond any limit, and int() of thousands of them would take its time.
        if name == b"content-length" and value.isdigit() and (len(value) > 20 or int(value) > limit):
            return ProblemResponse(413, _sentence(limit))
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            return ProblemResponse(415, "Bodies must be sent uncompressed.")
    return None


def _log_fault(scope: Scope, error: Exception) -> None:
    """Says where it broke without the message, which may quote what the caller sent or what is stored."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
    route = getattr(scope.get("route"), "name", "none")
    log.error("an admin request failed: route %s, %s at %s", route, type(error).__name__, place)


def _sentence(limit: int) -> str:
    return f"The body must not be larger than {limit:,} bytes."
