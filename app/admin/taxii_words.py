"""Says what the admin application refuses at a TAXII address in TAXII's form.

Guard, token, method and route all answer with a problem document; here is the one place that makes another form of it.
Pure ASGI, around everything else of the TAXII application.
"""

from __future__ import annotations

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admin.problems import MEDIA_TYPE
from app.intel.taxii.media import TAXII
from app.intel.taxii.resources import ErrorMessage

CHALLENGE = 'Basic realm="taxii2", Bearer'
"""What a client may authenticate with; HTTP Basic is the scheme that every TAXII client has."""


class TaxiiWords:
    """Turns problem documents into error messages of TAXII."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        await self._app(scope, receive, _Turned(send).send if scope["type"] == "http" else send)


class _Turned:
    """An answer on its way. A problem is small, and is held until it is whole; everything else passes at once."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Pass a message on, or keep it."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-type") == MEDIA_TYPE:
                self._start = message
                return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        start, headers = self._start, MutableHeaders(scope=self._start)
        if message.get("more_body", False) and len(self._body) < int(headers.get("content-length", "0")):
            return
        body = _turned(self._body, headers.get("x-request-id", ""))
        headers["content-type"] = TAXII
        headers["content-length"] = str(len(body))
        if start["status"] == 401:
            headers["www-authenticate"] = CHALLENGE
        self._start = None
        await self._send(start)
        await self._send({**message, "body": body})


def _turned(body: bytes, request_id: str) -> bytes:
    problem = orjson.loads(body)
    return orjson.dumps(
        ErrorMessage(
            title=problem["title"],
            description=problem["detail"],
            error_id=request_id,
            http_status=str(problem["status"]),
        ).model_dump()
    )
