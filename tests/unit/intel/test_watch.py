"""What is looked for, and what one member may make of it."""

from __future__ import annotations

import uuid

import pytest

from app.gateway.identity import Hasher
from app.intel.networks import MOST_PREFIXES, Places
from app.intel.watch import Watch
from app.state.intel_indicators import Held, Word
from detectors.sharing.indicator import DAY_US, Indicator

NOW = 1_800_000_000_000_000


def _wide(number: int, owner: str) -> Held:
    """An indicator of so many networks as are looked for at all."""
    networks = tuple(f"{20 + number}.{16 * part}.0.0/16" for part in range(16))
    name = f"indicator--{uuid.UUID(int=number, version=4)}"
    one = Indicator(name, "network", networks, NOW, NOW + DAY_US)
    return Held(one, "labs", owner, NOW, "green", (Word(owner, NOW, NOW),))


def test_wide_networks_of_one_member_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each /24 costs a keyed hash: beyond a number of them the rest of one member's networks is not looked for."""
    monkeypatch.setattr("app.intel.watch.MOST_MARKS", MOST_PREFIXES + 1)
    held = [*(_wide(number, "liar") for number in range(6)), _wide(6, "acme")]
    places = Places(Hasher("a pepper of the tests"))
    watch = Watch(held, {}, {}, places, lambda one: one, NOW)
    assert len(watch) == 3
    assert {watch.held[f"labs {one.id}"].owner for one in watch.indexes["labs"].indicators} == {"liar", "acme"}
