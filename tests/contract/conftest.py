"""Gateways in front of the simulated model API, for the official SDKs to talk to."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.simulate.rig import Rig, RunningGateway


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
