"""What every request of one gateway shares. Made once from the settings, immutable afterwards."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.enforcement.rules import FixedRules, Rules
from app.enforcement.wire_errors import Refuse, blocked
from app.errors import ConfigError
from app.gateway.batch import Batch
from app.gateway.deadlines import Deadlines
from app.gateway.guard import Guard
from app.gateway.identity import Accounts, Identifier, Identity, Overlap
from app.gateway.networks import Networks
from app.gateway.observe import TextLimits
from app.gateway.tally import Tally
from app.settings import Settings
from app.state.keys import partition_of
from app.telemetry import metrics

if TYPE_CHECKING:
    from app.gateway.marking import Marking
    from app.limits.limiter import Ask, Decision


class Limits(Protocol):
    """Decides and settles; `app.limits.limiter.Limiter` is one."""

    def decide(self, ask: Ask) -> Coroutine[Any, Any, Decision]:
        """Charge a request, or refuse it."""
        ...

    def settle(
        self, reservation: Any, *, input_tokens: int, output_tokens: int, event: bytes | None, refund: bool = False
    ) -> None:
        """True up what was reserved and append the event; returns at once."""
        ...


class EventSink(Protocol):
    """Takes events when nothing is limited; `app.state.events.EventLog` is one."""

    def append(self, event: bytes, partition: int, settle: Any = None) -> None:
        """Append one event; returns at once."""
        ...


class Running(Protocol):
    """An exchange that is being served."""

    @property
    def key_id(self) -> str:
        """Whose it is; "" while that is not known."""
        ...

    def stop(self, refuse: Refuse) -> None:
        """End it within moments; returns at once."""
        ...


def _no_group(tenant: str) -> str:
    return ""


_STOP_EVERY_SEC = 1.0
_STOPPED_REMEMBERED = 10_000


class Core:
    """The compiled rules and the shared services."""

    __slots__ = (
        "_counter",
        "_prefix",
        "_stopped",
        "active",
        "body_deadlines",
        "control",
        "default_output_tokens",
        "events",
        "guard",
        "identifier",
        "inject_usage",
        "limiter",
        "log_events",
        "losing",
        "marking",
        "max_body_bytes",
        "max_json_depth",
        "partitions",
        "settling",
        "tally",
        "text_limits",
    )

    def __init__(
        self,
        settings: Settings,
        *,
        limiter: Limits | None = None,
        accounts: Accounts | None = None,
        events: EventSink | None = None,
        networks: Networks | None = None,
        overlap: Overlap | None = None,
        control: Rules | None = None,
        losing: Callable[[], bool] | None = None,
        mark_group: Callable[[str], str] = _no_group,
    ) -> None:
        gateway = settings.gateway
        if not settings.identity.pepper.get_secret_value():
            raise ConfigError("identity.pepper must be set: it protects the hashes of keys and addresses")
        self.guard = Guard(gateway, settings.identity)
        self.identifier = Identifier(settings.identity, accounts, networks, overlap)
        self.limiter = limiter if gateway.enforce_limits else None
        self.events = events
        self.control: Rules = control or FixedRules(settings.enforcement)
        self.log_events = gateway.log_events
        self.losing = losing  # no request may pass while events are lost; None: that is no reason
        self.text_limits = TextLimits(gateway.text_head_chars, gateway.text_tail_chars)
        self.marking: Marking | None = None  # None: answers are not marked
        if settings.watermark.on:
            from app.gateway.marking import Marking

            self.marking = Marking.configured(settings.watermark, mark_group)
        self.max_body_bytes = gateway.max_body_bytes
        self.max_json_depth = gateway.max_json_depth
        self.default_output_tokens = settings.limits.default_output_tokens
        self.inject_usage = gateway.upstream_accepts_include_usage
        self.partitions = settings.state.partitions
        self.body_deadlines = Deadlines(gateway.body_timeout_sec)
        self.tally = Tally()
        self.settling = Batch()
        self.active: set[Running] = set()
        self._stopped: dict[str, float] = {}  # key id → when its exchanges were looked for last
        self.control.subscribe(self._orders_changed)
        metrics.INFLIGHT.set_function(self.active.__len__)
        # Unique over processes by the random prefix, and cheap by the counter.
        self._prefix = os.urandom(8).hex()
        self._counter = itertools.count(1)

    def request_id(self) -> str:
        """A new request id, 28 hex characters."""
        return f"{self._prefix}{next(self._counter):012x}"

    def stop_others(self, key_id: str, refuse: Refuse) -> None:
        """End what else runs for a key that turned out to be suspended; looked for at most once a second."""
        now = time.monotonic()
        if len(self.active) < 2 or now - self._stopped.get(key_id, -_STOP_EVERY_SEC) < _STOP_EVERY_SEC:
            return
        if len(self._stopped) >= _STOPPED_REMEMBERED:
            self._stopped.clear()
        self._stopped[key_id] = now
        for running in [running for running in self.active if running.key_id == key_id]:
            running.stop(refuse)

    def _orders_changed(self) -> None:
        """An order may be new: end what runs for keys that are suspended now."""
        control = self.control
        if not self.active or control.kill or not control.policy.stop_streams:
            return
        now_us = time.time_ns() // 1000
        for running in list(self.active):
            order = control.order(running.key_id)
            if order is not None and order.action == "suspend" and order.blocks(now_us):
                running.stop(blocked("suspend", order.ref, control.policy.appeal_url))

    def partition(self, identity: Identity) -> int:
        """Partition of a caller's account root."""
        return partition_of(identity.org_id or identity.key_id, self.partitions)


Message = dict[str, Any]
Scope = dict[str, Any]
HeaderList = Sequence[tuple[bytes, bytes]]


async def linger(receive: Any, seconds: float, max_bytes: int) -> None:
    """Read and forget what a client still sends after it was refused.

    Closing a connection with unread bytes makes the kernel reset it, and the client never sees the refusal.
    """
    left = max_bytes
    try:
        async with asyncio.timeout(seconds):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return
