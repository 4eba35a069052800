"""The adaptive attacker study: worlds, trace changes, what counts as found, and the cost at which half is found."""

from __future__ import annotations

import gzip
import json
import tomllib
from math import inf
from pathlib import Path

import numpy as np
import pytest

from benchmarks.campaign_evasion import ablate, tables
from benchmarks.campaign_evasion.linkage import Operation, judged
from benchmarks.campaign_evasion.multiplier import crossing, multiplier
from benchmarks.campaign_evasion.settings import BASES, NAIVE, settings, world
from benchmarks.campaign_evasion.stage import Played, keep
from detectors.campaign.contract import Campaign, Evidence, Member
from detectors.campaign.statistics import CROWD_OVERLAP, content_counts
from detectors.campaign.trace import MARK_DTYPE, Kind, Trace, marks_of
from detectors.contract import Level
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import WIDTH

FRAME = """
start = 1770163200
response_text_share = 0.9
pack = "pack"
[traces]
bulk = ["b"]
[roles]
human_prompt = ["arena", { source = "s", parts = [0, 1] }]
[strata]
human_chat = { keys = 3, rate = 2.5 }
"""


def _trace(key: str, kinds: tuple[Kind, ...] = tuple(Kind), pool: bytes = b"") -> Trace:
    marks = np.array([(kind, 100 + kind, 200) for kind in kinds], MARK_DTYPE)
    return Trace(key, key, 1, marks=marks.tobytes(), pool=pool, contents=bytes(48))


def _kinds(trace: Trace) -> set[Kind]:
    return {Kind(mark >> 32) for mark, _ in marks_of(trace)}


def _campaign(name: str, members: dict[str, int], level: Level = Level.SUSPECT) -> Campaign:
    told = (Evidence("payment", "identity", 5.0, 1.0, 0.0, ""), Evidence("load", "timing", 1.0, 1.0, 0.0, ""))
    people = tuple(Member(key, key, at_us, 1.0) for key, at_us in members.items())
    return Campaign(name, level, 1.0, 0, 0, 0, members=people, evidence=told)


@pytest.mark.parametrize("base", BASES)
def test_a_world_has_one_operation_for_every_setting_and_the_frames_customers(base: str, tmp_path: Path) -> None:
    """Named after it, the naive one first, with its changes and nothing else."""
    (tmp_path / "frame.toml").write_text(FRAME)
    found = tomllib.loads(world(tmp_path / "frame.toml", base))
    names = [one["name"] for one in found["campaigns"]]
    assert names == [one.name for one in settings(base)]
    assert len(set(names)) == len(names)
    assert names[0] == "naive"
    assert found["strata"] == tomllib.loads(FRAME)["strata"]
    for setting, made in zip(settings(base), found["campaigns"], strict=True):
        assert made == {"name": setting.name, **BASES[base], **NAIVE, **setting.changes}


def test_the_honest_world_differs_in_nothing_but_the_operations(tmp_path: Path) -> None:
    """So that one play of the honest customers serves every base."""
    (tmp_path / "frame.toml").write_text(FRAME)
    honest = tomllib.loads(world(tmp_path / "frame.toml", None))
    other = tomllib.loads(world(tmp_path / "frame.toml", "forced_cot"))
    del other["campaigns"]
    assert honest == other


def test_more_keys_send_as_many_requests_in_all() -> None:
    """The axis of accounts leaves the number of requests alone."""
    for base in BASES:
        for setting in settings(base):
            if "keys" in setting.changes:
                assert setting.keys * float(setting.changes["rate"]) == NAIVE["keys"] * NAIVE["rate"]


def test_a_channel_that_is_taken_away_leaves_every_other_mark() -> None:
    """And the other way round: one channel alone."""
    for name, kinds in ablate.KINDS.items():
        assert _kinds(ablate.without(kinds)(_trace("a"))) == set(Kind) - set(kinds)
        assert _kinds(ablate.only(name)(_trace("a"))) == set(kinds)


def test_replayed_blocks_are_the_same_on_every_key() -> None:
    """What nobody else brings back ties them."""
    marks = [set(marks_of(ablate.replaying(_trace(key, ())))) for key in "ab"]
    assert marks[0] == marks[1]
    assert len(marks[0]) == len(ablate.SHARED_BLOCKS)


def test_a_moved_pool_keeps_its_own_harvest_ratios() -> None:
    """What it asks about is another's; how it harvests is what its scores rest on."""
    own, other = bytes([1]) * WIDTH, bytes([2]) * WIDTH
    moved = ablate.elsewhere([other])(_trace("a", pool=own))
    assert moved.pool == other[:FEATURES] + own[FEATURES:]
    assert ablate.elsewhere([other])(_trace("a")).pool == b""


def test_overlapping_contents_are_no_partition() -> None:
    """As many are asked twice as in an honest crowd."""
    counts = content_counts([ablate.overlapping(_trace(f"k{number}")) for number in range(40)])
    assert np.mean(counts > 1) >= CROWD_OVERLAP


def test_changes_reach_every_trace_in_their_order() -> None:
    """Those of the warm-up and those of later."""
    played = Played((_trace("a"),), (_trace("a"), _trace("b")))
    found = ablate.changed(played, ablate.without(Kind), ablate.replaying)
    assert [_kinds(one) for one in (*found.past, *found.traces)] == [{Kind.BLOCK}] * 3


def test_keys_count_as_linked_in_campaigns_most_of_whose_members_are_the_operations() -> None:
    """A key is stopped when it joins a campaign that is reported, or at its own alarm."""
    operation = Operation(frozenset("abcd"), ((10, "a"), (20, "b"), (30, "c"), (40, "d")), sent=8)
    mine = _campaign("c-1", {"a": 5, "b": 25, "x": 5, "cover": 5})
    others = _campaign("c-2", {"c": 1, "x": 1, "y": 1})
    found = judged(
        operation, Played(flagged={"d": 35, "z": 1}, sent={"cover": 9}), {"c-1": mine, "c-2": others}, {"c-1": 15, "c-2": 1}
    )
    assert (found.linked, found.alone, found.found) == (0.5, 0.25, 0.75)
    assert found.beside == 1
    assert found.before == 0.25  # the campaign was reported at 15
    assert found.before_alone == 0.75
    # a is stopped at 15, b when it joins at 25, c never, d at its own alarm at 35.
    assert found.kept == 0.75
    assert found.kept_alone == 0.75
    assert tables.kinds_of(found) == 1


def test_an_operation_that_nothing_finds_keeps_everything() -> None:
    """No alarm, and all answers are its own."""
    operation = Operation(frozenset("ab"), ((10, "a"), (20, "b")))
    found = judged(operation, Played(), {}, {})
    assert (found.linked, found.found, found.before, found.kept) == (0.0, 0.0, 1.0, 1.0)
    assert tables.channels([found]) == "–"


def test_the_cost_at_a_half_lies_between_the_points_around_it() -> None:
    """Along the logarithm of the cost; the first fall counts."""
    assert crossing([1.0, 4.0], [0.75, 0.25]) == pytest.approx(2.0)
    assert crossing([1.0, 2.0, 8.0], [1.0, 0.5, 0.0]) == pytest.approx(2.0)
    assert crossing([1.0, 2.0, 4.0], [1.0, 0.25, 1.0]) < 2.0  # pays no more than needed
    assert crossing([1.0, 2.0], [1.0, 0.5]) == inf
    assert crossing([3.0, 5.0], [0.4, 0.1]) == 3.0
    with pytest.raises(ValueError, match="as many shares as costs"):
        crossing([1.0], [])


def test_a_multiplier_says_what_was_tried_where_it_does_not_end() -> None:
    """A seed that never falls below a half has no figure, but a bound."""
    found = multiplier([[1.0, 4.0], [1.0, 4.0]], [[1.0, 0.0], [1.0, 0.9]])
    assert (found.low, found.high) == (pytest.approx(2.0), inf)
    assert str(found).endswith("(2.0 … > 4.0)")
    assert str(multiplier([[1.0, 4.0]], [[0.2, 0.1]])) == "at once"
    assert str(multiplier([[1.0, 4.0]], [[1.0, 0.9]])) == "> 4.0"


def test_a_log_of_operations_has_the_lines_of_their_keys_alone(tmp_path: Path) -> None:
    """In their order; honest customers are played once, from a log of their own."""
    log = tmp_path / "requests.jsonl.gz"
    with gzip.open(log, "wb") as lines:
        lines.writelines(b'{"key": "%s", "n": %d}\n' % (key, number) for number, key in enumerate((b"a", b"x", b"b", b"a")))
    keep(log, {"a", "b"})
    with gzip.open(log, "rb") as lines:
        assert [json.loads(line)["n"] for line in lines] == [0, 2, 3]


def test_what_was_played_of_some_keys_has_nothing_of_others() -> None:
    """An operation is linked alone, though all stand in one log."""
    whole = Played((_trace("a"), _trace("b")), (_trace("b"), _trace("a")), {"a": 1, "b": 2}, {"a": 3, "b": 4}, {"b": 5})
    assert whole.of(frozenset("a")) == Played((_trace("a"),), (_trace("a"),), {"a": 1}, {"a": 3}, {})
