"""Figures of campaigns over several worlds, from answer keys, verdicts and reported groups; definitions as in the
benchmark's scorer. Pure: values in, values out.

Only keys that are *scored* count: attack keys with attack requests after the warm-up, honest ones with any request then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any

LEAST_KEYS, LEAST_REQUESTS = 10, 20
"""A campaign is busy from so many keys on, of which the median one sent so many requests after the warm-up."""

DAY_SEC = 86_400.0
FLAGGED = ("suspect", "confirmed")
DIMENSIONS = ("paraphrase", "mix", "infra", "timing", "accounts", "family", "k")

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """A reported group, its scored members only.

    Attributes:
        keys: members; honest: how many of them do not attack, authorised customers included.
        stratum: of most members; "attack" for those that attack.
        channels: of its evidence, the strongest first.
    """

    id: str
    keys: frozenset[str]
    score: float
    honest: int
    stratum: str
    channels: tuple[str, ...] = ()

    @property
    def false(self) -> bool:
        """At most half of the members attack."""
        return 2 * self.honest >= len(self.keys)


@dataclass(frozen=True, slots=True)
class Scored:
    """Keys of a world that count.

    Attributes:
        attack: key → campaign.
        honest: without a contract; authorised: with one.
        days: that are judged.
    """

    attack: Mapping[str, str]
    honest: frozenset[str]
    authorised: frozenset[str]
    days: float

    @property
    def three_days(self) -> float:
        """Honest keys, as if every world was judged for three days."""
        return len(self.honest) * self.days / 3.0


def scored(truth: Table) -> Scored:
    """Keys of an answer key that count."""
    keys: Mapping[str, Table] = truth["keys"]
    used = {key: one for key, one in keys.items() if one["label"] != "attack" and one["requests_eval"]}
    return Scored(
        {key: one["campaign"] for key, one in keys.items() if one["label"] == "attack" and one["attack_requests_eval"]},
        frozenset(key for key, one in used.items() if not one.get("authorised")),
        frozenset(key for key, one in used.items() if one.get("authorised")),
        (truth["end"] - truth["warmup_until"]) / DAY_SEC,
    )


def groups(truth: Table, reported: Iterable[Table]) -> list[Group]:
    """Reported groups that have scored members."""
    known = scored(truth)
    counted = known.attack.keys() | known.honest | known.authorised
    found = []
    for one in reported:
        keys = frozenset(one["keys"]) & counted
        if keys:
            strata = Counter(str(truth["keys"][key].get("stratum", "attack")) for key in sorted(keys))
            channels = tuple(dict.fromkeys(str(said["channel"]) for said in one.get("evidence", ())))
            honest = len(keys - known.attack.keys())
            found.append(
                Group(str(one["campaign"]), keys, float(one["score"]), honest, strata.most_common(1)[0][0], channels)
            )
    return found


def flagged(verdicts: Iterable[Table]) -> set[str]:
    """Keys that are flagged on their own."""
    return {str(one["key"]) for one in verdicts if one["level"] in FLAGGED}


def homes(found: Iterable[Group]) -> dict[str, str]:
    """Key → its group: of several the one with the highest score, then the smallest id."""
    out: dict[str, str] = {}
    for one in sorted(found, key=lambda one: (-one.score, one.id)):
        for key in one.keys:
            out.setdefault(key, one.id)
    return out


def busy(truth: Table, known: Scored) -> frozenset[str]:
    """Campaigns of LEAST_KEYS keys or more, the median of which sent LEAST_REQUESTS or more after the warm-up."""
    sent: dict[str, list[int]] = {}
    for key, campaign in known.attack.items():
        sent.setdefault(campaign, []).append(truth["keys"][key]["requests_eval"])
    return frozenset(
        name
        for name, counts in sent.items()
        if truth["campaigns"][name]["k"] >= LEAST_KEYS and median(counts) >= LEAST_REQUESTS
    )


def precisions(attack: Mapping[str, str], home: Mapping[str, str], of: AbstractSet[str] | None = None) -> list[float]:
    """B-cubed precision of every key that is in a group, or of those of some campaigns: the share of its group that is of
    its campaign. An honest key is a campaign of its own."""
    clusters = _turned(home)
    classes = _turned(attack)
    return [
        len(clusters[group] & (classes[attack[key]] if key in attack else {key})) / len(clusters[group])
        for key, group in home.items()
        if of is None or attack.get(key) in of
    ]


def recalls(attack: Mapping[str, str], home: Mapping[str, str], of: AbstractSet[str] | None = None) -> list[float]:
    """B-cubed recall of every attack key, or of those of some campaigns: the share of its campaign that is in its group. A
    key in no group is a group of its own."""
    clusters = _turned(home)
    classes = _turned(attack)
    return [
        len(classes[campaign] & (clusters[home[key]] if key in home else {key})) / len(classes[campaign])
        for key, campaign in attack.items()
        if of is None or campaign in of
    ]


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share does not exceed; None of nothing."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)] if values else None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign of a world, each figure with linking and with the same verdicts alone.

    Attributes:
        facts: what the answer key says of it.
        keys: that are scored; requests: the median of theirs after the warm-up.
        found: by the scorer's rule.
        members: share of its scored keys that are flagged or in a group most of whose members attack; alone: flagged.
        grouped: share of its scored keys that are in such a group.
        largest: keys of it in the group that has most of them.
        before: share of its answered attack requests until it was first detected; 1 if never.
        hours: from its first answered attack request to then; None if never.
    """

    world: str
    name: str
    facts: Table
    busy: bool
    keys: int
    requests: float
    answered: int
    found: tuple[bool, bool]
    members: tuple[float, float]
    grouped: float
    largest: int
    before: tuple[float, float]
    hours: tuple[float | None, float | None]


def campaigns(
    world: str, truth: Table, verdicts: Iterable[Table], reported: Iterable[Table], linked: Table, alone: Table
) -> list[Campaign]:
    """Every campaign of a world that has scored keys.

    Args:
        world: its name.
        truth: its answer key.
        verdicts, reported: lines of verdicts.jsonl and campaigns.jsonl.
        linked, alone: reports of the scorer, with these campaigns and without.
    """
    known = scored(truth)
    grouped: set[str] = set()
    for group in groups(truth, reported):
        if not group.false:
            grouped |= group.keys
    marked = flagged(verdicts)
    large = busy(truth, known)
    found = []
    for campaign, keys in _turned(known.attack).items():
        facts = truth["campaigns"][campaign]
        one, other = (report["per_campaign"][facts["name"]] for report in (linked, alone))
        found.append(
            Campaign(
                world,
                facts["name"],
                facts,
                campaign in large,
                len(keys),
                median(truth["keys"][key]["requests_eval"] for key in keys),
                one["answered"],
                (one["found"], other["found"]),
                (len(keys & (grouped | marked)) / len(keys), len(keys & marked) / len(keys)),
                len(keys & grouped) / len(keys),
                one["largest_group"],
                (one["before_alarm_requests"], other["before_alarm_requests"]),
                (one["alarm_hours"], other["alarm_hours"]),
            )
        )
    return sorted(found, key=lambda one: one.name)


def _turned(homes: Mapping[str, str]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for key, home in homes.items():
        out.setdefault(home, set()).add(key)
    return out
