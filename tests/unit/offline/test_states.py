"""The table of entity states: a dictionary whose cold part lies on disk."""

from __future__ import annotations

import pytest

from app.offline.states import StateTable
from detectors.analysis import EntityState
from detectors.profile import Profile


def _state(name: str, exchanges: int = 0) -> EntityState:
    return EntityState(Profile.new(name, "key"), exchanges=exchanges)


def test_it_behaves_as_a_dictionary_whatever_is_on_disk() -> None:
    """Reads, writes, deletions, length and order do not depend on where a state lies."""
    table = StateTable(10)
    for number in range(100):
        table["key", f"k{number:02}"] = _state(f"k{number:02}", number)
        table.trim()
    table["key", "k03"] = _state("k03", 300)  # on disk until now
    del table["key", "k04"], table["key", "k99"]
    with pytest.raises(KeyError):
        table["key", "k04"]
    with pytest.raises(KeyError):
        del table["key", "k04"]
    assert len(table) == 98
    assert list(table) == sorted(table)
    assert {name: state.exchanges for name, state in table.items()} == {
        ("key", f"k{number:02}"): 300 if number == 3 else number for number in range(100) if number not in (4, 99)
    }
    table.close()


def test_a_state_that_was_changed_comes_back_as_it_was_left() -> None:
    """Eviction writes the present state, not the one that was read."""
    table = StateTable(2)
    for number in range(6):
        table["key", f"k{number}"] = _state(f"k{number}")
    table.trim()
    table["key", "k0"].exchanges = 7
    for number in range(1, 6):
        assert table["key", f"k{number}"].exchanges == 0
        table.trim()
    assert table["key", "k0"].exchanges == 7
    table.close()


def test_memory_holds_no_more_than_the_limit() -> None:
    """After `trim` at most the limit are objects, and the least recently used ones went."""
    table = StateTable(50)
    for number in range(500):
        table["key", f"k{number:03}"] = _state(f"k{number:03}")
        table.trim()
        assert len(table._hot) <= 50
    assert ("key", "k499") in table._hot
    assert ("key", "k000") not in table._hot
    table.close()
