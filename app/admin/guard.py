"""Outermost layer of the admin application: bounds a request's body and sets the answer's safety headers.

Pure ASGI: the body is counted as it is read, so a body without a length is bounded too.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admin.problems import ProblemResponse

_ANSWER_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class _TooLarge(HTTPException):
    """An HTTPException because FastAPI turns any other error that is raised while it reads a body into a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, _sentence(limit))


class BodyGuard:
    """Answers 413 to a body above the limit of its route, and 415 to one that is compressed."""

    def __init__(self, app: ASGIApp, max_bytes: int, larger: dict[str, int] | None = None) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._max_bytes)
        started = False
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise _TooLarge(limit)
            return message

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, limit)
        if refusal:
            await refusal(scope, receive, guarded)
            return
        try:
            await self._app(scope, bounded, guarded)
        except _TooLarge:
            if started:
                raise
            await _too_large(limit)(scope, receive, guarded)

    def _refusal(self, scope: Scope, limit: int) -> ProblemResponse | None:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
                return _too_large(limit)
            if name == b"content-encoding" and value.strip().lower() != b"identity":
                return ProblemResponse(415, "Bodies must be sent uncompressed.")
        return None


def _too_large(limit: int) -> ProblemResponse:
    return ProblemResponse(413, _sentence(limit), headers={"connection": "close"})


def _sentence(limit: int) -> str:
    return f"The body must not be larger than {limit:,} bytes."
