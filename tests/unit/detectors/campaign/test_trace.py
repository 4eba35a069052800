"""Traces: their size, their bytes, and that they do not depend on how a stream is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from detectors import model as models
from detectors.analysis import Analysis, EntityState
from detectors.campaign import trace as traces
from detectors.campaign.entity import UNKNOWN, pooled
from detectors.campaign.trace import MOST_MARKS, TRACE_MAX_BYTES, Kind, Trace, decode, encode, marks_of
from detectors.catalogue import CATALOGUE
from detectors.event import Event
from detectors.features import features
from detectors.fingerprint import fingerprint
from detectors.profile import Profile

MakeEvent = Callable[..., Event]
START_US = 1_790_000_000_000_000 // 86_400_000_000 * 86_400_000_000
WORDS = [
    *("the", "of", "to", "describe", "explain", "prove", "number", "angle", "river", "market", "letter", "winter"),
    *("engine", "copper", "signal", "orbit", "harbour", "ledger"),
]
MINUTE_US = 60_000_000


@pytest.fixture
def stream(make_event: MakeEvent) -> list[Event]:
    """Sixty exchanges of three keys, under one template."""
    dice = np.random.default_rng(3)
    found = []
    for n in range(60):
        said = " ".join(dice.choice(WORDS, 30).tolist())
        text = f"Answer the question with care.\n\n{said}\n\nThink step by step inside <thinking> tags, then answer."
        found.append(
            make_event(
                text,
                answer="<thinking> " + said,
                key_id=f"key-{n % 3}",
                org_id=f"org-{n % 3}",
                at_us=START_US + n * MINUTE_US,
                payment_id="p" * 32,
                ip_prefix_id="n" * 32,
                client_digest=7,
                user_digest=n + 1,
                chain_digest=n + 1,
            )
        )
    return found


def _cast(stream: Sequence[Event], size: int) -> list[Trace]:
    analysis, states = Analysis(models.rules_only()), dict[tuple[str, str], EntityState]()
    found: list[Trace] = []
    for start in range(0, len(stream), size):
        part = [(event, fingerprint(event)) for event in stream[start : start + size]]
        analysis.observe(states, part, None, found)
    return found


def test_where_the_stream_is_cut_changes_no_trace(stream: list[Event]) -> None:
    """One by one, by seven, all at once."""
    wanted = [encode(one) for one in _cast(stream, 1)]
    assert [encode(one) for one in _cast(stream, 7)] == wanted
    assert [encode(one) for one in _cast(stream, 60)] == wanted


def test_a_trace_is_cast_at_each_of_the_first_exchanges(stream: list[Event]) -> None:
    """So that an operation of many quiet keys is seen before any of them is scored."""
    mine = [one.exchanges for one in _cast(stream, 60) if one.key_id == "key-0"]
    assert mine[:5] == [1, 2, 3, 4, 5]
    assert len(mine) < 20


def test_keys_of_one_template_share_marks(stream: list[Event]) -> None:
    """Wording, contract, settings, payment and network; nothing of what varies."""
    newest = {one.key_id: one for one in _cast(stream, 60)}
    sets = [{mark for mark, _ in marks_of(one)} for one in newest.values()]
    kinds = {mark >> 32 for mark in set.intersection(*sets)}
    assert {Kind.TAIL, Kind.GRAM, Kind.CONTRACT, Kind.SETUP, Kind.PAYMENT, Kind.NETWORK} <= kinds
    assert all(0.0 < share <= 1.0 for one in newest.values() for _, share in marks_of(one))


def test_bytes_give_the_trace_back_and_nothing_else_is_one(stream: list[Event]) -> None:
    """Cut or foreign bytes are no trace, and never an error."""
    for one in _cast(stream, 60):
        data = encode(one)
        assert decode(data) == one
        assert decode(data[:-9]) is None
    assert decode(b"") is None
    assert decode(msgspec.msgpack.encode(["k", "o", 1])) is None
    assert decode(msgspec.msgpack.encode({"key_id": 3})) is None


def test_the_longest_trace_fits(make_event: MakeEvent) -> None:
    """A kilobyte, for the longest names, every mark and the longest template there can be."""
    profile = Profile.new("k" * 128, "key")
    dice = np.random.default_rng(1)
    for n in range(400):
        text = " ".join(dice.choice(WORDS, 60).tolist())
        event = make_event(
            text, system=text, key_id="k" * 128, org_id="o" * 128, at_us=START_US + n * MINUTE_US, user_digest=n
        )
        profile.update(event, fingerprint(event))
    held = traces.cast(profile, event, fingerprint(event), 2**40)
    full = msgspec.structs.replace(
        held,
        marks=b"".join(traces._MARK.pack(4, n, 255) for n in range(MOST_MARKS)),
        contents=bytes(3 * traces.SAMPLES),
        template=(bytes(80),),
        plan="p" * 32,
        valuable=2**40,
    )
    # Keyed hashes, as the gateway makes them, have 32 characters; 64 are allowed for here.
    assert len(encode(full)) - 2 * 64 <= TRACE_MAX_BYTES


def test_no_text_is_in_a_trace(stream: list[Event]) -> None:
    """Not a word of what was asked or answered."""
    data = b"".join(encode(one) for one in _cast(stream, 60)).lower()
    assert not any(word.encode() in data for word in ("question", "thinking", "harbour", "ledger", "orbit"))


def test_one_key_as_a_group_has_its_own_features(stream: list[Event]) -> None:
    """In all that a trace tells, up to its rounding."""
    profile = Profile.new("key", "key")
    for event in stream:
        profile.update(event, fingerprint(event))
    event = stream[-1]
    one = traces.cast(profile, event, fingerprint(event), len(stream))
    mine, group = features(profile, event.at_us), pooled([one], event.at_us)
    told = [at for at, feature in enumerate(CATALOGUE) if feature.name not in UNKNOWN and group.present[at]]
    assert len(told) > 40
    for at in told:
        if mine.present[at]:
            assert group.values[at] == pytest.approx(mine.values[at], rel=0.03, abs=0.06), CATALOGUE[at].name
    assert not any(group.present[at] for at, feature in enumerate(CATALOGUE) if feature.name in UNKNOWN)


def test_a_group_has_the_exchanges_of_all(stream: list[Event]) -> None:
    """Three keys with twenty exchanges are one entity with sixty."""
    newest = list({one.key_id: one for one in _cast(stream, 60)}.values())
    row = pooled(newest, stream[-1].at_us)
    assert row.evidence == pytest.approx(sum(pooled([one], one.at_us).evidence for one in newest), abs=1)
