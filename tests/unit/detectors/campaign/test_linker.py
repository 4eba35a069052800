"""The linker as a whole: what becomes a campaign, what never does, and how campaigns live."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from detectors.campaign.contract import Campaign, decode, encode
from detectors.campaign.linker import Linker
from detectors.campaign.trace import Kind, Trace
from detectors.contract import Level
from detectors.model import Model
from detectors.sketch.decay import DAY_US, HOUR_US

MakeTrace = Callable[..., Trace]
NOW_US = 1_790_000_000_000_000
WORDING = [(Kind.TAIL, 1), (Kind.GRAM, 2), (Kind.CONTRACT, 3)]


@pytest.fixture
def operation(make_trace: MakeTrace) -> list[Trace]:
    """Twelve young keys with one wording, three clients and payments of their own."""
    return [
        make_trace(f"member-{n}", [*WORDING, (Kind.SETUP, n % 3), (Kind.PAYMENT, 100 + n)], hot=True, topic=1, age_d=1.0)
        for n in range(12)
    ]


def _pass(model: Model, traces: Sequence[Trace], at_us: int = NOW_US) -> Linker:
    linker = Linker(model)
    linker.take(traces)
    linker.step(at_us)
    return linker


def _reported(linker: Linker) -> list[Campaign]:
    return [one for one in linker.campaigns.values() if one.reported]


def _keys(campaign: Campaign) -> set[str]:
    return {member.key_id for member in campaign.members}


def test_young_keys_with_one_rare_wording_that_harvest_are_a_campaign(
    model: Model, crowd: list[Trace], operation: list[Trace]
) -> None:
    """All of them, nobody else, with two kinds of evidence."""
    (found,) = _reported(_pass(model, [*crowd, *operation]))
    assert _keys(found) == {one.key_id for one in operation}
    assert found.level is Level.CONFIRMED
    assert {"wording", "client"} <= set(found.kinds)
    assert found.organisations == 12
    assert found.requests == sum(one.exchanges for one in operation)
    assert all("wording" in member.channels for member in found.members)


def test_a_viral_app_is_no_campaign(model: Model, crowd: list[Trace], make_trace: MakeTrace) -> None:
    """A hundred unrelated young keys with one new wording, a few of them hot by chance, are customers."""
    app = [make_trace(f"app-{n}", WORDING, hot=n < 6, topic=n, age_d=0.5) for n in range(100)]
    assert not _reported(_pass(model, [*crowd, *app]))


def test_a_course_behind_one_network_and_payment_is_no_campaign(
    model: Model, crowd: list[Trace], make_trace: MakeTrace
) -> None:
    """Many new keys, one address, one payer, one starter template: and they do what customers do."""
    course = [
        make_trace(f"pupil-{n}", [*WORDING, (Kind.NETWORK, 7), (Kind.PAYMENT, 8)], topic=n, age_d=0.2) for n in range(30)
    ]
    assert not _reported(_pass(model, [*crowd, *course]))


def test_one_company_is_no_campaign_whatever_its_keys_do(model: Model, crowd: list[Trace], operation: list[Trace]) -> None:
    """A company that spreads work over its keys is one customer, and judged as one."""
    company = [msgspec.structs.replace(one, org="company") for one in operation]
    assert not _reported(_pass(model, [*crowd, *company]))


def test_contracted_keys_are_in_no_campaign(model: Model, crowd: list[Trace], operation: list[Trace]) -> None:
    """Authorised keys are left out of every group."""
    mixed = [msgspec.structs.replace(one, authorised=n % 2 == 0) for n, one in enumerate(operation)]
    for found in _reported(_pass(model, [*crowd, *mixed])):
        assert not any(int(key.split("-")[1]) % 2 == 0 for key in _keys(found))


def test_an_old_habit_of_many_settled_customers_ties_nobody(
    model: Model, crowd: list[Trace], make_trace: MakeTrace
) -> None:
    """The default prompt of a popular harness is no evidence, even among keys that harvest."""
    settled = [make_trace(f"user-{n}", WORDING, topic=n) for n in range(40)]
    hot = [make_trace(f"hot-{n}", WORDING, hot=True, topic=2000 + n) for n in range(4)]
    assert not _reported(_pass(model, [*crowd, *settled, *hot]))


def test_without_peers_nothing_is_more_than_watched(strangers: Model, crowd: list[Trace], operation: list[Trace]) -> None:
    """What was learned elsewhere is worth a look and no more."""
    linker = _pass(strangers, [*crowd, *operation])
    assert {one.level for one in linker.campaigns.values()} == {Level.WATCH}


def test_the_order_of_traces_does_not_matter(model: Model, crowd: list[Trace], operation: list[Trace]) -> None:
    """Shuffled, they give the same campaigns to the byte."""
    held = [*crowd, *operation]
    wanted = {name: encode(one) for name, one in _pass(model, held).campaigns.items()}
    random.Random(5).shuffle(held)
    assert {name: encode(one) for name, one in _pass(model, held).campaigns.items()} == wanted
    assert wanted


def test_a_new_linker_goes_on_as_the_old_one_would_have(
    model: Model, crowd: list[Trace], operation: list[Trace], make_trace: MakeTrace
) -> None:
    """Stored campaigns and traces are all of its memory."""
    held = [*crowd, *operation]
    old = _pass(model, held)
    new = Linker(model, [decode(encode(one)) for one in old.campaigns.values()], old.last_us)
    new.load(held)
    later = [make_trace("member-99", [*WORDING, (Kind.SETUP, 1)], hot=True, topic=1, age_d=0.1)]
    for linker in (old, new):
        linker.take(later)
    assert new.fresh == old.fresh == 1
    assert old.step(NOW_US + 60_000_000) == new.step(NOW_US + 60_000_000)


def test_a_new_key_joins_within_one_pass_and_the_campaign_keeps_its_name(
    model: Model, crowd: list[Trace], operation: list[Trace], make_trace: MakeTrace
) -> None:
    """A key's first exchanges are enough."""
    linker = _pass(model, [*crowd, *operation])
    (before,) = _reported(linker)
    linker.take([make_trace("late", WORDING, hot=True, topic=1, age_d=0.01, exchanges=2, score=-1.0)])
    made = linker.step(NOW_US + 60_000_000)
    assert made.joined == ((before.id, "late"),)
    assert made.left == ()
    (after,) = _reported(linker)
    assert (after.id, after.first_us) == (before.id, before.first_us)
    assert after.history[-1].what == "joined"


def test_a_member_that_turns_out_honest_leaves(model: Model, crowd: list[Trace], operation: list[Trace]) -> None:
    """Cold and without a tie, it is let go at once."""
    linker = _pass(model, [*crowd, *operation])
    (campaign,) = _reported(linker)
    one = operation[0]
    linker.take([msgspec.structs.replace(one, score=0.1, marks=b"", at_us=one.at_us + 1)])
    made = linker.step(NOW_US + 60_000_000)
    assert made.left == ((campaign.id, one.key_id),)


def test_a_campaign_that_is_called_for_no_more_falls_slowly_and_closes(
    model: Model, crowd: list[Trace], operation: list[Trace]
) -> None:
    """One step a day, and never for silence within the day."""
    linker = _pass(model, [*crowd, *operation])
    (name,) = linker.campaigns
    quiet = [msgspec.structs.replace(one, marks=b"", at_us=one.at_us + 1) for one in operation]
    linker.take(quiet)
    linker.step(NOW_US + HOUR_US)
    assert linker.campaigns[name].level is Level.CONFIRMED
    levels = []
    for day in range(1, 5):
        linker.step(NOW_US + day * DAY_US + HOUR_US)
        levels.append(linker.campaigns[name].level)
        if linker.campaigns[name].closed:
            break
    assert levels == sorted(levels, reverse=True)
    assert linker.campaigns[name].closed
    assert not linker.campaigns[name].reported


def test_two_operations_with_one_client_stay_two(model: Model, crowd: list[Trace], make_trace: MakeTrace) -> None:
    """Wordings of their own and different questions; a client in common is chance."""
    first = [make_trace(f"a-{n}", [*WORDING, (Kind.SETUP, n % 2)], hot=True, topic=1, age_d=1.0) for n in range(12)]
    other = [(Kind.HEAD, 51), (Kind.GRAM, 52)]
    second = [make_trace(f"b-{n}", [*other, (Kind.SETUP, n % 6)], hot=True, topic=2, age_d=1.0) for n in range(12)]
    found = _reported(_pass(model, [*crowd, *first, *second]))
    assert sorted("".join(sorted({key[0] for key in _keys(one)})) for one in found) == ["a", "b"]


def test_pieces_with_wordings_of_their_own_are_one_by_their_clients(
    model: Model, crowd: list[Trace], make_trace: MakeTrace
) -> None:
    """An operation that paraphrases for each part still uses its few clients everywhere."""
    pieces = [
        make_trace(f"m-{n}", [(Kind.TAIL, 60 + n // 5), (Kind.GRAM, 70 + n // 5), (Kind.SETUP, n % 5)], hot=True, topic=1)
        for n in range(15)
    ]
    (found,) = _reported(_pass(model, [*crowd, *pieces]))
    assert len(found.members) == 15


def test_erased_keys_are_forgotten(model: Model, crowd: list[Trace], operation: list[Trace]) -> None:
    """They are in no later pass."""
    linker = Linker(model)
    linker.take([*crowd, *operation])
    linker.forget([one.key_id for one in operation])
    assert linker.known == len(crowd)
    assert linker.step(NOW_US).changed == ()


def test_a_key_is_never_in_two_living_campaigns(
    model: Model, crowd: list[Trace], operation: list[Trace], make_trace: MakeTrace
) -> None:
    """Over passes in which keys change wordings at random."""
    dice = random.Random(3)
    linker = _pass(model, [*crowd, *operation])
    for step in range(1, 12):
        marks = [[(Kind.TAIL, w), (Kind.GRAM, w + 20), (Kind.SETUP, w)] for w in (1, 2, 3)]
        moved = [
            make_trace(f"member-{n}", dice.choice(marks), hot=True, topic=dice.randrange(2), age_d=1.0, at_us=NOW_US + step)
            for n in range(12)
        ]
        linker.take(moved)
        linker.step(NOW_US + step * 60_000_000)
        held = [m.key_id for c in linker.campaigns.values() if not c.closed and not c.merged_into for m in c.members]
        assert len(held) == len(set(held))


def test_older_traces_do_not_take_the_place_of_newer_ones(model: Model, operation: list[Trace]) -> None:
    """Whatever comes late."""
    linker = Linker(model)
    linker.take(operation)
    linker.take([msgspec.structs.replace(one, at_us=one.at_us - 5, exchanges=1) for one in operation])
    assert linker.known == 12
