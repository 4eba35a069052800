"""Who stands behind what is looked for, and what is kept of a key that shows more than can be kept.

A key's place in the queue, and whether anything may follow by itself, rest on who reported what it shows. So of each
organisation and kind the strongest is kept before the second of any, and those who may count as one of two independent
voices come first: no flood of one member, nor of members that it has made, pushes out what a second reporter tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from app.intel.digesting import against, agreeing
from app.state.intel_hits import Seen
from app.state.intel_indicators import Held, Standing, place
from detectors.sharing.fair import fair_order
from detectors.sharing.indicator import KINDS
from detectors.sharing.trust import LEAST_KINDS, Report, independent

MOST_SEEN = 50
"""Indicators that are kept of one key: an operation has half a dozen."""


class Voices:
    """As of one moment.

    Args:
        held: place → indicator, of those that are looked for.
        standings: of the reporters.
        now_us: the moment.
    """

    def __init__(self, held: Mapping[str, Held], standings: dict[tuple[str, str], Standing], now_us: int) -> None:
        self._now_us = now_us
        self._reports = {name: agreeing(one, standings) for name, one in held.items()}
        self._against = {name: who for name, one in held.items() if (who := against(one, standings))}
        sets = {name: frozenset(one.reporter.organisation for one in told) for name, told in self._reports.items()}
        best = {
            organisations: (-independent(told, now_us), -max((one.reporter.trust for one in told), default=0.0))
            for name, organisations in sets.items()
            for told in [self._reports[name]]
        }
        number = {one: at for at, one in enumerate(sorted(best, key=lambda one: (best[one], sorted(one))))}
        self._behind = {name: number[organisations] for name, organisations in sets.items()}

    def of(self, name: str) -> list[Report]:
        """The reports of an indicator by those who stand behind it."""
        return self._reports[name]

    def silenced(self, names: Iterable[str]) -> set[tuple[str, str]]:
        """(place, organisation) of the reports that do not count, because others say that they are wrong.

        Each organisation that does takes away one voice, the weakest, from what it speaks against. Else one member, just
        let in, could silence everybody, each about its own indicators.

        Args:
            names: places of everything that one key shows.
        """
        spoken: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            for who in self._against.get(name, ()):
                spoken[who].append(name)
        gone: set[tuple[str, str]] = set()
        for who in sorted(spoken):
            trust: defaultdict[str, float] = defaultdict(float)
            for name in spoken[who]:
                for one in self._reports[name]:
                    if (name, one.reporter.organisation) not in gone:
                        trust[one.reporter.organisation] = max(trust[one.reporter.organisation], one.reporter.trust)
            if trust:
                weakest = min(trust, key=lambda one: (trust[one], one))
                gone |= {(name, weakest) for name in spoken[who]}
        return gone

    def behind(self, group: str, names: Sequence[str]) -> dict[str, int]:
        """Id of an indicator of a group → a number of those who stand behind it, the most trusted first."""
        return {name: self._behind[place(group, name)] for name in names}

    def kept(self, seen: Sequence[Seen]) -> tuple[Seen, ...]:
        """At most MOST_SEEN, the strongest first; all of it must be looked for."""
        strongest = sorted(seen, key=lambda one: (-one.nats, one.group, one.indicator))
        if len(strongest) <= MOST_SEEN:
            return tuple(strongest)
        told = [self._reports[place(one.group, one.indicator)] for one in strongest]
        rank = self._ranks(strongest, told)
        rows = [
            (rank[who] * len(KINDS) + KINDS.index(one.kind), at)
            for at, one in enumerate(strongest)
            for who in {report.reporter.organisation for report in told[at]} or {""}
        ]
        order = fair_order([lot for lot, _ in rows]).tolist()
        kept = list(dict.fromkeys(rows[at][1] for at in order))[:MOST_SEEN]
        return tuple(strongest[at] for at in sorted(kept))

    def _ranks(self, seen: Sequence[Seen], told: Sequence[Sequence[Report]]) -> dict[str, int]:
        """Organisation → its turn: those first that count as a voice about this key, then by trust; "" is nobody."""
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        mine: defaultdict[str, list[Report]] = defaultdict(list)
        for one, some in zip(seen, told, strict=True):
            for report in some:
                kinds[report.reporter.organisation].add(one.kind)
                mine[report.reporter.organisation].append(report)

        def turn(who: str) -> tuple[bool, bool, float, str]:
            firm = len(kinds[who]) >= LEAST_KINDS or "identity" in kinds[who]
            trust = max(one.reporter.trust for one in mine[who])
            return not independent(mine[who], self._now_us), not firm, -trust, who

        return {who: at for at, who in enumerate((*sorted(mine, key=turn), ""))}
