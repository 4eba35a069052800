"""The map of a Cluster as its nodes tell it."""

from __future__ import annotations

import pytest

from app.simulate.state_servers import SLOTS
from app.state.cluster import _place, _read_map, slot_of

INFO = b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:7\r\n"
WANTED = frozenset((0, 5461, 16383))


def test_masters_replicas_and_how_new_the_map_is() -> None:
    """Each wanted slot has its master, every node is known, and a node without an address is the one that was asked."""
    slots = [
        [0, 5460, [b"10.0.0.1", 7000, b"id1", []], [b"10.0.0.4", 7003, b"id4", []]],
        [5461, 16382, [None, 7001, b"id2"]],
        [16383, 16383, [b"node.example", 7002, b"id3", [b"ip", b"10.0.0.3"]]],
    ]
    found = _read_map(INFO, slots, "10.0.0.2", WANTED)
    assert found.masters == {0: ("10.0.0.1", 7000), 5461: ("10.0.0.2", 7001), 16383: ("node.example", 7002)}
    assert found.nodes == {("10.0.0.1", 7000), ("10.0.0.4", 7003), ("10.0.0.2", 7001), ("node.example", 7002)}
    assert (found.fit, found.epoch) == (True, 7)


def test_a_slot_without_a_master_is_missing() -> None:
    """Nobody is guessed to have it."""
    assert _read_map(INFO, [[1, 9, [b"a", 1, b"id"]]], "h", WANTED).masters == {}


@pytest.mark.parametrize(
    ("info", "slots"),
    [(b"", []), (b"cluster_state:ok\r\n", []), (INFO, [1]), (INFO, [[0, 1, []]]), (INFO, [[0, 1, 2]]), (b"\xff", [])],
)
def test_what_is_no_map_is_an_error_that_is_expected(info: bytes, slots: list[object]) -> None:
    """Whatever a node answers, the watch over the Cluster goes on with the map it has."""
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        _read_map(info, slots, "h", WANTED)


@pytest.mark.parametrize(
    ("text", "place"),
    [("10.0.0.1:7000", ("10.0.0.1", 7000)), ("::1:7000", ("::1", 7000)), (":7000", None), ("a:", None), ("", None)],
)
def test_where_a_redirection_points(text: str, place: tuple[str, int] | None) -> None:
    """The port is behind the last colon; what names no host points nowhere, and the map is asked for."""
    assert _place(text) == place


def test_partitions_are_spread_over_the_slots() -> None:
    """A thousand partitions have about as many slots, and each third of the slots has about a third of them."""
    slots = [slot_of(number) for number in range(1024)]
    assert len(set(slots)) == 1024
    thirds = [sum(slot * 3 // SLOTS == third for slot in slots) for third in range(3)]
    assert min(thirds) > 300
