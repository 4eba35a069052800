"""Looks at the whole fleet in a replay: the same ballots, at the same moments of event time, as the live workers have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from detectors.analysis import Analysis
from detectors.contract import Verdict
from detectors.features import FeatureRow
from detectors.looks import Ballot, Dated, ballots, called


class Booth:
    """Collects the ballots of intervals that go on, and looks where one has ended.

    Args:
        analysis: that judges; its looks are brought up to date.
        owner_of: key id → organisation, or the key id itself where it belongs to none.

    Attributes:
        looks: all of them, oldest first.
        called: (key id, p-value) of those that the newest look calls, the smallest first.
    """

    def __init__(self, analysis: Analysis, owner_of: Callable[[str], str]) -> None:
        self._analysis = analysis
        self._owner_of = owner_of
        self._open: dict[int, dict[str, Ballot]] = {}
        self.looks: list[Dated] = []
        self.called: list[tuple[str, float]] = []

    def take(self, verdicts: Sequence[Verdict], rows: Sequence[FeatureRow]) -> None:
        """Ballots of a batch; those of an interval that was looked at are too late."""
        analysis = self._analysis
        orgs = {
            verdict.entity_id: self._owner_of(verdict.entity_id) for verdict in verdicts if verdict.entity_kind == "key"
        }
        newest = analysis.looks.newest
        for (number, key_id), one in ballots(analysis.model, verdicts, rows, orgs, analysis.looks.every_us).items():
            if newest is None or number > newest.number:
                self._open.setdefault(number, {})[key_id] = one

    def count(self, at_us: int) -> None:
        """Looks at every interval whose ballots may be counted once an exchange of this time has come."""
        analysis = self._analysis
        for number in sorted(number for number in self._open if number <= analysis.looks.counted(at_us)):
            cast = self._open.pop(number)
            analysis.looks = analysis.looks.after(analysis.model, number, cast)
            newest = analysis.looks.past[-1]
            self.looks.append(newest)
            self.called = called(newest, cast.items())
