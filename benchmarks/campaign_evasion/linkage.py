"""One operation among the honest customers: what the linker finds of it, and what it had taken by then."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.campaign_evasion.stage import Played, Stage
from detectors.campaign.contract import Campaign
from detectors.campaign.linker import Linker
from detectors.contract import Level

STEP_US = 600_000_000
"""Event time between two passes of the study; the service makes one every minute while much is new."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What the answer key says of one operation.

    Attributes:
        keys: that harvested.
        answers: (event time, key id) of every answered request of the harvest, ascending.
        sent: requests of its keys since the border, cover too.
        tokens: of these.
    """

    keys: frozenset[str]
    answers: tuple[tuple[int, str], ...]
    sent: int = 0
    tokens: int = 0

    @property
    def per_answer(self) -> float:
        """Requests per answer."""
        return self.sent / max(1, len(self.answers))

    @property
    def accounts(self) -> float:
        """Accounts per thousand answers."""
        return 1000.0 * len(self.keys) / max(1, len(self.answers))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found of one operation. Shares are of its keys, or of its answers.

    Attributes:
        linked: keys in a reported campaign most of whose members are the operation's.
        alone: keys that were flagged on their own.
        found: either.
        before: answers until the first alarm of either sort; `before_alone` without the linker. 1.0 without an alarm.
        kept: answers that it got if every key is stopped at its own alarm or its campaign's; `kept_alone` without linker.
        level: highest of its campaigns.
        beside: honest keys in reported campaigns of the operation.
        evidence: channel → nats, of the largest of its campaigns.
        shares: channel → share of the members that show it.
        operation: that it is of.
    """

    linked: float
    alone: float
    found: float
    before: float
    before_alone: float
    kept: float
    kept_alone: float
    level: Level
    beside: int
    evidence: Mapping[str, float]
    shares: Mapping[str, float]
    operation: Operation


def linked(here: Stage, cast: Played) -> tuple[dict[str, Campaign], dict[str, int]]:
    """Campaigns that were reported, as the last pass left them, and since when; what others took in is part of them."""
    linker = Linker(here.model)
    linker.load(here.honest.past)
    linker.load(cast.past)
    traces = list(heapq.merge(here.honest.traces, cast.traces, key=lambda one: one.at_us))
    since: dict[str, int] = {}
    place = 0
    for at_us in range(here.border_us + STEP_US, here.end_us + STEP_US + 1, STEP_US):
        upto = place
        while upto < len(traces) and traces[upto].at_us < at_us:
            upto += 1
        linker.take(traces[place:upto])
        place = upto
        if not linker.fresh:
            continue
        for one in linker.step(at_us).changed:
            if one.level >= Level.SUSPECT:
                since.setdefault(one.id, at_us)
    first: dict[str, int] = {}
    for name, at_us in since.items():
        home = linker.campaigns[name]
        while home.merged_into:
            home = linker.campaigns[home.merged_into]
        first[home.id] = min(at_us, first.get(home.id, at_us))
    return {name: linker.campaigns[name] for name in first}, first


def judged(operation: Operation, played: Played, campaigns: Mapping[str, Campaign], since: Mapping[str, int]) -> Outcome:
    """How much of an operation was found.

    Args:
        operation: that is looked for.
        played: its keys; one of them that sent only cover is neither found nor honest.
        campaigns: reported; since: first report of each.
    """
    keys = operation.keys
    alone = {key: at for key, at in played.flagged.items() if key in keys}
    joined: dict[str, int] = {}
    first, largest, beside, level = inf, None, 0, Level.CLEAR
    for name, campaign in campaigns.items():
        mine = [member for member in campaign.members if member.key_id in keys]
        honest = sum(member.key_id not in keys and member.key_id not in played.sent for member in campaign.members)
        if len(mine) <= honest:
            continue
        first = min(first, since[name])
        beside += honest
        level = max(level, campaign.level)
        for member in mine:
            at_us = max(member.joined_us, since[name])
            joined[member.key_id] = min(at_us, joined.get(member.key_id, at_us))
        if largest is None or len(mine) > len(largest.members):
            largest = campaign
    either = {key: min(alone.get(key, joined.get(key, 0)), joined.get(key, alone.get(key, 0))) for key in {*alone, *joined}}
    by_key = min(alone.values(), default=inf)
    evidence = largest.evidence if largest else ()
    return Outcome(
        linked=len(joined) / len(keys),
        alone=len(alone) / len(keys),
        found=len(either) / len(keys),
        before=_until(operation.answers, min(first, by_key)),
        before_alone=_until(operation.answers, by_key),
        kept=_kept(operation.answers, either),
        kept_alone=_kept(operation.answers, alone),
        level=level,
        beside=beside,
        evidence={one.channel: one.nats for one in evidence},
        shares={one.channel: one.share for one in evidence},
        operation=operation,
    )


def _until(answers: Sequence[tuple[int, str]], alarm_us: float) -> float:
    """Share of the answers that were given before a moment."""
    return sum(at_us < alarm_us for at_us, _ in answers) / max(1, len(answers))


def _kept(answers: Sequence[tuple[int, str]], stops: Mapping[str, int]) -> float:
    """Share of the answers that were given to keys before they were stopped."""
    return sum(at_us < stops.get(key, inf) for at_us, key in answers) / max(1, len(answers))


def operation_of(truth: Mapping[str, object], name: str, played: Played, border_us: int) -> Operation:
    """The operation of a name.

    Args:
        truth: answer key of its world.
        name: of the setting.
        played: keys of the world.
        border_us: answers of before do not count.
    """
    campaign = next(one for one in truth["campaigns"].values() if one["name"] == name)  # type: ignore[attr-defined]
    facts = {key: truth["keys"][key] for key in campaign["keys"]}  # type: ignore[index]
    keys = frozenset(key for key, known in facts.items() if known["attack_requests_eval"])
    answers = sorted((round(ts * 1_000_000), key) for key in keys for ts, _, _ in facts[key]["answered"])
    return Operation(
        keys,
        tuple(one for one in answers if one[0] >= border_us),
        sum(played.sent.get(key, 0) for key in facts),
        sum(played.tokens.get(key, 0) for key in facts),
    )


def every_key(truth: Mapping[str, object], name: str) -> frozenset[str]:
    """Keys of an operation, those that never harvested too."""
    return frozenset(next(one["keys"] for one in truth["campaigns"].values() if one["name"] == name))  # type: ignore[attr-defined]
