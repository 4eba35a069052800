"""The linker in a replay: the same traces, at the same moments of event time, as the live linker has.

A pass at B knows every trace of before B that was cast before the first exchange of B + SETTLE_US or later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.state.keys import PROFILE_TTL_SEC
from detectors.campaign import passes
from detectors.campaign.contract import Campaign
from detectors.campaign.linker import Linker
from detectors.campaign.trace import Trace
from detectors.contract import Level
from detectors.event import Event
from detectors.model import Model
from detectors.sketch.decay import DAY_US


@dataclass(frozen=True, slots=True)
class Reported:
    """A campaign that was SUSPECT or more at some moment.

    Attributes:
        campaign: as the newest pass left it.
        level: the highest it had.
        score: the highest it had while it was SUSPECT or more.
        flagged_us: event time of the first pass that had it, or one that it took in, at SUSPECT.
    """

    campaign: Campaign
    level: Level
    score: float
    flagged_us: int

    @property
    def keys(self) -> tuple[str, ...]:
        """Ids of its members, the strongest first."""
        return tuple(member.key_id for member in self.campaign.members)


@dataclass(slots=True)
class _Peak:
    level: Level
    score: float
    flagged_us: int


class Linking:
    """Makes the passes of a replay.

    Args:
        model: that judges groups as one entity.
        border_us: event time from which passes are made; older traces are known to the first one, and are not new to it.
        history: newest traces of what was played before.
    """

    def __init__(self, model: Model, border_us: int = 0, history: Iterable[Trace] = ()) -> None:
        history = list(history)
        self._linker = Linker(model)
        self._linker.load(history)
        self._border_us = border_us
        self._waiting: list[Trace] = []
        self._at_us = 0  # the moment up to which every one was thought of
        self._peaks: dict[str, _Peak] = {}
        self._seen = {one.key_id: one.at_us for one in history}
        self.passes = 0

    @property
    def campaigns(self) -> Mapping[str, Campaign]:
        """All of them as the newest pass left them, by id."""
        return self._linker.campaigns

    def take(self, traces: Sequence[Trace]) -> None:
        """Traces of a batch, in the order in which they were cast."""
        old = [one for one in traces if one.at_us < self._border_us]
        if old:
            self._linker.load(old)
            self._note_seen(old)
            traces = [one for one in traces if one.at_us >= self._border_us]
        self._waiting += traces

    def count(self, at_us: int) -> None:
        """Makes every pass that is due once an exchange of this time has come; what was cast before it must be taken."""
        until_us = passes.newest(at_us)
        while self._at_us < until_us:
            if not self._linker.fresh:
                # Nothing is new until the next trace: no moment before it is worth a thought.
                oldest_us = min((one.at_us for one in self._waiting), default=until_us)
                self._at_us = max(self._at_us, min(until_us, oldest_us) // passes.PASS_US * passes.PASS_US)
                if self._at_us >= until_us:
                    return
            self._at_us += passes.PASS_US
            self._think(self._at_us)

    def _think(self, at_us: int) -> None:
        linker = self._linker
        ready = [one for one in self._waiting if one.at_us < at_us]
        if ready:
            self._waiting = [one for one in self._waiting if one.at_us >= at_us]
            linker.take(ready)
            self._note_seen(ready)
        if not passes.worthwhile(at_us, linker.last_us, linker.fresh, linker.known):
            return
        if at_us // DAY_US != linker.last_us // DAY_US:
            self._forget_idle(at_us)
        self.passes += 1
        for one in linker.step(at_us).changed:
            self._note(one)

    def _note_seen(self, traces: Sequence[Trace]) -> None:
        for one in traces:
            self._seen[one.key_id] = max(one.at_us, self._seen.get(one.key_id, 0))

    def _forget_idle(self, at_us: int) -> None:
        """Keys without an exchange for as long as profiles are kept, before the first pass of a day."""
        gone = [key_id for key_id, seen_us in self._seen.items() if seen_us < at_us - PROFILE_TTL_SEC * 1_000_000]
        self._linker.forget(gone)
        for key_id in gone:
            del self._seen[key_id]

    def _note(self, one: Campaign) -> None:
        if one.level < Level.SUSPECT:
            return
        peak = self._peaks.setdefault(one.id, _Peak(one.level, one.score, one.at_us))
        peak.level, peak.score = max(peak.level, one.level), max(peak.score, one.score)

    def reported(self) -> list[Reported]:
        """Campaigns that were SUSPECT or more, the most suspicious first. One that was taken in by another is part of that.

        Members belong to one of them alone: to that which lives, and then to the higher one.
        """
        merged: dict[str, _Peak] = {}
        for name, peak in self._peaks.items():
            home = self._home(name)
            known = merged.get(home)
            if known is None:
                merged[home] = _Peak(peak.level, peak.score, peak.flagged_us)
            else:
                known.level, known.score = max(known.level, peak.level), max(known.score, peak.score)
                known.flagged_us = min(known.flagged_us, peak.flagged_us)
        found = [
            Reported(self._linker.campaigns[name], peak.level, peak.score, peak.flagged_us) for name, peak in merged.items()
        ]
        return sorted(found, key=lambda one: (-one.level, -one.score, -len(one.campaign.members), one.campaign.id))

    def _home(self, name: str) -> str:
        seen = {name}
        while into := self._linker.campaigns[name].merged_into:
            if into in seen or into not in self._linker.campaigns:
                break
            name = into
            seen.add(name)
        return name


def campaign_of(reported: Sequence[Reported]) -> dict[str, str]:
    """Key id → id of the reported campaign it belongs to: of several that which lives, then the more suspicious one."""
    found: dict[str, str] = {}
    for one in sorted(reported, key=lambda one: one.campaign.closed):
        for key_id in one.keys:
            found.setdefault(key_id, one.campaign.id)
    return found


class Cuts:
    """Where a batch must end because of a pass.

    A late exchange may cast a trace of before a pass that became due within the same batch; taken with the batch it would
    be known to a pass that live had made without it. Exchanges in order of time never end a batch.
    """

    def __init__(self) -> None:
        self._newest_us = 0
        self._moment_us = self._before_us = 0  # of the newest pass that is due: now, and before the newest exchange
        self._began_us = 0

    def before(self, event: Event) -> bool:
        """Whether a batch must end before this exchange, which is then the first of the next one."""
        cut = self._began_us < self._moment_us and event.at_us < self._moment_us
        self._before_us = self._moment_us
        self._newest_us = max(self._newest_us, event.at_us)
        self._moment_us = passes.newest(self._newest_us)
        return cut

    def begin(self) -> None:
        """The newest exchange is the first of a batch: what was due before it came is made."""
        self._began_us = self._before_us
