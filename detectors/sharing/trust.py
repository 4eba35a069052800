"""Who says it, how often they were right, how old it is → a score, and what it may lead to.

A reporter's trust is the mean of a Beta posterior over its past reports, confirmed and disputed, kept within bounds: nobody
is ever trusted so much that one voice passes 60 of 100. Reports fade with a half-life by kind. The score is the probability
that at least one of the reporters is right, if they are independent:
100 (1 − Π (1 − trust · confidence · 2^(−age / half-life))).

What follows is fixed, and no score changes it: one reporter raises the priority of a review, nothing more. Automatic action
needs two *independent* reporters, or evidence of one's own. Reporters are independent if they belong to different
organisations, were members for a month before, and were right before: a pair that one liar has made is none of that. And
it needs indicators of two kinds from each: one kind alone, a template above all, is what every user of an app shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from detectors.sharing.indicator import DAY_US

LEAST_TRUST, MOST_TRUST = 0.05, 0.6

PRIOR_RIGHT, PRIOR_WRONG = 1.0, 3.0
"""Of the Beta distribution: a newcomer is believed one time in four."""

HALF_LIFE_DAYS = {
    "network": 3.0,
    "asn": 14.0,
    "client": 14.0,
    "template": 30.0,
    "contract": 30.0,
    "settings": 30.0,
    "identity": 30.0,
}

LEAST_MEMBER_US = 30 * DAY_US
LEAST_KINDS = 2
"""Independent kinds of indicator of one organisation that a key must show before more than a review follows."""

LEAST_CONFIRMED = 2
"""Reports of a reporter that turned out right before it counts as one of two."""


class Effect(IntEnum):
    """What a hit may lead to."""

    NOTHING = 0
    PRIORITY = 1  # a person looks at it earlier
    AUTOMATIC = 2  # what policy does by itself about evidence of one's own


@dataclass(frozen=True, slots=True)
class Reporter:
    """A member of a trust group, as its past shows it.

    Attributes:
        name: of the member.
        organisation: that it belongs to; two members of one are one voice.
        since_us: when it became a member.
        confirmed: reports that turned out right here.
        disputed: reports that turned out wrong here.
    """

    name: str
    organisation: str
    since_us: int
    confirmed: int = 0
    disputed: int = 0

    @property
    def trust(self) -> float:
        """0.05 … 0.6."""
        right = PRIOR_RIGHT + self.confirmed
        return min(MOST_TRUST, max(LEAST_TRUST, right / (right + PRIOR_WRONG + self.disputed)))


@dataclass(frozen=True, slots=True)
class Report:
    """One reporter's word for one indicator.

    Attributes:
        reporter: who.
        kind: of the indicator.
        confidence: 0 … 100, the reporter's own.
        at_us: when it was said; a time that is still to come counts as now.
        sent: it sent the indicator itself. Who only agrees with an id may have been shown other tokens under it: that is
            heard, and is no voice of its own.
    """

    reporter: Reporter
    kind: str
    confidence: int
    at_us: int
    sent: bool = True


def score(reports: Sequence[Report], now_us: int) -> float:
    """0 … 100. Of several reports of one organisation the strongest counts."""
    strongest: dict[str, float] = {}
    for report in reports:
        age_days = max(0, now_us - report.at_us) / DAY_US
        fresh = 2.0 ** (-age_days / HALF_LIFE_DAYS[report.kind])
        weight = report.reporter.trust * min(100, max(0, report.confidence)) / 100.0 * fresh
        owner = report.reporter.organisation
        strongest[owner] = max(strongest.get(owner, 0.0), weight)
    doubt = 1.0
    for weight in strongest.values():
        doubt *= 1.0 - weight
    return round(100.0 * (1.0 - doubt), 1)


def independent(reports: Sequence[Report], now_us: int) -> int:
    """How many voices there are: organisations with a member of long standing that was right before and sent one itself."""
    return len(
        {
            report.reporter.organisation
            for report in reports
            if report.sent
            and now_us - report.reporter.since_us >= LEAST_MEMBER_US
            and report.reporter.confirmed >= LEAST_CONFIRMED
            and report.reporter.confirmed > report.reporter.disputed
        }
    )


def effect(reports: Mapping[str, Sequence[Report]], local: bool, now_us: int) -> Effect:
    """What hits of one key may lead to.

    Args:
        reports: kind of indicator that the key hits → who reported such ones.
        local: whether there is evidence of one's own that the key is suspicious.
        now_us: the present moment.
    """
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    told = [(kind, report) for kind, some in reports.items() for report in some]
    for kind, report in told:
        if report.sent:
            kinds[report.reporter.organisation].add(kind)
    if not told:
        return Effect.NOTHING
    firm = {who for who, shown in kinds.items() if len(shown) >= LEAST_KINDS or shown == {"identity"}}
    voices = independent([report for _, report in told if report.reporter.organisation in firm], now_us)
    if (local and firm) or voices >= 2:
        return Effect.AUTOMATIC
    return Effect.PRIORITY
