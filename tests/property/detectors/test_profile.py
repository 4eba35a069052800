"""A profile over random traffic: its bytes, its bounds, its merge, and what the order of exchanges may change."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.event import Event
from detectors.features import CATALOGUE, FeatureRow, features
from detectors.fingerprint import Fingerprint
from detectors.profile import DISTINCTS, REPEATS, SIGNATURES, TOPS, WINDOWS, BadProfile, Profile
from detectors.sketch.decay import DAY_US, HOUR_US, WEEK
from detectors.tally import COUNTERS

START_US = 1_790_000_000_000_000 // DAY_US * DAY_US
U64 = st.integers(0, 2**64 - 1)
few = st.integers(0, 5)
shingles = st.lists(st.integers(0, 40), max_size=24, unique=True).map(lambda held: np.array(sorted(held), "<u4").tobytes())
blocks = st.lists(few, max_size=4).map(lambda held: b"".join(block.to_bytes(8, "little") for block in held))

fingerprints = st.builds(
    Fingerprint,
    version=st.just(1),
    system=few,
    head=st.one_of(few, U64),
    tail=st.one_of(few, U64),
    contract=few,
    content=st.one_of(few, U64),
    simhash=U64,
    minhash=st.sampled_from([b"", b"\x01\x02" * 16, bytes(range(32)), bytes(range(32, 64))]),
    grams=st.lists(st.one_of(few, st.integers(0, 2**32 - 1)), max_size=12).map(
        lambda grams: np.array(sorted(grams), "<u4").tobytes()
    ),
    intents=st.integers(0, 255),
    language=st.integers(0, 15),
    tags_asked=few,
    tokens=st.integers(0, 300),
    embedding=st.one_of(st.just(b""), st.binary(min_size=64, max_size=64)),
    capability=st.integers(0, 7),
    harvest=st.integers(-127, 127),
    asked=shingles,
    answered=shingles.map(lambda held: held[:24]),
    outline=st.lists(st.integers(0, 9), max_size=12).map(lambda held: b"".join(bytes((word, 7)) * 3 for word in held)),
)
fields: dict[str, Any] = {
    "plan": st.sampled_from(["", "free", "team"]),
    "key_created_us": st.none() | st.integers(0, START_US),
    "authorised": st.sampled_from([(), ("evaluation",)]),
    "route": st.sampled_from(["chat", "responses", "completions", "messages", "embeddings", "models", "other"]),
    "model": st.sampled_from([f"m{n}" for n in range(12)]),
    "stream": st.booleans(),
    "n": st.integers(1, 8),
    "temperature": st.none() | st.floats(0, 2),
    "max_tokens": st.none() | st.integers(0, 100_000),
    "top_logprobs": st.integers(-1, 20),
    "logit_bias_size": few,
    "logit_bias_digest": st.one_of(st.just(0), U64),
    "tools_digest": few,
    "roles": st.text("sduat", max_size=12),
    "user_turns": few,
    "chain_digest": st.one_of(few, U64),
    "user_digest": few,
    "status": st.sampled_from([200, 200, 200, 400, 429, 500]),
    "finish_reason": st.sampled_from(["stop", "length", ""]),
    "refusal": st.booleans(),
    "input_tokens": st.integers(0, 10_000),
    "output_tokens": st.integers(0, 10_000),
    "reasoning_tokens": st.integers(0, 10_000),
    "tool_calls": few,
    "client_digest": few,
    "latency_us": st.integers(0, HOUR_US),
    "emitted": blocks,
    "replayed": blocks.map(lambda held: b"".join(held[at : at + 8] * 2 for at in range(0, len(held), 8))),
    "retry_count": st.sampled_from([0, 0, 0, 1]),
    "ip_prefix_id": st.sampled_from(["", *(f"ip{n}" for n in range(20))]),
    "decision": st.sampled_from(["allow", "allow", "throttled", "limited"]),
    "answer_digest": few,
}
exchanges = st.tuples(
    st.builds(
        Event,
        event_id=st.just("e"),
        at_us=st.integers(0, 20 * DAY_US).map(lambda us: START_US + us),
        key_id=st.just("k"),
        **fields,
    ),
    fingerprints,
)
Traffic = list[tuple[Event, Fingerprint]]
traffic = st.lists(exchanges, max_size=40)
in_order = traffic.map(lambda items: sorted(items, key=lambda item: item[0].at_us))


def _profile(items: Traffic, entity_id: str = "k", kind: str = "key") -> Profile:
    profile = Profile.new(entity_id, kind)
    for event, fp in items:
        profile.update(event, fp)
    return profile


def _same(a: FeatureRow, b: FeatureRow) -> bool:
    return bool((a.values == b.values).all() and (a.present == b.present).all()) and (a.evidence, a.groups) == (
        b.evidence,
        b.groups,
    )


# ---------------------------------------------------------------------------------------- codec


@settings(max_examples=40)
@given(traffic, traffic)
def test_a_profile_read_from_its_bytes_goes_on_alike(before: Traffic, after: Traffic) -> None:
    """Same bytes, same features, and the same bytes again after any further traffic."""
    profile = _profile(before)
    copy = Profile.from_bytes(profile.to_bytes())
    assert copy.to_bytes() == profile.to_bytes()
    assert _same(features(copy, START_US), features(profile, START_US))
    for event, fp in after:
        profile.update(event, fp)
        copy.update(event, fp)
    assert copy.to_bytes() == profile.to_bytes()


@settings(max_examples=60)
@given(traffic, st.data())
def test_bytes_that_are_no_profile_give_bad_profile_and_nothing_else(items: Traffic, data: st.DataObject) -> None:
    """Cut, overwritten and foreign bytes are refused, or are a profile that can be used."""
    whole = bytearray(_profile(items).to_bytes())
    foreign = data.draw(st.binary(max_size=100))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(whole), bytes(cut), foreign, msgspec.msgpack.encode(list(foreign)), b"\x91" * 2_000):
        with suppress(BadProfile):
            assert isinstance(Profile.from_bytes(broken), Profile)


# ----------------------------------------------------------------------------------------- size


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(200, 600))
def test_a_profile_is_bounded_under_adversarial_traffic(seed: int, count: int) -> None:
    """New templates, models, languages, networks, clients, bias maps and refusals with every request do not grow it."""
    dice = np.random.default_rng(seed)
    profile = Profile.new("k" * 32, "key")
    for n in range(count):
        big = [int(value) for value in dice.integers(1, 2**63, 12)]
        event = Event(
            event_id="e",
            at_us=START_US + n * HOUR_US // 3,
            key_id="k" * 32,
            route="chat",
            model=f"model-{big[0]}",
            logit_bias_digest=big[1],
            chain_digest=big[2],
            refusal=n % 2 == 0,
            output_tokens=500,
            max_tokens=big[3],
            client_digest=big[4],
            ip_prefix_id=str(big[5]),
            temperature=big[6] / 2**63,
            latency_us=big[7] % 2**30,
            end_user_digest=big[8],
            replayed=dice.bytes(256),
            emitted=dice.bytes(128),
            reasoning_tokens=500,
        )
        fp = Fingerprint(
            1, *big[6:12], dice.bytes(32), np.sort(dice.integers(0, 2**32, 12, np.uint32)).tobytes(), 255, n % 16, 9, 300,
            dice.bytes(64), n % 8, n % 100, np.sort(dice.integers(0, 2**32, 24, np.uint32)).tobytes(), dice.bytes(24),
        )  # fmt: skip
        profile.update(event, fp)
    assert len(profile.to_bytes()) <= 11 * 1024
    assert all(len(top.entries) <= TOPS[name] for name, top in profile.tops.items())
    assert all(len(count._registers) <= DISTINCTS[name] for name, count in profile.distincts.items())
    assert all(len(window.items) <= WINDOWS[name] for name, window in profile.windows.items())
    assert len(profile.repeats.live) <= REPEATS
    assert profile.similar.filled <= SIGNATURES


# ---------------------------------------------------------------------------------------- merge


@settings(max_examples=40)
@given(in_order, in_order)
def test_a_merge_is_the_same_from_either_side(a: Traffic, b: Traffic) -> None:
    """Only the name is taken from the profile that is asked; neither input changes."""
    left, right = _profile(a), _profile(b)
    bytes_before = left.to_bytes(), right.to_bytes()
    assert left.merge(right).to_bytes() == right.merge(left).to_bytes()
    assert (left.to_bytes(), right.to_bytes()) == bytes_before


@settings(max_examples=40)
@given(in_order, in_order)
def test_a_merge_has_the_counters_hours_and_cells_of_the_joint_traffic(a: Traffic, b: Traffic) -> None:
    """What does not depend on a profile's own memory is exact, to the rounding of additions."""
    merged = _profile(a).merge(_profile(b))
    joint = _profile(sorted([*a, *b], key=lambda item: item[0].at_us))
    remembered = {
        "gap_n",
        "gap_sum",
        "gap_sq",
        "gap_ln",
        "gap_ln_sq",
        "near_duplicate",
        "templated",
        "templated_novel",
        "fresh_cell",
        "probe_refused",
        "elicit_constant",
        "continued",
        "bins",
        "bin_sum",
        "bin_sq",
        "waits",
        "wait_ln",
        "overlap",
        "same_overlap",
        "forced_constant",
        "new_parameters",
        "judge_near",
        "open_chains",
        "echoed",
        "replayed",
        "foreign",
        "foreign_blocks",
        "moved",
    }
    for column, name in enumerate(COUNTERS):
        if name not in remembered:
            assert merged.week[column] == pytest.approx(joint.week[column], rel=1e-9, abs=1e-12)
            assert merged.day[column] == pytest.approx(joint.day[column], rel=1e-9, abs=1e-12)
    assert merged.hour == pytest.approx(joint.hour, rel=1e-9, abs=1e-12)
    assert merged.hours.to_bytes() == joint.hours.to_bytes()
    assert merged.cells.to_bytes() == joint.cells.to_bytes()
    assert merged.languages == pytest.approx(joint.languages, rel=1e-9, abs=1e-12)
    assert (merged.first_at_us, merged.last_at_us) == (joint.first_at_us, joint.last_at_us)
    assert merged.landmarks == joint.landmarks
    for name, top in merged.tops.items():
        if name not in ("grams", "elicited"):
            assert top.total == pytest.approx(joint.tops[name].total, rel=1e-9)


@settings(max_examples=40)
@given(in_order, in_order)
def test_merged_templates_are_within_the_stated_bound(a: Traffic, b: Traffic) -> None:
    """Count − error ≤ exact weight ≤ count for every kept head, in traffic of both, with an error of N / k at most."""
    merged = _profile(a).merge(_profile(b))
    top, exact = merged.tops["head"], dict[int, float]()
    for event, fp in [*a, *b]:
        if (
            event.status == 200
            and event.decision != "limited"
            and fp.head
            and event.route in ("chat", "responses", "completions", "messages")
        ):
            item = fp.head & 0xFFFFFFFF
            exact[item] = exact.get(item, 0.0) + WEEK.weight(event.at_us, merged.landmarks[2])
    for item, (count, error) in top.entries.items():
        slack = 1e-9 * top.total
        assert count - error - slack <= exact.get(item, 0.0) <= count + slack
        assert error <= top.total / top.capacity + slack


@given(in_order)
def test_an_empty_profile_adds_nothing(items: Traffic) -> None:
    """Merging with nothing seen gives the other side, under the name of the one that was asked."""
    profile = _profile(items)
    assert profile.merge(Profile.new("x", "org")).to_bytes() == profile.to_bytes()
    other = Profile.new("o", "org").merge(profile)
    assert (other.entity_id, other.kind) == ("o", "org")
    assert (other.week == profile.week).all()


# ----------------------------------------------------------------------------------------- order


@settings(max_examples=40)
@given(traffic, st.randoms(use_true_random=False))
def test_counters_do_not_depend_on_the_order_of_arrival(items: Traffic, dice: Any) -> None:
    """What the profile's memory does not decide is the same in any order, late exchanges included, to rounding."""
    shuffled = list(items)
    dice.shuffle(shuffled)
    a, b = _profile(items), _profile(shuffled)
    for name in ("requests", "limited", "answered", "generated", "output_tokens", "elicit", "judge", "refused"):
        column = COUNTERS.index(name)
        assert a.week[column] == pytest.approx(b.week[column], rel=1e-9, abs=1e-12)
        assert a.day[column] == pytest.approx(b.day[column], rel=1e-9, abs=1e-12)
    assert a.hours.to_bytes() == b.hours.to_bytes()
    assert (a.first_at_us, a.last_at_us) == (b.first_at_us, b.last_at_us)


# -------------------------------------------------------------------------------------- features


@settings(max_examples=60)
@given(traffic, st.integers(-2, 400))
def test_every_feature_is_in_its_range_or_absent(items: Traffic, days: int) -> None:
    """On any profile at any time: finite, within the catalogue's range, and 0.0 exactly where absent."""
    profile = _profile(items)
    for now in (profile.last_at_us, START_US + days * DAY_US):
        row = features(profile, now)
        assert np.isfinite(row.values).all()
        for column, feature in enumerate(CATALOGUE):
            if row.present[column]:
                assert feature.low <= row.values[column] <= feature.high, feature.name
            else:
                assert row.values[column] == 0.0
        assert row.evidence >= 0
        assert row.groups[-1] == "all"


@settings(max_examples=40)
@given(in_order, in_order)
def test_features_of_a_merge_are_in_their_ranges(a: Traffic, b: Traffic) -> None:
    """A merged profile is a profile like any other."""
    merged = _profile(a).merge(_profile(b))
    row = features(merged, merged.last_at_us)
    for column, feature in enumerate(CATALOGUE):
        assert not row.present[column] or feature.low <= row.values[column] <= feature.high, feature.name
