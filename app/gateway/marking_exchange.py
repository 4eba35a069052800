"""Exchanges of a gateway that marks answers, in the proxy and in the middleware. Without marking neither is used."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from app.enforcement.wire_errors import Headers, Refuse
from app.gateway.capture import StreamFilter
from app.gateway.concealing import conceal_whole, conceals
from app.gateway.core import Core, Message, Scope
from app.gateway.dialects.shape import JsonObject
from app.gateway.exchange import Exchange
from app.gateway.identity import Identity
from app.gateway.marking_request import REFUSED, RequestMark, Stage
from app.gateway.middleware import InsideExchange
from app.gateway.proxy import ProxyExchange
from app.gateway.upstream import Connection, Upstream
from app.telemetry import metrics
from detectors.event import Event


class _Marked(Exchange):
    """What both have in common."""

    __slots__ = ()

    mark: RequestMark | None  # a slot of both subclasses, as two bases with slots of their own do not go together

    def _mark_request(self, body: JsonObject | None) -> JsonObject | None:
        """The body with the caller's mark and no other; None where it stays as it is."""
        route, identity, marking = self.route, self.identity, self.core.marking
        if identity is None or marking is None:
            return None
        if body is None or not route.generates:
            if conceals(route, self.scope["path"]):
                self.mark = RequestMark.of_stored(marking)  # type: ignore[misc]
            return None
        if self.mark is None:
            tenant = marking.tenant(identity.key_id, identity.org_id)
            self.mark = RequestMark(marking, tenant)  # type: ignore[misc]
        decision = self.decision
        return self.mark.request(route, body, decision.level if decision is not None else 0)

    def _staged(self, raw: bytes) -> bytes:
        """A whole answer as everybody else gets it, the gateway's own reading too."""
        mark = self.mark
        return raw if mark is None or mark.stage is None else mark.stage.whole(raw)

    def _concealed(self, raw: bytes) -> bytes:
        cap = self.cap
        if cap is None or cap.reasoning == "keep":
            return raw
        return conceal_whole(raw, summaries=cap.reasoning == "summarise")

    @property
    def _changes_answer(self) -> bool:
        return self.mark is not None and self.mark.stage is not None

    async def refuse(self, refuse: Refuse) -> None:
        await super().refuse(refuse)
        if refuse.why == REFUSED:  # it is we who refuse it, though it had been admitted
            self.answer.decision = self.answer.outcome = "refused"

    def _seen(self, identity: Identity, at_us: int) -> Event:
        event = super()._seen(identity, at_us)
        mark = self.mark
        if mark is None or not mark.ended(self.answer) or mark.profile is None:
            return event
        return msgspec.structs.replace(
            event,
            mark_profile=mark.profile.id,
            mark_epoch=mark.profile.epoch,
            mark_tokens=mark.tokens,
            mark_unats=round(mark.nats * 1e6),
        )

    def _settle(self, identity: Identity, ended_us: int, refund: bool) -> None:
        super()._settle(identity, ended_us, refund)
        mark = self.mark
        if mark is not None and mark.reason:
            marked = mark.ended(self.answer)
            self.core.tally.count(metrics.WATERMARKED, "marked" if marked else "unmarked", mark.reason)


class MarkedProxy(_Marked, ProxyExchange):
    """One request to a reverse proxy that marks answers."""

    __slots__ = ("_stage", "mark")

    changes: ClassVar[bool] = True

    def __init__(self, core: Core, upstream: Upstream, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, upstream, scope, receive, send)
        self.mark: RequestMark | None = None
        self._stage: Stage | None = None  # of a stream that is under way

    def _changed(self, filters: list[StreamFilter]) -> JsonObject | None:
        made = super()._changed(filters)
        marked = self._mark_request(self.body if made is None else made)
        self._conceals = self._conceals or self._changes_answer
        return made if marked is None else marked

    def _head_of_answer(self, connection: Connection) -> Headers:
        headers = super()._head_of_answer(connection)
        if self._stream and self._conceals and self.mark is not None:
            self._stage = self.mark.stage
        return headers

    def _can_be_whole(self, connection: Connection) -> bool:
        return (not self._conceals or self._at_once) and super()._can_be_whole(connection)

    @property
    def _at_once(self) -> bool:
        """A complete answer only loses the engine's report, if there is one in it: it needs no task of its own."""
        cap = self.cap
        return self.mark is not None and self.mark.light and (cap is None or cap.reasoning == "keep")

    def _taken(self, connection: Connection) -> bytes:
        raw = connection.take()
        staged = self._staged(raw) if self._conceals else raw
        if staged is not raw and self._headers is not None:
            self._headers = [pair for pair in self._headers if pair[0] != b"content-length"]
            self._headers.append((b"content-length", b"%d" % len(staged)))
        return staged

    def _for_client(self, raw: bytes) -> bytes:
        assert self.capture is not None
        staged = self._staged(raw)
        self.capture.feed(staged)
        return self._concealed(staged)

    async def _pass_on(self, data: bytes) -> None:
        if self._stage is not None:
            data = self._stage.pass_on(data)
            if not data:
                return
        await super()._pass_on(data)

    async def _last_bytes(self, data: bytes, whole: bool) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            data = stage.pass_on(data) + stage.flush()
        await super()._last_bytes(data, whole)


class MarkedInside(_Marked, InsideExchange):
    """An exchange in a middleware that marks answers."""

    __slots__ = ("_stage", "mark")

    changes: ClassVar[bool] = True

    def __init__(self, core: Core, app: Any, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, app, scope, receive, send)
        self.mark: RequestMark | None = None
        self._stage: Stage | None = None  # of a stream that is under way

    def _changed(self) -> JsonObject | None:
        made = super()._changed()
        marked = self._mark_request(self.body if made is None else made)
        self._conceals = self._conceals or self._changes_answer
        return made if marked is None else marked

    def _stream_filter(self) -> StreamFilter | None:
        if self.mark is not None:
            self._stage = self.mark.stage
        return super()._stream_filter()

    def _for_client(self, raw: bytes) -> bytes:
        staged = self._staged(raw)
        if staged and self.capture is not None:
            self.capture.feed(staged)
        return self._concealed(staged)

    async def _send(self, message: Message) -> None:
        stage = self._stage
        if stage is not None and message["type"] == "http.response.body":
            data = stage.pass_on(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                data += stage.flush()
            message = {**message, "body": data}
        await super()._send(message)
