"""The life of campaigns: what is told of them agrees with who is in them, pass after pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from detectors.campaign import chronicle
from detectors.campaign.chronicle import CALM_US, MOST_LINKS
from detectors.campaign.contract import Campaign, Member, decode, encode
from detectors.campaign.linker import Linker
from detectors.campaign.trace import Kind, Trace
from detectors.contract import Level
from detectors.model import Model
from detectors.sketch.decay import HOUR_US

MakeTrace = Callable[..., Trace]
NOW_US = 1_790_000_000_000_000
PASS_US = 60_000_000
WORDING = [(Kind.TAIL, 1), (Kind.GRAM, 2), (Kind.CONTRACT, 3)]


@pytest.fixture
def operation(make_trace: MakeTrace) -> list[Trace]:
    """Twelve young keys with one wording and three clients."""
    return [make_trace(f"m-{n}", [*WORDING, (Kind.SETUP, n % 3)], hot=True, topic=1, age_d=1.0) for n in range(12)]


@pytest.fixture
def linker(model: Model, crowd: list[Trace], operation: list[Trace]) -> Linker:
    """One that has found the operation."""
    made = Linker(model)
    made.take([*crowd, *operation])
    made.step(NOW_US)
    return made


def _one(linker: Linker) -> Campaign:
    (found,) = linker.campaigns.values()
    return found


def _living(linker: Linker) -> dict[str, set[str]]:
    alive = [one for one in linker.campaigns.values() if not one.closed and not one.merged_into]
    return {one.id: {member.key_id for member in one.members} for one in alive}


def _untied(traces: Sequence[Trace]) -> list[Trace]:
    return [msgspec.structs.replace(one, marks=b"", at_us=one.at_us + 1) for one in traces]


def test_a_level_falls_by_one_step_for_each_day_without_a_call(linker: Linker, operation: list[Trace]) -> None:
    """To the microsecond; and closes at the end."""
    linker.take(_untied(operation))
    seen = []
    for at_us in (1, CALM_US - 1, CALM_US, 2 * CALM_US - 1, 2 * CALM_US, 3 * CALM_US - 1, 3 * CALM_US):
        linker.step(NOW_US + at_us)
        seen.append((_one(linker).level, _one(linker).closed))
    assert seen == [
        (Level.CONFIRMED, False),
        (Level.CONFIRMED, False),
        (Level.SUSPECT, False),
        (Level.SUSPECT, False),
        (Level.WATCH, False),
        (Level.WATCH, False),
        (Level.CLEAR, True),
    ]
    levels = [turn.level for turn in _one(linker).history if turn.what == "level"]
    assert levels == ["confirmed", "suspect", "watch", "clear"]


def test_a_level_rises_at_once_and_asks_every_channel(
    model: Model, strangers: Model, crowd: list[Trace], operation: list[Trace]
) -> None:
    """Also where the group is as it was: who was watched was asked for less."""
    watched = Linker(strangers)
    watched.take([*crowd, *operation])
    watched.step(NOW_US)
    assert _one(watched).level is Level.WATCH
    assert "centre" not in {one.channel for one in _one(watched).evidence}
    fitted = Linker(model, watched.campaigns.values(), NOW_US)
    fitted.load([*crowd, *operation])
    fitted.step(NOW_US + PASS_US)
    found = _one(fitted)
    assert (found.level, found.since_us, found.flagged_us) == (Level.CONFIRMED, NOW_US + PASS_US, NOW_US + PASS_US)
    assert found.first_us == NOW_US
    assert "centre" in {one.channel for one in found.evidence}


def test_what_meets_a_watched_group_stays_as_reported_as_it_was(
    strangers: Model, crowd: list[Trace], operation: list[Trace]
) -> None:
    """A merger lowers no level before its time."""

    def campaign(name: str, traces: Sequence[Trace], level: Level, flagged_us: int | None) -> Campaign:
        members = tuple(Member(one.key_id, one.org, NOW_US, 1.0, seen_us=NOW_US) for one in traces)
        return Campaign(name, level, 1.0, NOW_US, NOW_US, NOW_US, NOW_US, flagged_us, members)

    held = [
        campaign("c-000000000001", operation[:8], Level.WATCH, None),
        campaign("c-000000000002", operation[8:], Level.CONFIRMED, NOW_US - HOUR_US),
    ]
    linker = Linker(strangers, held, NOW_US)
    linker.load([*crowd, *operation])
    made = linker.step(NOW_US + PASS_US)
    one, other = (linker.campaigns[campaign.id] for campaign in held)
    assert other.merged_into == one.id
    assert not other.reported
    assert (one.level, one.flagged_us) == (Level.CONFIRMED, NOW_US - HOUR_US)
    assert len(one.members) == 12
    assert set(made.joined) == {(one.id, trace.key_id) for trace in operation[8:]}
    assert set(made.left) == {(other.id, trace.key_id) for trace in operation[8:]}
    linker.step(NOW_US + CALM_US)
    assert linker.campaigns[one.id].level is Level.SUSPECT


def test_a_campaign_whose_keys_are_forgotten_closes_and_says_so(linker: Linker, operation: list[Trace]) -> None:
    """As keys are that were silent for long; who they were stays on record, and it is not touched again."""
    ids = [one.key_id for one in operation]
    linker.forget(ids[:5])
    made = linker.step(NOW_US + PASS_US)
    assert {key for _, key in made.left} == set(ids[:5])
    assert not _one(linker).closed
    linker.forget(ids)
    made = linker.step(NOW_US + 2 * PASS_US)
    (closed,) = made.changed
    assert closed.closed
    assert not closed.reported
    assert {key for _, key in made.left} == set(ids[5:])
    assert {member.key_id for member in closed.members} == set(ids[5:])
    assert linker.step(NOW_US + 3 * PASS_US).changed == ()


def test_a_member_that_is_contracted_leaves_at_once(linker: Linker, operation: list[Trace]) -> None:
    """Whether the rest is still a group or not."""
    signed = msgspec.structs.replace(operation[0], authorised=True, at_us=NOW_US)
    linker.take([signed])
    assert linker.step(NOW_US + PASS_US).left == ((_one(linker).id, signed.key_id),)
    linker.take(_untied(operation[1:]))
    linker.take([msgspec.structs.replace(operation[1], authorised=True, marks=b"", at_us=NOW_US)])
    assert linker.step(NOW_US + 2 * PASS_US).left == ((_one(linker).id, operation[1].key_id),)
    assert not {operation[0].key_id, operation[1].key_id} & {member.key_id for member in _one(linker).members}


def test_figures_of_a_campaign_are_those_of_its_members(linker: Linker, operation: list[Trace]) -> None:
    """Also of one that no group is any more, and that members leave."""
    linker.take(_untied(operation))
    linker.forget([one.key_id for one in operation[:4]])
    linker.step(NOW_US + PASS_US)
    found = _one(linker)
    assert (found.organisations, found.requests, found.leaked) == (8, 8 * 40, 8 * 20)
    assert len(found.members) == 8


def test_the_history_is_bounded_and_keeps_the_newest(
    monkeypatch: pytest.MonkeyPatch, linker: Linker, operation: list[Trace]
) -> None:
    """A key that comes and goes a hundred times does not fill the memory."""
    monkeypatch.setattr(chronicle, "MOST_TURNS", 6)
    for step in range(1, 21):
        if step % 2:
            linker.forget([operation[0].key_id])
        else:
            linker.take([operation[0]])
        linker.step(NOW_US + step * PASS_US)
        assert len(_one(linker).history) <= 6
    assert [turn.what for turn in _one(linker).history][-2:] == ["left", "joined"]
    assert _one(linker).history[-1].at_us == NOW_US + 20 * PASS_US


def test_the_picture_is_bounded_and_shows_members_alone(model: Model, crowd: list[Trace], make_trace: MakeTrace) -> None:
    """The strongest edges, each once."""
    large = [make_trace(f"m-{n}", [*WORDING, (Kind.SETUP, n % 3)], hot=True, topic=1, age_d=1.0) for n in range(300)]
    linker = Linker(model)
    linker.take([*crowd, *large])
    linker.step(NOW_US)
    found = _one(linker)
    ids = {member.key_id for member in found.members}
    assert len(found.members) == 300
    assert len(found.links) == MOST_LINKS
    assert all(link.a in ids and link.b in ids and link.a != link.b and link.channels for link in found.links)
    assert len({frozenset((link.a, link.b)) for link in found.links}) == MOST_LINKS
    assert [link.nats for link in found.links] == sorted((link.nats for link in found.links), reverse=True)


def _wander(linker: Linker, make_trace: MakeTrace, dice: random.Random, step: int) -> None:
    """Two operations swap wordings and keys; some cool down, some are forgotten and come back."""
    said = [[(Kind.TAIL, at), (Kind.GRAM, at + 20), (Kind.SETUP, at % 2)] for at in (1, 2, 3)]
    for n in dice.sample(range(24), 8):
        where = dice.randrange(3)
        linker.take(
            [
                make_trace(
                    f"m-{n}",
                    said[where],
                    hot=dice.random() < 0.8,
                    topic=where,
                    age_d=1.0,
                    at_us=NOW_US + step,
                    exchanges=40 + step,
                )
            ]
        )
    linker.forget([f"m-{n}" for n in range(24) if dice.random() < 0.05])


@pytest.mark.parametrize("seed", range(3))
def test_who_joined_and_left_is_who_is_in_and_out(
    model: Model, crowd: list[Trace], make_trace: MakeTrace, seed: int
) -> None:
    """Over twenty passes of keys that wander; and nothing changes that is not told."""
    dice = random.Random(seed)
    linker = Linker(model)
    linker.take(crowd)
    held: dict[str, set[str]] = {}
    moves = 0
    for step in range(1, 21):
        _wander(linker, make_trace, dice, step)
        before = dict(linker.campaigns)
        made = linker.step(NOW_US + step * 6 * HOUR_US)
        moves += len(made.joined) + len(made.left)
        for name, key in made.left:
            held[name].remove(key)
        for name, key in made.joined:
            assert key not in held.setdefault(name, set())
            held[name].add(key)
        assert {name: keys for name, keys in held.items() if keys} == _living(linker)
        told = {one.id for one in made.changed}
        assert all(linker.campaigns[name] is before.get(name) for name in linker.campaigns.keys() - told)
        everybody = [key for keys in _living(linker).values() for key in keys]
        assert len(everybody) == len(set(everybody))
        for one in linker.campaigns.values():
            assert not one.merged_into or one.merged_into in linker.campaigns
            assert len({member.key_id for member in one.members}) == len(one.members)
    assert moves > 30


@pytest.mark.parametrize("seed", range(3))
def test_another_linker_takes_over_at_any_pass(model: Model, crowd: list[Trace], make_trace: MakeTrace, seed: int) -> None:
    """From stored campaigns and traces it goes on to the byte as the one before would have."""
    dice = random.Random(seed)
    linker = Linker(model)
    linker.take(crowd)
    for step in range(1, 9):
        _wander(linker, make_trace, dice, step)
        linker.step(NOW_US + step * PASS_US)
        other = Linker(model, [decode(encode(one)) for one in linker.campaigns.values()], linker.last_us)
        traces = list(linker._fleet.traces.values())
        dice.shuffle(traces)
        other.load(traces)
        assert other.fresh == 0
        changes = random.Random(step)
        state = changes.getstate()
        for one in (linker, other):
            changes.setstate(state)
            _wander(one, make_trace, changes, step)
        assert other.fresh == linker.fresh
        at_us = NOW_US + step * PASS_US + 1
        made, wanted = other.step(at_us), linker.step(at_us)
        assert made == wanted
        assert [encode(one) for one in made.changed] == [encode(one) for one in wanted.changed]
        assert {name: encode(one) for name, one in other.campaigns.items()} == {
            name: encode(one) for name, one in linker.campaigns.items()
        }
