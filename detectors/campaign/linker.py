"""The linker: traces in, campaigns out. One of it for the whole fleet; it never sees a text.

A pass: cells of rare shared marks → groups → the test of each group as one entity → evidence → campaigns that go on under
their names. All of it is a function of the newest traces and of the campaigns before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from detectors.campaign import cells as inverted
from detectors.campaign import judging
from detectors.campaign.chronicle import Chronicle, Found
from detectors.campaign.contract import Campaign
from detectors.campaign.fleet import WARM, Columns, Fleet, Ints, heat
from detectors.campaign.grouping import groups
from detectors.campaign.judging import Group
from detectors.campaign.trace import Trace
from detectors.contract import Level
from detectors.model import Model


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass changed.

    Attributes:
        at_us: event time of its end.
        changed: campaigns that are not as the pass before left them.
        joined: (campaign id, key id) of keys that belong since this pass.
        left: (campaign id, key id) of keys that do so no more.
    """

    at_us: int
    changed: tuple[Campaign, ...] = ()
    joined: tuple[tuple[str, str], ...] = ()
    left: tuple[tuple[str, str], ...] = ()


class Linker:
    """Keeps the newest trace of every key, and the campaigns.

    The same traces before every pass give the same campaigns, in whatever order they came between two passes.

    Args:
        model: that judges groups as one entity.
        campaigns: as they were stored after the pass `last_us`.
        last_us: event time of that pass; 0 before the first.
    """

    def __init__(self, model: Model, campaigns: Iterable[Campaign] = (), last_us: int = 0) -> None:
        self.campaigns: dict[str, Campaign] = {one.id: one for one in campaigns}
        self.last_us = last_us
        self._model = model
        self._fleet = Fleet()
        self._fresh: set[str] = set()

    @property
    def known(self) -> int:
        """Keys with a trace."""
        return len(self._fleet.traces)

    @property
    def fresh(self) -> int:
        """Keys whose trace changed since the last pass and that may belong to something: the others change nothing."""
        return len(self._fresh)

    def load(self, traces: Iterable[Trace]) -> None:
        """Traces that were there at the last pass already: they are not fresh."""
        self._fleet.take(traces)

    def take(self, traces: Iterable[Trace]) -> None:
        """Newer traces of their keys."""
        newer = list(traces)
        changed = set(self._fleet.take(newer))
        warm = heat(newer) >= WARM if newer else ()
        self._fresh.update(one.key_id for one, fits in zip(newer, warm, strict=True) if fits and one.key_id in changed)

    def forget(self, key_ids: Sequence[str]) -> None:
        """Keys that were erased, or idle for long."""
        self._fleet.forget(key_ids)
        self._fresh.difference_update(key_ids)

    def step(self, at_us: int) -> Pass:
        """One pass, over everything taken so far; the caller sees to it that this is what was cast before `at_us`."""
        fleet = self._fleet.columns(at_us)
        candidates, strength = inverted.pure(inverted.cells(fleet), fleet)
        parts = judging.judge(groups(candidates, fleet), fleet, self._model, at_us)
        whole = self._again(parts, judging.together(parts, fleet, self._homes()), fleet, at_us)
        hot = [Found(group, strength) for group in whole if group.level >= Level.WATCH]
        chronicle = Chronicle(self.campaigns, fleet, candidates, self._fleet.traces, at_us)
        changed, joined, left = chronicle.write(hot)
        self.campaigns.update({one.id: one for one in changed})
        self.last_us = at_us
        self._fresh.clear()
        return Pass(at_us, tuple(changed), tuple(joined), tuple(left))

    def _again(self, parts: Sequence[Group], whole: Sequence[Ints], fleet: Columns, at_us: int) -> list[Group]:
        """The groups that parts were put together to; those of one part are known already."""
        known = {part.members.tobytes(): part for part in parts}
        new = judging.judge([one for one in whole if one.tobytes() not in known], fleet, self._model, at_us)
        known.update({one.members.tobytes(): one for one in new})
        return [known[one.tobytes()] for one in whole if one.tobytes() in known]

    def _homes(self) -> dict[str, str]:
        """Key id → id of the living campaign that it belongs to."""
        alive = [one for one in self.campaigns.values() if not one.closed and not one.merged_into]
        return {member.key_id: one.id for one in alive for member in one.members}
