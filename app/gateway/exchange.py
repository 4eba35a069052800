"""One request from its first byte to its event: the steps that the reverse proxy and the middleware share.

An object per request holds everything that belongs to it; the applications hold nothing that changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial
from typing import Any

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Kind, Refuse
from app.gateway import dialects
from app.gateway.body import parse_object
from app.gateway.capture import Capture
from app.gateway.core import Core, Message, Scope, linger
from app.gateway.dialects.shape import Answer
from app.gateway.estimate import input_estimate
from app.gateway.guard import Head
from app.gateway.identity import Identity
from app.gateway.observe import event_from_exchange
from app.gateway.refusals import refusal_of
from app.gateway.routes import OTHER, Route, classify
from app.limits.headers import rate_headers
from app.limits.limiter import Ask, Decision
from app.settings import CapRule
from app.telemetry import metrics
from detectors.event import Event, encode

log = logging.getLogger("stillwatch.gateway")

_LINGER_SEC = 2.0


class ClientGone(Exception):
    """The client has closed its connection."""


class Exchange:
    """State and steps of one request."""

    __slots__ = (
        "_last",
        "_late",
        "_stream",
        "_task",
        "answer",
        "body",
        "body_read",
        "cap",
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
        "stopping",
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
        self.cap: CapRule | None = None  # what this request may not use
        self.stopping: Refuse | None = None  # its key was suspended after it had begun
        self._stream = False  # the answer is an event stream
        self._last = b""  # bytes of it that were sent last
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
        if core.losing is not None and core.losing():
            raise Refuse(wire_errors.BUSY, "The service cannot record this request now.", "unlogged")
        estimate = 0
        model = ""
        reserve = 0
        if route.json_body:
            body = self.body = parse_object(self.raw, core.max_json_depth)
            named = body.get("model")
            model = named[:64] if type(named) is str else ""
            estimate = input_estimate(self.raw, body)
            reserve = dialects.max_output(route, body, core.default_output_tokens)
        self.capture = Capture(route, self.answer, estimate)
        if core.limiter is None:
            self.pass_unlimited(identity.key_id)
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
        if decision.action:
            self._take_note(decision)
        if not decision.admitted:
            raise self._refused(decision)
        if self.stopping is not None:
            raise self.stopping
        self.answer.decision = "throttled" if decision.throttled else "allow"
        core.tally.decided(self.route.name, self.answer.decision)

    def pass_unlimited(self, key_id: str) -> None:
        """Where nothing is limited, only a person's block counts.

        Raises:
            Refuse: there is one.
        """
        core = self.core
        order = core.control.order(key_id)
        if order is not None and not core.control.kill and order.blocks(time.time_ns() // 1000):
            decision = Decision(False, blocked=True, action=order.action, effect="enforced", ref=order.ref)
            self.abide_by(decision, time.perf_counter())
        core.tally.decided(self.route.name, "allow")

    def _take_note(self, decision: Decision) -> None:
        """An action touches this request, or would."""
        core = self.core
        action = decision.action
        core.tally.acted(action, decision.effect)
        if decision.effect == "enforced":
            self.answer.action = action
            if action == "cap":
                self.cap = core.control.policy.cap
        else:
            self.answer.action = f"would_{decision.shadow_would or action}"
            if decision.shadow_would:
                core.tally.would_have(decision.shadow_would)

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

    def _refused(self, decision: Decision) -> Refuse:
        policy = self.core.control.policy
        refuse = refusal_of(decision, policy)
        self.answer.decision = "throttled" if decision.throttled else "limited"
        if decision.action == "suspend" and decision.blocked and policy.stop_streams:
            self.core.stop_others(self.key_id, refuse)
        return refuse

    # When the key is suspended while it is served

    @property
    def key_id(self) -> str:
        """Whose request it is; "" while that is not known."""
        return self.identity.key_id if self.identity is not None else ""

    def stop(self, refuse: Refuse) -> None:
        """The key was suspended: end this exchange within moments, by the refusal that a new request would get."""
        self.stopping = self.stopping or refuse

    # Our own answers

    async def refuse(self, refuse: Refuse) -> None:
        """Answer with a refusal in the caller's dialect."""
        core = self.core
        decision = self.decision
        dialect = self.route.dialect
        head = self.head
        policies: tuple[str, ...] = ()
        blocked = refuse.action != ""
        admitted = decision is not None and decision.admitted
        limited = decision is not None and not admitted and not blocked
        passed = self.capture is not None and not limited and not blocked  # the upstream is why there is no answer
        if limited and decision is not None:
            policies = (decision.limited_by,)
        elif blocked:
            self.answer.decision, self.answer.action = "blocked", refuse.action
        elif not passed:
            core.tally.rejected(refuse.why)
            self.answer.decision = "refused"
        if not passed and not admitted:
            core.tally.decided(self.route.name, self.answer.decision)
        error = wire_errors.render(
            refuse.kind,
            refuse.message,
            dialect=dialect,
            request_id=self.request_id,
            accept=head.accept if head is not None else b"",
            details=refuse.details,
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
        self.answer.error = refuse.kind.name_in(dialect)
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

    # The end of a stream that cannot go on

    async def _stopped(self, refuse: Refuse) -> None:
        """The key was suspended in the middle of a stream: it ends with the words a new request would get."""
        answer = self.answer
        answer.outcome = "stopped"
        answer.error = refuse.kind.name_in(self.route.dialect)
        answer.decision, answer.action = "blocked", refuse.action
        await self._end_stream(refuse.kind, refuse.message, refuse.details)

    async def _end_stream(self, kind: Kind, message: str, details: dict[str, str] | None = None) -> None:
        route = self.route
        event = wire_errors.stream_error(
            kind, message, dialect=route.dialect, route=route.name, request_id=self.request_id, details=details
        )
        if self._last and not self._last.endswith((b"\n\n", b"\r\n\r\n")):
            event = b"\n\n" + event  # the cut was inside an event; close it first
        with contextlib.suppress(OSError, RuntimeError):
            await self.send({"type": "http.response.body", "body": event, "more_body": False})

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
            event = encode(self._seen(identity, ended_us - answer.latency_us)) if core.log_events else None
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

    def _seen(self, identity: Identity, at_us: int) -> Event:
        """The exchange as the detectors see it."""
        core = self.core
        head = self.head
        return event_from_exchange(
            event_id=self.request_id,
            at_us=at_us,
            identity=identity,
            place=core.identifier.place(head.ip if head is not None else ""),
            route=self.route,
            body=self.body,
            headers=self.scope["headers"],
            answer=self.answer,
            limits=core.text_limits,
        )
