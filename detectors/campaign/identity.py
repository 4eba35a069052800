"""Which campaign of before a group is: identities that stay, and what becomes of campaigns that meet or part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from detectors.campaign.contract import Campaign

LEAST_COMMON = 0.3
"""Share of the smaller side's keys that a group and a campaign of before have in common when they are one."""


@dataclass(slots=True)
class Match:
    """A group and where it comes from.

    Attributes:
        keys: ids of its keys.
        id: of the campaign that it goes on as.
        new: there was no such campaign.
        took: ids of campaigns that it took in.
        parted: id of the campaign that it was a part of; empty where it was none's.
    """

    keys: frozenset[str]
    id: str = ""
    new: bool = False
    took: list[str] = field(default_factory=list)
    parted: str = ""


def match(groups: Sequence[frozenset[str]], before: Mapping[str, Campaign], at_us: int) -> list[Match]:
    """One match for every group, in order.

    The pair with most keys in common comes first, then the next; of two groups of one campaign the larger goes on under its
    name, and of two campaigns of one group the one with more keys in it gives the name.
    """
    alive = {name: one for name, one in before.items() if not one.closed and not one.merged_into}
    home = {member.key_id: name for name, one in alive.items() for member in one.members}
    pairs = []
    for number, keys in enumerate(groups):
        common: dict[str, int] = {}
        for key in keys:
            if key in home:
                common[home[key]] = common.get(home[key], 0) + 1
        for name, count in common.items():
            if count >= LEAST_COMMON * min(len(keys), len(alive[name].members)):
                pairs.append((-count, alive[name].first_us, name, number))
    found = [Match(keys) for keys in groups]
    given: set[str] = set()
    for _, _, name, number in sorted(pairs):
        one = found[number]
        if name in given:
            if not one.id and not one.parted:
                one.parted = name
            continue
        if one.id:
            one.took.append(name)
        else:
            one.id = name
        given.add(name)
    taken = set(before)
    for one in found:
        if not one.id:
            one.id, one.new = _fresh(one.keys, at_us, taken), True
        else:
            one.parted = ""  # it has a name of its own, and took over keys of another's
        taken.add(one.id)
    return found


def _fresh(keys: frozenset[str], at_us: int, taken: set[str]) -> str:
    for attempt in range(1000):
        name = "c-" + blake2b(f"{min(keys)} {at_us} {attempt}".encode(), digest_size=6).hexdigest()
        if name not in taken:
            return name
    raise AssertionError("a thousand campaigns of one name")
