"""The states a worker keeps in memory: least recently used, and never ahead of what is stored."""

from __future__ import annotations

from typing import Any

from app.worker.hot import HotStates


def _state(name: str) -> Any:
    return f"state of {name}"


def _states(*names: str) -> dict[tuple[str, str], Any]:
    return {("key", name): _state(name) for name in names}


def test_a_state_is_taken_once() -> None:
    """What was taken and not put back is gone: after a failed commit only the stored copy is true."""
    hot = HotStates(10)
    hot.put(_states("a", "b"))
    assert hot.take([("key", "a"), ("key", "c")]) == _states("a")
    assert hot.take([("key", "a")]) == {}
    assert len(hot) == 1


def test_a_key_and_an_organisation_of_one_name_are_two() -> None:
    """Kind and id together name an entity."""
    hot = HotStates(10)
    hot.put({("key", "x"): _state("key"), ("org", "x"): _state("org")})
    assert hot.take([("org", "x")]) == {("org", "x"): _state("org")}
    assert len(hot) == 1


def test_the_longest_unused_go_first() -> None:
    """Beyond the capacity, and being put back counts as use."""
    hot = HotStates(3)
    hot.put(_states("a", "b", "c"))
    hot.put(hot.take([("key", "a")]))
    hot.put(_states("d"))
    assert len(hot) == 3
    assert hot.take([("key", name) for name in "abcd"]).keys() == _states("a", "c", "d").keys()


def test_a_batch_larger_than_the_capacity_keeps_its_newest() -> None:
    """Memory is bounded whatever one batch touches."""
    hot = HotStates(2)
    hot.put(_states("a", "b", "c"))
    assert hot.take([("key", name) for name in "abc"]).keys() == _states("b", "c").keys()


def test_clear_forgets_everything() -> None:
    """As when a partition was lost."""
    hot = HotStates(2)
    hot.put(_states("a"))
    hot.clear()
    assert len(hot) == 0
