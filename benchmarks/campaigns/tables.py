"""Tables of the figures, as Markdown. Each row holds what linking gives, and the same verdicts without it beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.campaigns import figures
from benchmarks.campaigns.figures import DIMENSIONS, Campaign, Group
from benchmarks.campaigns.judged import Judged

GOAL_KEYS = 3_000
NONE = "–"


def everything(worlds: Sequence[Judged]) -> Iterator[str]:
    """All tables of worlds with campaigns."""
    found = all_campaigns(worlds)
    yield from whole(worlds, found)
    yield ""
    yield from by_dimension(found)
    yield ""
    yield from by_stratum(worlds)
    yield ""
    yield from by_campaign(found)


def all_campaigns(worlds: Iterable[Judged]) -> list[Campaign]:
    """Campaigns of all worlds that have some."""
    out: list[Campaign] = []
    for one in worlds:
        if one.linked is not None and one.alone is not None:
            out += figures.campaigns(one.name, one.truth, one.verdicts, one.campaigns, one.linked, one.alone)
    return out


def whole(worlds: Sequence[Judged], found: Sequence[Campaign]) -> Iterator[str]:
    """Figures over all worlds, with their goals."""
    attack: dict[str, str] = {}
    home: dict[str, str] = {}
    busy: set[str] = set()
    honest = three_days = 0.0
    reported: list[Group] = []
    for one in worlds:
        known, groups = figures.scored(one.truth), figures.groups(one.truth, one.campaigns)
        attack |= {f"{one.name} {key}": f"{one.name} {campaign}" for key, campaign in known.attack.items()}
        home |= {f"{one.name} {key}": f"{one.name} {group}" for key, group in figures.homes(groups).items()}
        busy |= {f"{one.name} {campaign}" for campaign in figures.busy(one.truth, known)}
        honest, three_days = honest + len(known.honest), three_days + known.three_days
        reported += groups
    false = [one for one in reported if one.false]
    yield from _head("Over all worlds", "Goal", "Linked", "Per-key alone")
    yield _row("worlds", "", len(worlds), len(worlds))
    yield _row("honest keys, attack keys", "", *[f"{honest:,.0f}, {len(attack):,}"] * 2)
    for name, part in (("campaigns found", found), ("… of the busy ones", [one for one in found if one.busy])):
        yield _row(name, "≥ 0.90", *(_share([one.found[way] for one in part]) for way in (0, 1)))
    yield _row("B-cubed precision", "≥ 0.95", _number(figures.mean(figures.precisions(attack, home))), NONE)
    for name, of in (("B-cubed recall", None), ("… of the busy ones", busy)):
        recall = (figures.mean(figures.recalls(attack, where, of)) for where in (home, {}))
        yield _row(name, "" if of is None else "≥ 0.85", *map(_number, recall))
    yield _row("reported groups", "", len(reported), 0)
    yield _row("false groups", "", len(false), 0)
    yield _row("honest keys and false groups", "", f"{sum(one.honest for one in false)} keys in {len(false)}", NONE)
    each = f"1 in {honest / len(false):,.0f}" if false else f"none in {honest:,.0f}"
    yield _row("honest keys for one false group", f"≥ {GOAL_KEYS:,}", each, NONE)
    rate = GOAL_KEYS * len(false) / three_days if three_days else None
    yield _row(f"false groups per {GOAL_KEYS:,} honest keys and three days", "≤ 1", _number(rate, 2), NONE)
    for name, share in (("median", 0.5), ("p90", 0.9)):
        before = (figures.quantile([one.before[way] for one in found if one.answered], share) for way in (0, 1))
        yield _row(f"answered attack requests before detection, {name}", "", *map(_percent, before))
    for name, share in (("median", 0.5), ("lowest tenth", 0.1)):
        members = (figures.quantile([one.members[way] for one in found], share) for way in (0, 1))
        yield _row(f"members flagged or grouped, of a campaign: {name}", "", *map(_percent, members))
    many = [one.grouped for one in found if one.keys > 1]
    yield _row("members in a group, of a campaign of two keys or more: mean", "", _percent(figures.mean(many)), NONE)
    yield ""
    yield (
        f"Busy: {figures.LEAST_KEYS} keys or more, the median of which sent {figures.LEAST_REQUESTS} requests or more "
        "after the warm-up. Definitions are the scorer's."
    )


def by_dimension(found: Sequence[Campaign]) -> Iterator[str]:
    """How many campaigns are found, by what they do."""
    yield from _head("By", "", "Campaigns", "Found, linked", "per-key alone", "Members, linked", "per-key alone")
    for dimension in DIMENSIONS:
        values = {one.facts[dimension] for one in found}
        for value in sorted(values):
            part = [one for one in found if one.facts[dimension] == value]
            hits = [sum(one.found[way] for one in part) for way in (0, 1)]
            members = [_percent(figures.mean([one.members[way] for one in part])) for way in (0, 1)]
            yield _row(dimension, value, len(part), *hits, *members)


def by_stratum(worlds: Sequence[Judged]) -> Iterator[str]:
    """False groups by the stratum of most of their members, then each of them."""
    false = [(one.name, group) for one in worlds for group in figures.groups(one.truth, one.campaigns) if group.false]
    if not false:
        yield "No false group."
        return
    counts = Counter(group.stratum for _, group in false)
    yield from _head("Main stratum", "False groups", "Honest keys in them")
    for stratum, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        yield _row(stratum, count, sum(group.honest for _, group in false if group.stratum == stratum))
    yield ""
    yield from _head("World", "Group", "Main stratum", "Keys", "Honest", "Score", "Evidence")
    for name, group in sorted(false, key=lambda one: (one[1].stratum, -len(one[1].keys), one[0])):
        channels = ", ".join(group.channels[:4])
        yield _row(name, group.id, group.stratum, len(group.keys), group.honest, _number(group.score), channels)


def by_campaign(found: Sequence[Campaign]) -> Iterator[str]:
    """Every campaign."""
    yield from _head(
        "World", "Campaign", "Keys", "Requests a key", "Found, linked", "per-key alone", "Members, linked",
        "per-key alone", "In a group", "Largest group", "Before detection, linked", "per-key alone",
    )  # fmt: skip
    for one in found:
        yield _row(
            one.world, one.name, one.keys, f"{one.requests:.0f}", *("yes" if hit else "no" for hit in one.found),
            *map(_percent, one.members), _percent(one.grouped), one.largest, *map(_percent, one.before),
        )  # fmt: skip


def early(found: Sequence[Campaign]) -> Iterator[str]:
    """How early a large and quiet operation is detected."""
    yield from _head(
        "World", "Keys", "Answered attacks", "Before detection, linked", "per-key alone", "Goal", "Hours, linked",
        "per-key alone", "Members, linked", "per-key alone", "In a group", "Largest group",
    )  # fmt: skip
    for one in found:
        yield _row(
            one.world, one.keys, f"{one.answered:,}", *(_percent(share, 2) for share in one.before), "≤ 1 %",
            *(_number(hours, 2) for hours in one.hours), *map(_percent, one.members), _percent(one.grouped), one.largest,
        )  # fmt: skip


def confounders(worlds: Sequence[Judged]) -> Iterator[str]:
    """What is reported where there is nothing."""
    yield from _head("World", "Honest keys", "Flagged alone", "Groups", "Keys in them", f"Groups per {GOAL_KEYS:,} keys")
    keys = flags = groups = members = 0
    three_days = 0.0
    for one in worlds:
        known, found = figures.scored(one.truth), figures.groups(one.truth, one.campaigns)
        flagged = len(figures.flagged(one.verdicts) & known.honest)
        inside = sum(len(group.keys) for group in found)
        yield _row(one.name, f"{len(known.honest):,}", flagged, len(found), inside, _rate(len(found), known.three_days))
        keys, flags, groups = keys + len(known.honest), flags + flagged, groups + len(found)
        members, three_days = members + inside, three_days + known.three_days
    yield _row("all", f"{keys:,}", flags, groups, members, _rate(groups, three_days))
    yield ""
    yield from by_stratum(worlds)


def left_out(rows: Iterable[tuple[str, Sequence[Judged], Sequence[Judged]]]) -> Iterator[str]:
    """Families that the trees know and do not know; each row as soon as it is judged.

    Args:
        rows: family, worlds as judged by trees that know it, and the same by trees that do not.
    """
    yield from _head(
        "Left out", "Campaigns", "Found, linked: known", "unknown", "per-key alone: known", "unknown",
        "Members, linked: known", "unknown", "per-key alone: known", "unknown", "B-cubed precision: known", "unknown",
        "B-cubed recall, busy: known", "unknown", "False groups: known", "unknown",
        "Before detection, unknown: linked", "alone",
    )  # fmt: skip
    every: tuple[list[_Side], list[_Side]] = ([], [])
    for family, *sides in rows:
        both = [_Side.of(worlds, family) for worlds in sides]
        for told, side in zip(every, both, strict=True):
            told.append(side)
        yield _left(family, both)
    yield _left("all", [_Side.sum(told) for told in every])


@dataclass(frozen=True, slots=True)
class _Side:
    """A family in some worlds, as some trees judge them."""

    found: Sequence[Campaign]
    precisions: Sequence[float]
    recalls: Sequence[float]
    false: int

    @classmethod
    def of(cls, worlds: Sequence[Judged], family: str) -> _Side:
        precisions: list[float] = []
        recalls: list[float] = []
        false = 0
        for one in worlds:
            known, groups = figures.scored(one.truth), figures.groups(one.truth, one.campaigns)
            names = {name for name, campaign in one.truth["campaigns"].items() if campaign["family"] == family}
            home = figures.homes(groups)
            precisions += figures.precisions(known.attack, home, names)
            recalls += figures.recalls(known.attack, home, names & figures.busy(one.truth, known))
            false += sum(group.false for group in groups) if names else 0
        return cls(of_family(worlds, family), precisions, recalls, false)

    @classmethod
    def sum(cls, sides: Sequence[_Side]) -> _Side:
        return cls(
            [one for side in sides for one in side.found],
            [one for side in sides for one in side.precisions],
            [one for side in sides for one in side.recalls],
            sum(side.false for side in sides),
        )


def _left(family: str, sides: Sequence[_Side]) -> str:
    unknown = sides[-1].found
    cells: list[object] = []
    for way in (0, 1):
        cells += [sum(one.found[way] for one in side.found) for side in sides]
    for way in (0, 1):
        cells += [_percent(figures.mean([one.members[way] for one in side.found])) for side in sides]
    cells += [_number(figures.mean(side.precisions)) for side in sides]
    cells += [_number(figures.mean(side.recalls)) for side in sides]
    cells += [side.false for side in sides]
    for way in (0, 1):
        cells.append(_percent(figures.quantile([one.before[way] for one in unknown if one.answered], 0.5)))
    return _row(family, len(unknown), *cells)


def of_family(worlds: Sequence[Judged], family: str) -> list[Campaign]:
    """Campaigns of a family."""
    return [one for one in all_campaigns(worlds) if one.facts["family"] == family]


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + " --- |" * len(names)


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}%}"


def _share(hits: Sequence[bool]) -> str:
    return f"{sum(hits) / len(hits):.3f} ({sum(hits)} of {len(hits)})" if hits else NONE


def _rate(count: int, three_days: float) -> str:
    return _number(GOAL_KEYS * count / three_days, 2) if three_days else NONE
