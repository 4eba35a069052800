"""Serve one request by the steps of `app.gateway.forward`: in a task, or in the fast lane without one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Refuse
from app.gateway.core import Core, Scope
from app.gateway.exchange import ClientGone
from app.gateway.forward import ForwardExchange
from app.gateway.upstream import Connection, Upstream
from app.limits.limiter import Decision


class ProxyExchange(ForwardExchange):
    """One request to the reverse proxy."""

    __slots__ = ("_before", "_deciding", "_tasked", "_watcher")

    def __init__(self, core: Core, upstream: Upstream, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, upstream, scope, receive, send)
        self._watcher: asyncio.Task[None] | None = None
        self._tasked = True
        self._deciding: Coroutine[Any, Any, Decision] | None = None
        self._before = 0.0

    async def run(self) -> None:
        """Serve the request; returns when the answer, or a refusal, has been sent."""
        self._enter()
        await self._serve(self._everything)

    async def _everything(self) -> None:
        await self.admit()
        if self._link is None:
            self._watcher = asyncio.create_task(self._watch())
        await self._forward()

    def _enter(self) -> None:
        self.core.active.add(self)
        if self._link is not None:
            self._link.watcher = self

    def _leave(self, refund: bool) -> None:
        if self._link is not None:
            self._link.watcher = None
        elif self._watcher is not None:
            self._watcher.cancel()
        connection = self._connection
        if connection is not None:
            self._connection = None
            connection.abandon()
            self._upstream.release(connection)
        self.core.active.discard(self)
        if self.capture is not None:
            self.settle(refund=refund)

    async def _serve(self, steps: Callable[[], Awaitable[None]]) -> None:
        """Do the steps, and whatever has to follow their end."""
        refund = False
        try:
            await steps()
        except Refuse as refuse:
            refund = self.decision is not None and self.decision.admitted
            await self.refuse(refuse)
        except ClientGone:
            self.answer.outcome = "disconnected"
            refund = not self.started
        except asyncio.CancelledError:
            # The server is shutting down and its grace is over.
            self.answer.outcome = "disconnected" if self.gone else "upstream_cut"
            if self._stream and not self.gone:
                await self._end_stream(wire_errors.BUSY, "The service is restarting; please try again.")
            raise
        except Exception:
            self.core.tally.own_error("internal")
            raise
        finally:
            self._leave(refund)

    # The fast lane: the same steps as calls. A task per request, and its waking, cost more than most of them. Whatever is
    # not an ordinary whole answer on a connection that is open goes on in a task, which never comes back here.

    def start(self, raw: bytes) -> None:
        """Serve a request with this body; returns when it was sent on, or is in other hands."""
        self._tasked = False
        self._enter()
        assert self._link is not None
        self._link.without_task(self)
        try:
            self.read_head()
            self._take_body(raw)
            ask = self.read_request()
            limiter = self.core.limiter
            if ask is None or limiter is None:
                self._send_on()
                return
            self._before = time.perf_counter()
            self._deciding = limiter.decide(ask)
            self._decide()
        except Exception as error:
            self._go_on(partial(_fail, error))

    def _decide(self, _: object = None) -> None:
        """Drive the decision to the future it waits for, and on from there when that is done."""
        deciding = self._deciding
        if deciding is None:
            return
        try:
            waits_for: asyncio.Future[Any] = deciding.send(None)
        except StopIteration as stop:
            self._deciding = None
            try:
                self.abide_by(stop.value, self._before)
                self._send_on()
            except Exception as error:
                self._go_on(partial(_fail, error))
        except Exception as error:
            self._deciding = None
            self._go_on(partial(_fail, error))
        else:
            waits_for._asyncio_future_blocking = False  # what a task does to say that it has seen it
            waits_for.add_done_callback(self._decide)

    def _send_on(self) -> None:
        ordinary = not self.gone and self.cap is None
        connection = self._upstream.take_idle() if ordinary else None
        if connection is None:
            self._go_on(self._forward)
            return
        self._connection = connection  # before the request is made: where that is refused, it is given back
        body, head = self._request()
        connection.listener = self
        connection.send(head, body, self.scope["method"] == "HEAD")

    def stirred(self) -> None:
        """Something has come from the upstream, or nothing will any more."""
        connection = self._connection
        if connection is None or self._tasked:
            return
        try:
            if connection.status and self._headers is None:
                self._headers = self._head_of_answer(connection)
            if self._can_be_whole(connection) and not connection.failed:
                if connection.complete:
                    self._send_whole(connection)
            elif connection.status or connection.failed:
                self._go_on(partial(self._follow, connection))
        except Exception as error:
            self._go_on(partial(_fail, error))

    def _send_whole(self, connection: Connection) -> None:
        rest = self._whole(connection)
        if rest is not None:
            self._go_on(partial(self._by_messages, rest))
            return
        assert self._link is not None
        self._link.done_without_task(self)
        self._leave(False)

    def _go_on(self, rest: Callable[[], Awaitable[None]]) -> None:
        """Into a task."""
        link = self._link
        assert link is not None
        assert self._cycle is not None
        if self._connection is not None:
            self._connection.listener = None
        self._tasked = True
        link.done_without_task(self)
        link.go_on(self._cycle, partial(self._serve, rest))

    def cancel(self, msg: object = None) -> bool:
        """Called by the server when its grace is over, in place of a task's."""
        asyncio.get_running_loop().call_soon(self._cancelled, msg)
        return True

    def _cancelled(self, msg: object) -> None:
        if self._tasked or self not in self.core.active:
            return
        deciding, self._deciding = self._deciding, None
        if deciding is not None:
            with contextlib.suppress(asyncio.CancelledError):
                deciding.throw(asyncio.CancelledError(msg))
        self._go_on(partial(_fail, asyncio.CancelledError(msg)))

    async def _watch(self) -> None:
        """Wait for the client to leave, under servers that only tell those who ask."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.client_gone()
                return


async def _fail(error: BaseException) -> None:
    raise error
