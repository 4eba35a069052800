"""Names of campaigns: they stay while a group does, whoever joins, leaves, merges or parts."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

import msgspec

from detectors.campaign.contract import Campaign, Member
from detectors.campaign.identity import match
from detectors.contract import Level

NOW_US = 1_790_000_000_000_000


def _keys(*numbers: int) -> frozenset[str]:
    return frozenset(f"k-{n}" for n in numbers)


def _campaign(name: str, keys: Iterable[str], first_us: int = NOW_US) -> Campaign:
    members = tuple(Member(key, key, NOW_US, 1.0) for key in sorted(keys))
    return Campaign(name, Level.SUSPECT, 1.0, first_us, NOW_US, NOW_US, members=members)


def _before(*campaigns: Campaign) -> dict[str, Campaign]:
    return {one.id: one for one in campaigns}


def test_new_groups_get_names_of_their_own() -> None:
    """Of the shape that is promised, and the same each time."""
    groups = [_keys(1, 2, 3), _keys(4, 5, 6)]
    found = match(groups, {}, NOW_US)
    assert all(one.new and re.fullmatch(r"c-[0-9a-f]{12}", one.id) for one in found)
    assert found[0].id != found[1].id
    assert match(groups, {}, NOW_US) == found
    assert [one.id for one in match(groups, {}, NOW_US + 1)] != [one.id for one in found]


def test_a_name_that_was_ever_given_is_not_given_again() -> None:
    """Not even when the campaign of it is closed."""
    keys = _keys(1, 2, 3)
    name = match([keys], {}, NOW_US)[0].id
    closed = msgspec.structs.replace(_campaign(name, keys), closed=True)
    (again,) = match([keys], _before(closed), NOW_US)
    assert again.new
    assert again.id != name


def test_a_group_that_grows_or_shrinks_keeps_its_name() -> None:
    """From three keys to three hundred, and from twelve to four."""
    before = _before(_campaign("c-1", _keys(1, 2, 3)))
    assert match([_keys(*range(1, 301))], before, NOW_US)[0].id == "c-1"
    before = _before(_campaign("c-1", _keys(*range(12))))
    (found,) = match([_keys(0, 1, 2, 3)], before, NOW_US)
    assert (found.id, found.new, found.took, found.parted) == ("c-1", False, [], "")


def test_a_group_that_has_only_a_key_or_two_of_a_campaign_is_another() -> None:
    """Less than LEAST_COMMON of the smaller."""
    before = _before(_campaign("c-1", _keys(*range(20))))
    (found,) = match([_keys(0, 1, *range(100, 110))], before, NOW_US)
    assert found.new
    assert found.id != "c-1"
    assert found.parted == ""


def test_campaigns_that_meet_go_on_under_the_name_of_the_larger() -> None:
    """Of two alike, of the older."""
    before = _before(_campaign("c-1", _keys(1, 2, 3)), _campaign("c-2", _keys(4, 5, 6, 7)))
    (found,) = match([_keys(*range(1, 8))], before, NOW_US)
    assert (found.id, found.took, found.new) == ("c-2", ["c-1"], False)
    before = _before(_campaign("c-1", _keys(1, 2, 3)), _campaign("c-2", _keys(4, 5, 6), NOW_US - 1))
    (found,) = match([_keys(*range(1, 7))], before, NOW_US)
    assert (found.id, found.took) == ("c-2", ["c-1"])


def test_of_a_campaign_that_parts_the_larger_group_keeps_the_name() -> None:
    """The other one says where it comes from."""
    before = _before(_campaign("c-1", _keys(*range(10))))
    small, large = match([_keys(0, 1, 2), _keys(3, 4, 5, 6, 7, 8, 9)], before, NOW_US)
    assert (large.id, large.new, large.parted) == ("c-1", False, "")
    assert (small.new, small.parted) == (True, "c-1")
    assert small.id != "c-1"


def test_a_key_that_moves_changes_no_name() -> None:
    """From one campaign to the other."""
    before = _before(_campaign("c-1", _keys(1, 2, 3, 4)), _campaign("c-2", _keys(5, 6, 7, 8)))
    one, two = match([_keys(1, 2, 3), _keys(4, 5, 6, 7, 8)], before, NOW_US)
    assert (one.id, one.took, one.parted) == ("c-1", [], "")
    assert (two.id, two.took, two.parted) == ("c-2", [], "")


def test_a_group_with_a_name_of_its_own_has_not_parted_from_another() -> None:
    """It took over some keys of that one."""
    before = _before(_campaign("c-1", _keys(1, 2, 3, 4, 5, 6)), _campaign("c-2", _keys(7, 8)))
    one, two = match([_keys(1, 2, 3), _keys(4, 5, 6, 7, 8)], before, NOW_US)
    assert {one.id, two.id} == {"c-1", "c-2"}
    assert (one.parted, two.parted) == ("", "")


def test_merged_and_closed_campaigns_give_their_name_to_nobody() -> None:
    """They are history."""
    keys = _keys(1, 2, 3)
    merged = msgspec.structs.replace(_campaign("c-1", keys), merged_into="c-2")
    closed = msgspec.structs.replace(_campaign("c-2", keys), closed=True)
    (found,) = match([keys], _before(merged, closed), NOW_US)
    assert found.new
    assert found.took == []


def test_over_random_passes_names_are_unique_and_each_campaign_has_one_fate() -> None:
    """Groups that keys wander between, thirty passes long; and the same again."""

    def run(seed: int) -> list[list[tuple[str, frozenset[str], tuple[str, ...]]]]:
        dice = random.Random(seed)
        home = {f"k-{n}": dice.randrange(6) for n in range(60)}
        before: dict[str, Campaign] = {}
        told = []
        for step in range(30):
            at_us = NOW_US + step * 60_000_000
            for key in dice.sample(sorted(home), 12):
                home[key] = dice.randrange(6)
            groups = [frozenset(key for key in home if home[key] == at) for at in range(6)]
            found = match([group for group in groups if len(group) > 2], before, at_us)
            names = [one.id for one in found]
            took = [name for one in found for name in one.took]
            assert len(set(names + took)) == len(names + took)
            assert all(one.new == (one.id not in before) for one in found)
            assert all(one.parted in {"", *before} for one in found)
            for name in took:
                before[name] = msgspec.structs.replace(before[name], merged_into=names[0])
            before |= {one.id: _campaign(one.id, one.keys, at_us) for one in found}
            told.append([(one.id, one.keys, tuple(one.took)) for one in found])
        return told

    for seed in range(5):
        assert run(seed) == run(seed)
