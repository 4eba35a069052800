"""Groups of a pass → campaigns: who joined and who left, levels that rise at once and fall slowly, what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.campaign import channels, judging
from detectors.campaign.cells import Cells
from detectors.campaign.contract import Campaign, Evidence, Link, Member, Turn
from detectors.campaign.fleet import Columns, heat
from detectors.campaign.grouping import adjacency
from detectors.campaign.identity import Match, match
from detectors.campaign.judging import Group
from detectors.campaign.trace import Trace
from detectors.contract import Level
from detectors.sketch.decay import DAY_US

CALM_US = DAY_US
"""How long a level must not have been called for before it falls by one; as for keys (`policy.Policy`)."""

GROWTH = 0.1
"""Growth of a campaign's exchanges from which its evidence is weighed again."""

MOST_LINKS = 600
MOST_TURNS = 200
COLD = 0.0
"""Heat below which a member that nothing ties any more leaves."""


@dataclass(frozen=True, slots=True)
class Found:
    """A group of this pass, and how surely each key of the fleet belongs to one."""

    group: Group
    strength: NDArray[np.float64]


class Chronicle:
    """Writes one pass into the campaigns before it.

    Args:
        before: campaigns as the pass before left them.
        fleet: columns of the pass; cells: that tied its groups.
        traces: newest of every key.
        at_us: end of the pass.
    """

    def __init__(
        self, before: Mapping[str, Campaign], fleet: Columns, cells: Cells, traces: Mapping[str, Trace], at_us: int
    ) -> None:
        self._before = before
        self._fleet = fleet
        self._cells = cells
        self._traces = traces
        self._at_us = at_us
        self._taken: set[str] = set()
        self._place = {trace.key_id: at for at, trace in enumerate(fleet.traces)}

    def write(self, found: Sequence[Found]) -> tuple[list[Campaign], list[tuple[str, str]], list[tuple[str, str]]]:
        """Campaigns that changed, and (campaign, key) of who joined and who left."""
        ids = [trace.key_id for trace in self._fleet.traces]
        matches = match(
            [frozenset(ids[at] for at in one.group.members.tolist()) for one in found], self._before, self._at_us
        )
        changed: dict[str, Campaign] = {}
        self._taken = {key for where in matches for key in where.keys}
        for one, where in zip(found, matches, strict=True):
            for name in where.took:
                changed[name] = self._merged(self._before[name], where.id)
            changed[where.id] = self._go_on(where, one)
        for name, campaign in self._before.items():
            if name not in changed and not campaign.closed and not campaign.merged_into:
                rest = self._unseen(campaign)
                if rest is not None:
                    changed[name] = rest
        joined, left = [], []
        for name, campaign in changed.items():
            old = {member.key_id for member in self._before[name].members} if name in self._before else set()
            now = set() if campaign.closed or campaign.merged_into else {member.key_id for member in campaign.members}
            joined += [(name, key) for key in sorted(now - old)]
            left += [(name, key) for key in sorted(old - now)]
        return list(changed.values()), joined, left

    def _go_on(self, where: Match, one: Found) -> Campaign:
        """The campaign of a group; new, or as it was with what changed."""
        old = self._before.get(where.id)
        group, at_us = one.group, self._at_us
        known = {member.key_id: member for member in old.members} if old else {}
        for name in where.took:
            known = {member.key_id: member for member in self._before[name].members} | known
        members = self._members(one, known)
        requests = sum(member.requests for member in members)
        keys = {member.key_id for member in members}
        grown = old is None or requests > (1.0 + GROWTH) * old.requests or keys != {m.key_id for m in old.members}
        grown = grown or (old is not None and group.level >= Level.SUSPECT > old.level)  # now all channels are asked
        evidence, links, template = (
            self._weigh(where.id, group)
            if grown or old is None
            else (
                old.evidence,
                old.links,
                old.template,
            )
        )
        ties = channels.shared(self._cells, group.members)[1]
        tied = {self._fleet.traces[at].key_id: tuple(names) for at, names in ties.items()}
        members = tuple(msgspec.structs.replace(m, channels=tied.get(m.key_id, m.channels)) for m in members)
        called = judging.confirmed(group, evidence)
        merged = [self._before[name] for name in (where.id, *where.took) if name in self._before]
        # What was reported stays so, under whichever name it goes on.
        highest = max(merged, key=lambda one: (one.level, one.called_us), default=None)
        level, since_us, called_us = _standing(highest, called, at_us)
        history = list(old.history) if old else [Turn(at_us, "formed", len(members))]
        history += [Turn(at_us, "merged", len(self._before[name].members), name) for name in where.took]
        if where.parted:
            history.append(Turn(at_us, "split", len(members), where.parted))
        if old:
            had = {member.key_id for member in old.members}
            moves: tuple[tuple[str, int], ...] = (("joined", len(keys - had)), ("left", len(had - keys)))
            history += [Turn(at_us, what, count) for what, count in moves if count]  # type: ignore[arg-type]
        if old is None or old.level != level:
            history.append(Turn(at_us, "level", len(members), level=level.name.lower()))
        flags = [one.flagged_us for one in merged if one.flagged_us is not None]
        flagged = min(flags) if flags else at_us if level >= Level.SUSPECT else None
        return Campaign(
            id=where.id,
            level=level,
            score=group.score,
            first_us=old.first_us if old else at_us,
            since_us=since_us,
            at_us=at_us,
            called_us=called_us,
            flagged_us=flagged,
            members=members,
            evidence=evidence,
            organisations=len({member.org for member in members}),
            requests=requests,
            leaked=sum(member.leaked for member in members),
            template=template,
            links=links,
            history=tuple(history[-MOST_TURNS:]),
        )

    def _members(self, one: Found, known: Mapping[str, Member]) -> tuple[Member, ...]:
        """Keys of the group, and members of before that are not known to be honest since."""
        found: dict[str, Member] = {}
        for at in one.group.members.tolist():
            found[self._fleet.traces[at].key_id] = self._member(at, float(one.strength[at]), known)
        for key_id in known:
            place = self._place.get(key_id)
            if key_id not in self._taken and place is not None and self._stays(known[key_id], place):
                member = self._member(place, known[key_id].strength, known)
                found[key_id] = msgspec.structs.replace(member, seen_us=known[key_id].seen_us)
        return tuple(sorted(found.values(), key=lambda member: (-member.strength, member.key_id)))

    def _stays(self, member: Member, place: int) -> bool:
        """Whether a member that no group has now still belongs: for a while, unless it turns out honest."""
        return self._fleet.heat[place] >= COLD and self._at_us - member.seen_us < CALM_US

    def _member(self, at: int, strength: float, known: Mapping[str, Member]) -> Member:
        trace = self._fleet.traces[at]
        old = known.get(trace.key_id)
        return Member(
            key_id=trace.key_id,
            org=trace.org,
            joined_us=old.joined_us if old else self._at_us,
            strength=round(strength, 4),
            channels=old.channels if old else (),
            requests=trace.exchanges,
            leaked=trace.valuable,
            seen_us=self._at_us,
        )

    def _weigh(self, name: str, group: Group) -> tuple[tuple[Evidence, ...], tuple[Link, ...], tuple[bytes, ...]]:
        traces = [self._fleet.traces[at] for at in group.members.tolist()]
        evidence, ties = channels.shared(self._cells, group.members)
        worded = any(one.channel == "wording" and one.share >= 0.5 for one in evidence)
        evidence += channels.contents(traces, worded)
        if group.level >= Level.SUSPECT:
            evidence += channels.measured(self._fleet, group.members, int(name[2:], 16))
        evidence = [one for one in evidence if one.nats >= channels.LEAST_NATS]
        told = tuple(sorted(evidence, key=lambda one: (-one.nats * one.share, one.channel)))
        templates = [trace.template for trace in traces if trace.template]
        heaviest = max(sorted(set(templates)), key=templates.count, default=())
        return told, self._links(group, ties), heaviest

    def _links(self, group: Group, ties: Mapping[int, Sequence[str]]) -> tuple[Link, ...]:
        weights = adjacency(self._cells, len(self._fleet.traces))[group.members][:, group.members].tocoo()
        upper = weights.row < weights.col
        rows, columns, nats = weights.row[upper], weights.col[upper], weights.data[upper]
        order = np.lexsort((columns, rows, -nats))[:MOST_LINKS]
        found = []
        for at in order.tolist():
            a, b = int(group.members[rows[at]]), int(group.members[columns[at]])
            common = tuple(name for name in ties[a] if name in ties[b])
            ids = self._fleet.traces[a].key_id, self._fleet.traces[b].key_id
            found.append(Link(*ids, round(float(nats[at]), 3), common))
        return tuple(found)

    def _merged(self, old: Campaign, into: str) -> Campaign:
        turn = Turn(self._at_us, "merged", len(old.members), into)
        return msgspec.structs.replace(old, merged_into=into, at_us=self._at_us, history=(*old.history, turn)[-MOST_TURNS:])

    def _unseen(self, old: Campaign) -> Campaign | None:
        """A campaign that no group of this pass is: its members stay until they turn out honest, go elsewhere, or are gone;
        None where nothing changes."""
        kept = []
        for member in old.members:
            trace = self._traces.get(member.key_id)
            gone = trace is None or trace.authorised or member.key_id in self._taken
            if trace is not None and not gone and heat([trace])[0] >= COLD:
                kept.append(member)
        level, since_us, called_us = _standing(old, Level.CLEAR, self._at_us)
        closed = not kept or level is Level.CLEAR
        if len(kept) == len(old.members) and level is old.level and not closed:
            return None
        members = tuple(kept) if kept else old.members  # of one that closes: who they were
        history = list(old.history)
        if len(kept) < len(old.members):
            history.append(Turn(self._at_us, "left", len(old.members) - len(kept)))
        if level is not old.level:
            history.append(Turn(self._at_us, "level", len(kept), level=level.name.lower()))
        return msgspec.structs.replace(
            old,
            members=members,
            organisations=len({member.org for member in members}),
            requests=sum(member.requests for member in members),
            leaked=sum(member.leaked for member in members),
            level=level,
            since_us=since_us,
            called_us=called_us,
            at_us=self._at_us,
            closed=closed,
            history=tuple(history[-MOST_TURNS:]),
        )


def _standing(old: Campaign | None, called: Level, at_us: int) -> tuple[Level, int, int]:
    """(level, since when, when it was last called for): it rises at once and falls by one after CALM_US."""
    if old is None or called > old.level:
        return called, at_us, at_us
    if called == old.level:
        return old.level, old.since_us, at_us
    if at_us - old.called_us < CALM_US:
        return old.level, old.since_us, old.called_us
    return Level(old.level - 1), at_us, at_us
