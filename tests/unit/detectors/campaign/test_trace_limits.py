"""Traces at their limits: the longest there can be, and bytes that are none."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.campaign import trace as traces
from detectors.campaign.entity import pooled
from detectors.campaign.trace import MOST_MARKS, TRACE_MAX_BYTES, Kind, Trace, decode, encode, marks_of
from detectors.catalogue import INDEX
from detectors.event import Event
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.pooled.rows import WIDTH
from detectors.profile import Profile
from detectors.sketch.decay import DAY_US, WEEK
from detectors.sketch.templates import Template
from detectors.tally import COUNTERS

MakeTrace = Callable[..., Trace]
Full = tuple[Profile, Event, Fingerprint]
NAMES = st.integers(1, 128).map(lambda length: "n" * length)


@pytest.fixture(scope="module")
def full() -> Full:
    """A key with as many habits as a profile holds, several hundred exchanges, and nothing that two of them share."""
    dice = np.random.default_rng(4)
    words = ["".join(dice.choice(list("abcdefghijklmnop"), 6)) for _ in range(300)]
    profile = Profile.new("k", "key")
    for n in range(120):
        heads = [" ".join(words[at : at + 40]) for at in range(0, 280, 40)]
        text = heads[n % 7] + " " + " ".join(dice.choice(words, 60).tolist()) + " " + heads[(n // 7) % 7]
        event = Event(
            event_id="e",
            at_us=1_790_000_000_000_000 + n * 61_000_000,
            key_id="k",
            dialect="openai",
            route="chat",
            model="m",
            roles="su",
            user_head=text[:1024],
            user_tail=text[-512:],
            user_chars=len(text),
            system_head=heads[n % 5],
            system_chars=len(heads[n % 5]),
            user_digest=n + 1,
            chain_digest=n + 1,
            payment_id="p" * 32,
            ip_prefix_id="i" * 32,
            output_tokens=600,
        )
        profile.update(event, fingerprint(event))
    for block in range(60):
        profile.windows["foreign"].see((block * 0x9E3779B1) & 0xFFFFFFFF)
    # Forty tokens in as many runs as they can make.
    profile.templates.held = [Template((b"abcdef",) * 12 + (b"abcdefgh",), 1e6, True)]
    return profile, event, fingerprint(event)


@settings(max_examples=60)
@given(key=NAMES, org=NAMES, plan=NAMES, count=st.integers(1, 2**50), at_us=st.integers(1, 2**52))
def test_no_trace_is_longer_than_a_kilobyte(full: Full, key: str, org: str, plan: str, count: int, at_us: int) -> None:
    """Whatever the names, the counts and the habits; and its bytes give it back."""
    profile, event, fp = full
    profile.entity_id, profile.plan = key, plan
    profile.created_us = at_us
    made = traces.cast(profile, msgspec.structs.replace(event, key_id=key, org_id=org), fp, count)
    data = encode(made)
    assert len(data) <= TRACE_MAX_BYTES
    assert decode(data) == made
    assert (made.key_id, made.org, made.plan) == (key, org, plan)
    assert len(made.pool) == WIDTH
    assert len(made.sums) == 3 * len(COUNTERS)


def test_a_key_of_many_habits_keeps_its_template_and_all_marks(full: Full) -> None:
    """With names as the gateway makes them, nothing is left out."""
    profile, event, fp = full
    profile.entity_id, profile.plan = "k" * 32, "default"
    made = traces.cast(profile, msgspec.structs.replace(event, key_id="k" * 32, org_id="o" * 32), fp, 2**20)
    assert len(list(marks_of(made))) == MOST_MARKS
    assert len(made.template) == 13
    assert len(encode(made)) <= TRACE_MAX_BYTES


def test_what_gives_way_to_a_long_name_is_the_template_and_then_the_lightest_marks(full: Full) -> None:
    """Who pays and from where stays, as it is with every exchange."""
    profile, event, fp = full
    profile.entity_id = profile.plan = "k" * 32
    whole = dict(marks_of(traces.cast(profile, msgspec.structs.replace(event, org_id="o" * 32), fp, 100)))
    profile.entity_id = profile.plan = "k" * 128
    made = traces.cast(profile, msgspec.structs.replace(event, org_id="o" * 128), fp, 100)
    kept = dict(marks_of(made))
    assert made.template == ()
    assert 0 < len(kept) < len(whole)
    assert kept.items() <= whole.items()
    gone = whole.keys() - kept.keys()
    grams = {mark for mark in whole if mark >> 32 == Kind.GRAM}
    assert gone <= grams or grams <= gone, "runs of words go before anything else"
    assert {Kind.PAYMENT, Kind.NETWORK} <= {mark >> 32 for mark in kept}


@settings(max_examples=300)
@given(data=st.binary(max_size=200))
def test_foreign_bytes_are_no_trace(data: bytes) -> None:
    """And never an error."""
    assert decode(data) is None


@settings(max_examples=150)
@given(cut=st.integers(0, 1023), at=st.integers(0, 1023), to=st.integers(0, 255))
def test_cut_bytes_are_no_trace_and_changed_ones_no_error(full: Full, cut: int, at: int, to: int) -> None:
    """What is still read as a trace after a byte was changed can be tested as a group."""
    profile, event, fp = full
    profile.entity_id = profile.plan = "k" * 32
    data = encode(traces.cast(profile, event, fp, 100))
    assert decode(data[: min(cut, len(data) - 1)]) is None
    changed = bytearray(data)
    changed[at % len(data)] = to
    decode(bytes(changed))


@pytest.mark.parametrize(
    "field",
    [
        {"pool": bytes(WIDTH - 1)},
        {"pool": bytes(WIDTH + 8)},
        {"sums": bytes(3 * len(COUNTERS) - 3)},
        {"marks": bytes([200, 1, 1, 1, 1, 1])},
        {"marks": bytes(7)},
        {"contents": bytes(4)},
    ],
    ids=["short pool", "long pool", "fewer counters", "unknown mark", "cut mark", "cut content"],
)
def test_traces_of_another_release_are_none(make_trace: MakeTrace, field: dict[str, bytes]) -> None:
    """Those that a pass would trip over."""
    whole = make_trace("k", [(Kind.TAIL, 1)])
    assert decode(encode(whole)) == whole
    assert decode(encode(msgspec.structs.replace(whole, **field))) is None


def test_names_that_are_no_text_are_no_trace(make_trace: MakeTrace) -> None:
    """Bytes of a name that no encoding of text has."""
    data = encode(make_trace("kkkkkkkk"))
    assert decode(data.replace(b"kkkkkkkk", b"\xff" * 8)) is None


def test_shares_of_a_group_are_means_weighted_by_exchanges(make_trace: MakeTrace, now_us: int) -> None:
    """Ten turns of conversations and thirty single turns are a group of which three quarters are single turns."""

    def key(name: str, answered: int, single: int) -> Trace:
        sums = np.zeros(len(COUNTERS), "<f4")
        for counter in ("requests", "answered", "generated", "worded"):
            sums[COUNTERS.index(counter)] = answered
        sums[COUNTERS.index("single_turn")] = single
        return make_trace(name, exchanges=answered, sums=traces.packed(sums), at_us=now_us, topic=1 if single else 2)

    few, many = key("few", 10, 0), key("many", 30, 30)
    group, alone = pooled([few, many], now_us), [pooled([one], now_us) for one in (few, many)]
    at = INDEX["single_turn_ratio"]
    assert [one.values[at] for one in alone] == pytest.approx([0.0, 1.0], abs=0.05)
    assert group.values[at] == pytest.approx(0.75, abs=0.03)
    assert group.evidence == sum(one.evidence for one in alone) == 40
    pool = np.array([one.pool[:, 1:] for one in (*alone, group)])
    assert pool[2] == pytest.approx(0.25 * pool[0] + 0.75 * pool[1], abs=0.01)


def test_exchanges_of_a_group_fade_from_the_time_of_each_trace(make_trace: MakeTrace, now_us: int) -> None:
    """Sixteen turns of a key that fell silent a half-life ago weigh as much as eight of now, as in its own profile."""

    def key(name: str, answered: int, single: int, at_us: int) -> Trace:
        sums = np.zeros(len(COUNTERS), "<f4")
        for counter in ("requests", "answered", "generated"):
            sums[COUNTERS.index(counter)] = answered
        sums[COUNTERS.index("single_turn")] = single
        return make_trace(name, exchanges=answered, sums=traces.packed(sums), at_us=at_us)

    silent, busy = key("silent", 16, 16, now_us - WEEK.half_life_us), key("busy", 8, 0, now_us)
    row = pooled([silent, busy], now_us)
    assert row.values[INDEX["single_turn_ratio"]] == pytest.approx(0.5, abs=0.01)
    assert row.evidence == 16
    assert pooled([silent], silent.at_us).evidence == 16
    assert pooled([silent], now_us).evidence == 8
    assert pooled([silent], now_us + 30 * DAY_US).evidence == 0
