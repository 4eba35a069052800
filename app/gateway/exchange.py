"""One request from its first byte to its event: the steps that the reverse proxy and the middleware share.

An object per request holds everything that belongs to it; the applications hold nothing that changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Refuse
from app.gateway import dialects
from app.gateway.body import parse_object
from app.gateway.capture import Capture
from app.gateway.core import Core, Message, Scope, linger
from app.gateway.dialects.shape import Answer, join_blocks
from app.gateway.guard import Head
from app.gateway.identity import Identity
from app.gateway.observe import event_from_exchange
from app.gateway.routes import OTHER, Route, classify
from app.limits.headers import rate_headers
from app.limits.limiter import Ask, Decision
from app.telemetry import metrics
from detectors.event import encode

log = logging.getLogger("stillwatch.gateway")

_LINGER_SEC = 2.0
_LONG_BODY_BYTES = 64 * 1024
_PART_TOKENS = 1000
"""Estimate for a part that is not text, such as an image, in a body too long to estimate by its bytes."""


class ClientGone(Exception):
    """The client has closed its connection."""


class Exchange:
    """State and steps of one request."""

    __slots__ = (
        "_late",
        "_task",
        "answer",
        "body",
        "body_read",
        "capture",
        "core",
        "decision",
        "gone",
        "head",
        "identity",
        "raw",
        "receive",
        "request_id",
        "route",
        "scope",
        "send",
        "started",
        "started_ns",
    )

    def __init__(self, core: Core, scope: Scope, receive: Any, send: Any) -> None:
        self.core = core
        self.scope = scope
        self.receive = receive
        self.send = send
        self.started_ns = time.perf_counter_ns()
        self.request_id = core.request_id()
        self.route: Route = OTHER
        self.head: Head | None = None
        self.identity: Identity | None = None
        self.decision: Decision | None = None
        self.raw = b""
        self.body: dict[str, Any] | None = None
        self.body_read = False
        self.gone = False
        self.started = False  # the head of the answer was sent
        self.answer = Answer()
        self.capture: Capture | None = None
        self._late = False
        self._task: asyncio.Task[Any] | None = None

    # Before forwarding

    async def admit(self) -> None:
        """Everything up to the decision.

        Raises:
            Refuse: the request is answered by us.
            ClientGone: nobody waits for an answer.
        """
        self.read_head()
        await self._read_body()
        ask = self.read_request()
        limiter = self.core.limiter
        if ask is not None and limiter is not None:
            before = time.perf_counter()
            self.abide_by(await limiter.decide(ask), before)

    def read_head(self) -> None:
        """Check the head and find out who calls.

        Raises:
            Refuse: a rule is broken, or the caller is unknown where that is not allowed.
        """
        core = self.core
        scope = self.scope
        route = self.route = classify(scope["method"], scope["path"])
        head = self.head = core.guard.read(scope)
        if head.content_length > core.max_body_bytes:
            raise self._too_large()
        self.identity = core.identifier.identify(head, route.dialect)

    def read_request(self) -> Ask | None:
        """Read the body that has arrived; what to ask the limiter, None without one.

        Raises:
            Refuse: the body is none that we and the upstream are sure to read the same way.
        """
        core = self.core
        route = self.route
        identity = self.identity
        assert identity is not None
        estimate = 0
        model = ""
        reserve = 0
        if route.json_body:
            body = self.body = parse_object(self.raw, core.max_json_depth)
            named = body.get("model")
            model = named[:64] if type(named) is str else ""
            estimate = self._estimate(body)
            reserve = dialects.max_output(route, body, core.default_output_tokens)
        self.capture = Capture(route, self.answer, estimate)
        if core.limiter is None:
            core.tally.decided(route.name, "allow")
            return None
        # Counting tokens generates nothing and reads nothing into the model, so only the request is charged.
        charged = 0 if route.name == "count_tokens" else estimate
        return Ask(
            key_id=identity.key_id,
            org_id=identity.org_id,
            plan=identity.plan,
            model=model,
            input_tokens=charged,
            output_tokens=reserve,
            request_id=self.request_id,
        )

    def abide_by(self, decision: Decision, before: float) -> None:
        """Take the decision that was asked for at `before` (`time.perf_counter`).

        Raises:
            Refuse: it is a no.
        """
        core = self.core
        self.decision = decision
        core.tally.decision_seconds.observe(time.perf_counter() - before)
        if decision.degraded:
            core.tally.fell_back(decision.degraded)
        if decision.shadow_would:
            core.tally.would_have(decision.shadow_would)
        if not decision.admitted:
            raise self._limited(decision)
        self.answer.decision = "throttled" if decision.throttled else "allow"
        core.tally.decided(self.route.name, self.answer.decision)

    async def _read_body(self) -> None:
        core = self.core
        self._task = asyncio.current_task()
        core.body_deadlines.set(self)
        parts: list[bytes] | None = None
        size = 0
        try:
            while True:
                message: Message = await self.receive()
                if message["type"] == "http.disconnect":
                    self.gone = True
                    raise ClientGone
                data: bytes = message.get("body", b"")
                size += len(data)
                if size > core.max_body_bytes:
                    raise self._too_large()
                if not message.get("more_body", False):
                    self.body_read = True
                    break
                if parts is None:
                    parts = []
                parts.append(data)
            if self._late:  # the deadline struck while the last part arrived; take the cancellation it sent
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self._late or self._task is None:
                raise
            self._task.uncancel()
            raise Refuse(wire_errors.TIMEOUT, "The request body did not arrive in time.", "body_time") from None
        finally:
            core.body_deadlines.clear(self)
        self.raw = data if parts is None else b"".join((*parts, data))

    def expired(self) -> None:
        """The body took too long."""
        self._late = True
        if self._task is not None:
            self._task.cancel()

    def _too_large(self) -> Refuse:
        limit = self.core.max_body_bytes
        return Refuse(wire_errors.TOO_LARGE, f"The request body is larger than {limit} bytes.", "body_bytes")

    def _estimate(self, body: dict[str, Any]) -> int:
        """Input tokens before anybody has counted them; trued up when the answer says."""
        raw = self.raw
        if len(raw) <= _LONG_BODY_BYTES:
            return len(raw) // 4
        # Long bodies are often images, whose bytes say nothing about tokens.
        messages = body.get("messages") or body.get("input") or body.get("prompt")
        if type(messages) is not list:
            return len(raw) // 4
        tokens = 0
        for message in messages:
            content = message.get("content") if type(message) is dict else message
            if type(content) is int:
                tokens += 1
                continue
            tokens += len(join_blocks(content)[0]) // 4
            if type(content) is list:
                tokens += _PART_TOKENS * sum(1 for part in content if type(part) is dict and "text" not in part)
        return tokens

    def _limited(self, decision: Decision) -> Refuse:
        self.answer.decision = "throttled" if decision.throttled else "limited"
        if decision.limited_by in ("unavailable", "state"):
            return Refuse(wire_errors.BUSY, "The service cannot decide about this request now.", "unavailable")
        limit = next((b.limit for b in decision.budgets if b.name == decision.limited_by), None)
        message = wire_errors.limit_message(
            decision.limited_by, decision.scope, decision.retry_after_ms, limit, oversized=decision.oversized
        )
        return Refuse(wire_errors.limit_kind(decision.limited_by, throttled=decision.throttled), message, "limit")

    # Our own answers

    async def refuse(self, refuse: Refuse) -> None:
        """Answer with a refusal in the caller's dialect."""
        core = self.core
        decision = self.decision
        dialect = self.route.dialect
        head = self.head
        details = None
        policies: tuple[str, ...] = ()
        limited = decision is not None and not decision.admitted
        passed = self.capture is not None and not limited  # admitted; the upstream is why there is no answer
        if limited and decision is not None:
            policies = (decision.limited_by,)
            if decision.throttled:
                details = {"error_code": "ramp_limit_exceeded"}
        elif not passed:
            core.tally.rejected(refuse.why)
            self.answer.decision = "refused"
        if not passed:
            core.tally.decided(self.route.name, self.answer.decision)
        error = wire_errors.render(
            refuse.kind,
            refuse.message,
            dialect=dialect,
            request_id=self.request_id,
            accept=head.accept if head is not None else b"",
            details=details,
            policies=policies,
        )
        headers = error.headers
        if limited and decision is not None:
            headers.extend(rate_headers(decision, dialect))
        core.tally.answered(self.route.name, error.status)
        if error.status >= 500:
            core.tally.own_error(refuse.why)
        self.answer.status = error.status
        self.answer.outcome = "upstream_error" if passed else "refused"
        self.answer.error = refuse.kind.anthropic_type if dialect == "anthropic" else refuse.kind.openai_type
        await self.answer_with(error)

    async def answer_with(self, error: wire_errors.WireError) -> None:
        """Send a finished answer; if the client is still sending its body, hear it out for a moment first."""
        headers = error.headers
        unread = not self.body_read
        if unread:
            headers.append((b"connection", b"close"))
        self.started = True
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": error.body, "more_body": unread})
        if unread:
            if not self.gone:
                await linger(self.receive, _LINGER_SEC, 2 * self.core.max_body_bytes)
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    # After the answer

    def settle(self, *, refund: bool = False) -> None:
        """Account for the exchange and log it, with others at the end of this turn of the loop. Never raises."""
        core = self.core
        if self.identity is not None and (self.decision is not None or core.limiter is None):
            self.answer.latency_us = (time.perf_counter_ns() - self.started_ns) // 1000
            core.settling.add(partial(self._settle, self.identity, time.time_ns() // 1000, refund))

    def _settle(self, identity: Identity, ended_us: int, refund: bool) -> None:
        """The client has its answer already, so whatever fails here is only counted."""
        core = self.core
        decision = self.decision
        answer = self.answer
        try:
            if self.capture is not None:
                self.capture.close()
            event = self._event(identity, ended_us - answer.latency_us) if core.log_events else None
        except Exception:
            log.exception("an exchange could not be turned into an event")
            core.tally.count(metrics.EVENTS_DROPPED, "build")
            event = None
        core.tally.ended(answer.outcome)
        core.tally.input_tokens += answer.input_tokens
        core.tally.output_tokens += answer.output_tokens
        if decision is not None and core.limiter is not None:
            core.limiter.settle(
                decision.reservation,
                input_tokens=answer.input_tokens - answer.uncharged_input,
                output_tokens=answer.output_tokens,
                event=event,
                refund=refund,
            )
        elif event is not None and core.events is not None:
            core.events.append(event, core.partition(identity))

    def _event(self, identity: Identity, at_us: int) -> bytes:
        core = self.core
        head = self.head
        answer = self.answer
        return encode(
            event_from_exchange(
                event_id=self.request_id,
                at_us=at_us,
                identity=identity,
                place=core.identifier.place(head.ip if head is not None else ""),
                route=self.route,
                body=self.body,
                headers=self.scope["headers"],
                answer=answer,
                limits=core.text_limits,
            )
        )
