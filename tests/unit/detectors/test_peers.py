"""Peer groups: plan, age and workload, with wider groups to fall back on."""

from __future__ import annotations

import pytest

from detectors.peers import WORKLOADS, age_band, groups, workload

NOTHING = dict.fromkeys(
    ("answered", "embeddings", "completions", "tools", "single_turn", "short", "templated", "out_in"), 0.0
)


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (None, "unknown"),
        (0.0, "new"),
        (6.99, "new"),
        (7.0, "young"),
        (29.9, "young"),
        (30.0, "settled"),
        (4000.0, "settled"),
    ],
)
def test_age_bands(age: float | None, band: str) -> None:
    """Under a week, under a month, older, unknown."""
    assert age_band(age) == band


@pytest.mark.parametrize(
    ("shares", "kind"),
    [
        ({"answered": 0.9}, "idle"),
        ({"embeddings": 0.6}, "embed"),
        ({"completions": 0.6}, "complete"),
        ({"tools": 0.6, "single_turn": 1.0}, "agent"),
        ({"short": 0.9, "out_in": 0.01, "single_turn": 1.0}, "extract"),
        ({"short": 0.9, "out_in": 0.5, "single_turn": 1.0}, "ask"),
        ({"single_turn": 0.9, "templated": 0.9, "out_in": 2.0}, "batch"),
        ({"single_turn": 0.9, "templated": 0.2, "out_in": 2.0}, "ask"),
        ({"single_turn": 0.5, "out_in": 2.0}, "chat"),
    ],
)
def test_the_workload_is_read_off_the_shape(shares: dict[str, float], kind: str) -> None:
    """Routes, tools, lengths and turns decide, in this order."""
    assert workload({**NOTHING, "answered": 10.0, **shares}) == kind
    assert kind in WORKLOADS


def test_the_workload_knows_no_intent() -> None:
    """A harvester is compared with honest customers of its shape, so nothing that scorers judge is read."""
    read: set[str] = set()

    class Recorder(dict[str, float]):
        def __getitem__(self, name: str) -> float:
            read.add(name)
            return super().__getitem__(name)

    workload(Recorder({**NOTHING, "answered": 10.0, "single_turn": 1.0}))
    assert read <= set(NOTHING)


def test_groups_go_from_the_most_specific_to_all() -> None:
    """Plan and age and workload, then age and workload, then workload, then everybody."""
    assert groups("team", 3.0, "chat") == ("team/new/chat", "*/new/chat", "*/*/chat", "all")
    assert groups("", None, "ask")[0] == "none/unknown/ask"
