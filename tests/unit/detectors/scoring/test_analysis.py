"""The stages in a row: batches leave no trace, scoring moments are the entity's own, states go on from their bytes."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import analysis as analysis_module
from detectors.analysis import Analysis, EntityState
from detectors.catalogue import INDEX
from detectors.contract import Level, Status, Verdict
from detectors.event import Event
from detectors.features import FeatureRow
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.looks import Dated, Looks
from detectors.model import Model, rules_only
from detectors.profile import BadProfile, Profile

Item = tuple[Event, Fingerprint]
Stream = Callable[..., list[Event]]
DAY = 86_400_000_000
TEMPLATE = "Think step by step inside <reasoning> tags before you answer inside <answer> tags.\n\nTask: {}"
ANSWER = "<reasoning> first this follows from that, and then the rest follows </reasoning><answer> 42 </answer>"


@pytest.fixture
def harvest(stream: Stream, words: Callable[..., str]) -> list[Item]:
    """Sixty exchanges of a key that forces reasoning into tags, one a minute."""
    events = stream(
        60, text=lambda n: TEMPLATE.format(words(n, 25)), answer=ANSWER, output_tokens=700, plan="payg", org_id="o",
        chain_digest=lambda n: n + 1, user_digest=lambda n: n + 1, answer_digest=lambda n: n + 1,
    )  # fmt: skip
    return [(event, fingerprint(event)) for event in events]


@pytest.fixture
def mixed(stream: Stream, start_us: int) -> list[Item]:
    """Three keys of two organisations and a stranger, interleaved; one exchange arrives late."""
    events: list[Event] = []
    for number, (key, org) in enumerate((("a", "o1"), ("b", "o1"), ("c", "o2"), ("d", ""))):
        events += stream(
            40 + 7 * number, gap_us=(number + 1) * 47_000_000, key_id=key, org_id=org, plan="payg",
            key_created_us=start_us - (number + 1) * 3 * DAY, output_tokens=lambda n, k=number: 40 * (n % 9) * (k + 1),
            chain_digest=lambda n, k=number: 1 + n + 1000 * k, event_id=lambda n, k=key: f"{k}{n}",
        )  # fmt: skip
    events.sort(key=lambda event: (event.at_us, event.event_id))
    events[90], events[60] = events[60], events[90]
    return [(event, fingerprint(event)) for event in events]


def _play(model: Model, items: Sequence[Item], cuts: Sequence[int]) -> tuple[list[Verdict], dict[tuple[str, str], bytes]]:
    states: dict[tuple[str, str], EntityState] = {}
    found: list[Verdict] = []
    edges = [0, *sorted(cuts), len(items)]
    for start, end in itertools.pairwise(edges):
        found += Analysis(model).observe(states, items[start:end])
    return found, {name: state.to_bytes() for name, state in states.items()}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_where_a_stream_is_cut_changes_no_bit(data: st.DataObject, model: Model, mixed: list[Item]) -> None:
    """Any split into batches gives the same verdicts in the same order and the same state bytes."""
    cuts = data.draw(st.lists(st.integers(0, len(mixed)), max_size=12))
    assert _play(model, mixed, cuts) == _play(model, mixed, [])


def test_one_by_one_is_like_all_at_once(model: Model, mixed: list[Item]) -> None:
    """Batches of a single exchange, the way a quiet system runs, change nothing either."""
    assert _play(model, mixed, range(len(mixed))) == _play(model, mixed, [])


def test_a_state_that_was_stored_in_between_goes_on_alike(model: Model, mixed: list[Item]) -> None:
    """Writing every state out and reading it back after every batch changes no verdict and no byte."""
    states: dict[tuple[str, str], EntityState] = {}
    found: list[Verdict] = []
    for start in range(0, len(mixed), 11):
        found += Analysis(model).observe(states, mixed[start : start + 11])
        states = {name: EntityState.from_bytes(state.to_bytes()) for name, state in states.items()}
    whole, stored = _play(model, mixed, [])
    assert found == whole
    assert {name: state.to_bytes() for name, state in states.items()} == stored


def test_another_entity_in_the_stream_changes_nothing(model: Model, mixed: list[Item]) -> None:
    """A key's verdicts depend on its own exchanges alone, whatever else is going on."""
    alone, _ = _play(model, [item for item in mixed if item[0].key_id == "c"], [])
    together, _ = _play(model, mixed, [])
    assert alone == [verdict for verdict in together if verdict.entity_id in ("c", "o2")]
    assert alone


def test_keys_come_before_their_organisation_and_strangers_have_none(mixed: list[Item]) -> None:
    """Missing states are made: one per key and organisation named, none for the empty organisation."""
    states: dict[tuple[str, str], EntityState] = {}
    kinds = {tuple(v.entity_kind for v in Analysis(rules_only()).observe(states, [item])) for item in mixed}
    assert kinds == {(), ("key",), ("org",), ("key", "org")}
    assert set(states) == {("key", "a"), ("key", "b"), ("key", "c"), ("key", "d"), ("org", "o1"), ("org", "o2")}
    assert states["org", "o1"].exchanges == states["key", "a"].exchanges + states["key", "b"].exchanges


def test_no_exchanges_are_no_verdicts() -> None:
    """An empty batch changes nothing."""
    assert Analysis(rules_only()).observe({}, []) == []


def _moments(items: Sequence[Item]) -> list[int]:
    states: dict[tuple[str, str], EntityState] = {}
    out = []
    for number, item in enumerate(items, 1):
        verdicts = Analysis(rules_only()).observe(states, [item])
        out += [number] * sum(verdict.entity_kind == "key" for verdict in verdicts)
    return out


def test_scoring_moments_thin_out_as_an_entity_grows(stream: Stream) -> None:
    """First at the fifth exchange, then every third, later each time it has grown by a tenth."""
    events = stream(400, gap_us=1_000_000)
    moments = _moments([(event, fingerprint(event)) for event in events])
    assert moments[:6] == [5, 8, 11, 14, 17, 20]
    steps = [after - before for before, after in itertools.pairwise(moments)]
    assert steps == sorted(steps)
    assert max(steps) == (moments[-2] // analysis_module.GROWTH)


def test_a_request_that_was_refused_leads_to_no_verdict(stream: Stream) -> None:
    """Refusals move no scoring moment, however many come and however late: what refuses a key is not prolonged by it."""
    passed = stream(12, gap_us=60_000_000)
    refused = [
        msgspec.structs.replace(event, event_id=f"r{event.event_id}", at_us=event.at_us + 7, outcome="refused", status=429)
        for event in passed + stream(5, gap_us=analysis_module.MOST_US)
    ]
    mixed = sorted(passed + refused, key=lambda event: event.at_us)
    moments = [mixed[at - 1].event_id for at in _moments([(event, fingerprint(event)) for event in mixed])]
    assert moments == [passed[at - 1].event_id for at in _moments([(event, fingerprint(event)) for event in passed])]


def test_half_an_hour_later_the_next_exchange_is_scored(stream: Stream) -> None:
    """A slow key is scored with every exchange once it is old enough: quiet does not postpone a verdict."""
    events = stream(12, gap_us=analysis_module.MOST_US)
    assert _moments([(event, fingerprint(event)) for event in events]) == list(range(5, 13))


def test_a_forced_reasoning_key_is_flagged_within_a_dozen_exchanges(harvest: list[Item]) -> None:
    """Rules alone find it early, confirm it with evidence, say why, and count what leaks from there on."""
    states: dict[tuple[str, str], EntityState] = {}
    verdicts = [v for v in Analysis(rules_only()).observe(states, harvest) if v.entity_kind == "key"]
    first = next(verdict for verdict in verdicts if verdict.level >= Level.SUSPECT)
    assert first.evidence <= 12
    last = verdicts[-1]
    assert last.level is Level.CONFIRMED
    assert last.flagged_us == first.at_us
    assert 0 < last.leaked <= 60
    assert {"elicitation_share", "answer_tag_share"} <= {reason.feature for reason in last.reasons}
    assert states["key", "k"].verdict == last


def test_an_ordinary_key_is_clear_and_a_new_one_is_warming_up(model: Model, mixed: list[Item]) -> None:
    """Honest traffic gets no level; the first verdicts may lack a number but never look perfectly normal."""
    verdicts, _ = _play(rules_only(), mixed, [])
    assert {verdict.level for verdict in verdicts if verdict.entity_id == "d"} <= {Level.CLEAR, Level.WATCH}
    verdicts, _ = _play(model, mixed, [])
    assert all(verdict.score == 0.0 for verdict in verdicts if verdict.status is Status.WARMING_UP)
    assert all(verdict.model_id == model.id for verdict in verdicts)


def test_organisations_are_judged_by_rules_and_not_by_the_peers_of_keys(model: Model, mixed: list[Item]) -> None:
    """An organisation's sums are no key's, so the peer scorers have nothing to say about it."""
    verdicts, _ = _play(model, mixed, [])
    of_orgs = [verdict for verdict in verdicts if verdict.entity_kind == "org"]
    assert of_orgs
    statuses = {score.status.value for v in of_orgs for score in v.scores if score.scorer in ("tails", "isolation")}
    assert "scored" not in statuses


@pytest.mark.parametrize("seed", range(6))
def test_bytes_that_are_no_state_are_refused(seed: int, harvest: list[Item]) -> None:
    """Cut, overwritten and foreign bytes raise BadProfile and nothing else."""
    states: dict[tuple[str, str], EntityState] = {}
    Analysis(rules_only()).observe(states, harvest[:10])
    data = states["key", "k"].to_bytes()
    dice = random.Random(seed)
    for damaged in (data[: dice.randrange(len(data))], dice.randbytes(200), b"", b"\x90"):
        with pytest.raises(BadProfile):
            EntityState.from_bytes(damaged)


@pytest.mark.parametrize("version", [1, 99])
def test_a_state_of_another_version_is_refused(version: int) -> None:
    """A release never guesses at another release's bytes, before or after its own."""
    data = bytearray(zlib.decompress(EntityState(Profile.new("k", "key")).to_bytes()))
    data[1] = version  # the version is the first element of the array
    with pytest.raises(BadProfile, match=f"state version is {version}"):
        EntityState.from_bytes(zlib.compress(data))


def test_a_state_that_unpacks_without_end_is_refused() -> None:
    """A few bytes that claim to be a gigabyte cost no memory."""
    with pytest.raises(BadProfile):
        EntityState.from_bytes(zlib.compress(bytes(1 << 26)))


def test_a_frozen_feature_is_not_shown_to_scorers(model: Model, harvest: list[Item]) -> None:
    """From the look's own moment on; rows keep the feature, and a frozen account of leaks raises no alarm."""
    start = harvest[30][0].at_us
    names = {"elicitation_share": 0, "leak_evidence": 0}
    looks = Looks(past=(Dated(0, start, names),))
    rows: list[FeatureRow] = []
    verdicts = Analysis(model, looks).observe({}, harvest, rows)
    plain = Analysis(model).observe({}, harvest)
    assert any(verdict.leaking for verdict in plain)
    before = [at for at, verdict in enumerate(plain) if verdict.at_us < start]
    assert [verdicts[at] for at in before] == plain[: len(before)]
    after = [verdict for verdict in verdicts if verdict.at_us >= start]
    assert [verdict.scores for verdict in after] != [verdict.scores for verdict in plain[len(before) :]]
    assert not any(verdict.leaking for verdict in after)
    assert all(row.present[INDEX["leak_evidence"]] for row in rows[-len(after) :])
