"""Gateways in front of the simulated model API, for the official SDKs to talk to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.enforcement.policy import Action, encode_verdict
from app.enforcement.rules import FixedRules
from app.limits.limiter import Limiter
from app.settings import ActionName, ActionRule, EnforcementSettings, Settings
from app.simulate.rig import Rig, RunningGateway
from app.state.events import EventLog
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """The simulated API and a thread for gateways, once per process."""
    made = Rig()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def gateway(rig: Rig) -> RunningGateway:
    """A gateway with the default settings and no limits."""
    return rig.gateway()


@pytest.fixture(scope="session")
def injecting(rig: Rig) -> RunningGateway:
    """A gateway whose upstream accepts include_usage."""
    return rig.gateway(sections={"gateway": {"upstream_accepts_include_usage": True}})


class Rules(FixedRules):
    """Rules whose orders a test gives while the gateway runs."""

    def __init__(self, policy: EnforcementSettings) -> None:
        super().__init__(policy)
        self.orders: dict[str, Action] = {}
        self._listeners: list[Callable[[], None]] = []

    def order(self, key_id: str) -> Action | None:
        """The order of a test."""
        return self.orders.get(key_id)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """To be told."""
        self._listeners.append(changed)

    def tell(self) -> None:
        """Something has changed."""
        for changed in self._listeners:
            changed()


class Ladder:
    """A gateway with the real limiter, on which actions are taken."""

    def __init__(self, rig: Rig, redis_url: str, folder: Path) -> None:
        self._rig, self._url, self._folder = rig, redis_url, folder
        self._services: list[Any] = []
        policy = {
            "mode": "enforce",
            "automatic_up_to": "suspend",
            "step_up_url": "https://provider.example/verify",
            "appeal_url": "https://provider.example/appeal",
        }
        self.rules = Rules(EnforcementSettings.model_validate(policy))
        self.gateway = self.start()

    def start(self, upstream: str = "", **rule: Any) -> RunningGateway:
        """Another gateway, over this model API and with these budgets for each key."""
        sections = {"limits": {"plans": {"default": {"key": rule}}}}
        settings = Settings.model_validate(sections)

        async def services() -> tuple[EventLog, Limiter]:
            events = EventLog(self._url, settings.state, self._folder / f"spool{len(self._services)}")
            limiter = Limiter(settings, self._url, events, self.rules)
            await events.start()
            await limiter.start()
            return events, limiter

        events, limiter = self._rig.thread.call(services())
        self._services += [limiter, events]
        return self._rig.gateway(upstream=upstream, sections=sections, limiter=limiter, events=events, control=self.rules)

    def act(self, credential: str, action: ActionName, **rule: Any) -> None:
        """What a worker's commit leaves for the next decision."""
        key_id = self.gateway.key_id(credential)
        text = encode_verdict(Level.SUSPECT, ActionRule(action=action, **rule), time.time_ns() // 1000, ref="sw-a")
        with redis.Redis.from_url(self._url) as client:
            client.set(PartitionKeys(partition_of(key_id, 16)).verdict(key_id), text, ex=1000)

    def suspend(self, credential: str) -> None:
        """A person's order, as the control plane tells of it."""
        until_us = time.time_ns() // 1000 + 60_000_000
        key_id = self.gateway.key_id(credential)
        self.rules.orders[key_id] = Action(Level.SUSPECT, "suspend", 1.0, None, until_us, "person", "sw-b")
        self._rig.thread.loop.call_soon_threadsafe(self.rules.tell)

    def close(self) -> None:
        """The limiters before their event logs."""
        for service in self._services:
            self._rig.thread.call(service.stop())


@pytest.fixture
def ladder(rig: Rig, redis_db: str, tmp_path: Path) -> Iterator[Ladder]:
    """A gateway on which actions are taken."""
    made = Ladder(rig, redis_db, tmp_path)
    yield made
    made.close()


@pytest.fixture
def key() -> str:
    """A credential of its own for each test, by which its calls and events are found."""
    return f"sk-{uuid.uuid4().hex}"


@pytest.fixture
def calls(rig: Rig, key: str) -> Callable[[], list[Any]]:
    """The calls that reached the simulated API with this test's credential."""

    def find() -> list[Any]:
        return [
            call
            for call in rig.api.calls
            if key in call.headers.get("authorization", "") + call.headers.get("x-api-key", "")
        ]

    return find
