"""Decide only: a reverse proxy asks whether a request may pass, and forwards it itself.

nginx (`auth_request`) understands 2xx, 401 and 403 and drops the body, so there a refusal is a 403 whose real status and
one-line body travel in `X-Gw-Status` and `X-Gw-Body`; `deploy/nginx/authz.conf` turns them back. Traefik and Caddy hand our
answer to the client as it is: `/authz?style=direct`. So does Envoy, which asks with the original method and path behind
a prefix: `/authz/v1/chat/completions`.

Only the request is charged: the answer, and with it the tokens, is never seen here.
"""

from __future__ import annotations

import re
import time
import urllib.parse
from typing import Any

from app.enforcement.wire_errors import Refuse, WireError
from app.gateway.core import Core, Scope
from app.gateway.exchange import ClientGone, Exchange
from app.gateway.routes import classify
from app.limits.headers import rate_headers
from app.limits.limiter import Ask

PATH = "/authz"

_METHOD = re.compile(rb"^[A-Z]{3,10}$")
_BODY_MAX_BYTES = 2048
"""Has to fit nginx's proxy_buffer_size (4 KB) with the other headers."""


class AuthzExchange(Exchange):
    """A question from a proxy about a request that it holds."""

    __slots__ = ("_direct", "_original")

    def __init__(self, core: Core, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, scope, receive, send)
        self._original: str = scope["path"].removeprefix(PATH)
        self._direct = bool(self._original) or b"style=direct" in scope["query_string"].split(b"&")
        self.body_read = True  # a body, if the proxy sends one, is not needed

    async def run(self) -> None:
        """Answer the question."""
        try:
            await self.admit()
        except Refuse as refuse:
            await self.refuse(refuse)
        except ClientGone:
            pass
        else:
            await self._allow()
        finally:
            decision = self.decision
            if decision is not None and self.core.limiter is not None:
                # What the answer will be is not known, so nothing stays reserved and nothing is logged.
                self.core.limiter.settle(decision.reservation, input_tokens=0, output_tokens=0, event=None)

    async def admit(self) -> None:
        """The decision for the original request.

        Raises:
            Refuse: it may not pass.
        """
        core = self.core
        method, path = self._asked_about()
        route = self.route = classify(method, path)
        head = self.head = core.guard.read(self.scope)
        identity = self.identity = core.identifier.identify(head, route.dialect)
        limiter = core.limiter
        if limiter is None:
            self.pass_unlimited(identity.key_id)
            return
        before = time.perf_counter()
        ask = Ask(
            key_id=identity.key_id,
            org_id=identity.org_id,
            plan=identity.plan,
            model="",
            input_tokens=0,
            output_tokens=0,
            request_id=self.request_id,
        )
        self.abide_by(await limiter.decide(ask), before)

    def _asked_about(self) -> tuple[str, str]:
        """(method, decoded path) of the request that the proxy holds."""
        if self._original:
            return self.scope["method"], self._original
        told = dict(self.scope["headers"])
        method = told.get(b"x-original-method") or told.get(b"x-forwarded-method") or b""
        uri = told.get(b"x-original-uri") or told.get(b"x-forwarded-uri") or b""
        path = urllib.parse.unquote_to_bytes(uri.partition(b"?")[0]).decode("utf-8", "replace")
        return method.decode() if _METHOD.match(method) else "POST", path or "/"

    async def _allow(self) -> None:
        headers = [(b"content-length", b"0")]
        if self.decision is not None:
            headers += rate_headers(self.decision, self.route.dialect)
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def answer_with(self, error: WireError) -> None:
        """Send a refusal in the form the asking proxy can pass on."""
        if not self._direct:
            body = error.body if len(error.body) <= _BODY_MAX_BYTES and b"\n" not in error.body else b"{}"
            error = WireError(
                401 if error.status == 401 else 403,
                [*error.headers, (b"x-gw-status", b"%d" % error.status), (b"x-gw-body", body)],
                error.body,
            )
        await super().answer_with(error)
