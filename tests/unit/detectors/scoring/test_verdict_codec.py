"""Verdicts as bytes: nothing is lost but what stands elsewhere, and sentences cost nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import verdict_codec
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import Level, Reason, Score, ScoreStatus, Status, Verdict
from detectors.scorers.base import reason

numbers = st.floats(0, 1e18, allow_nan=False)
times = st.integers(0, 2**62)
made = st.builds(
    reason,
    st.integers(0, len(CATALOGUE) - 1),
    numbers,
    st.none() | st.floats(0, 100),
    st.sampled_from(["high", "low"]),
    st.floats(0, 1),
)
foreign = st.builds(
    Reason,
    st.sampled_from(sorted(INDEX)),
    numbers,
    st.none() | st.floats(0, 100),
    st.sampled_from(["high", "low"]),
    st.floats(0, 1),
    st.text(min_size=1, max_size=40),
)
verdicts = st.builds(
    Verdict,
    entity_id=st.text(max_size=20),
    entity_kind=st.sampled_from(["key", "org"]),
    status=st.sampled_from(Status),
    score=st.floats(0, 1),
    level=st.sampled_from(Level),
    at_us=times,
    since_us=times,
    flagged_us=st.none() | times,
    reasons=st.lists(made | foreign, max_size=5).map(tuple),
    scores=st.lists(
        st.builds(Score, st.text(max_size=9), st.text(max_size=3), st.sampled_from(ScoreStatus), st.floats(0, 1)),
        max_size=9,
    ).map(tuple),
    leaked=st.integers(0, 2**40),
    evidence=st.integers(0, 2**40),
    authorised=st.booleans(),
    model_id=st.text(max_size=16),
    leaking=st.booleans(),
)


@given(verdicts)
def test_a_verdict_comes_back_as_it_was(verdict: Verdict) -> None:
    """Encode and decode is the identity, with the scorers' own sentences and with foreign ones."""
    assert verdict_codec.decode(verdict_codec.encode(verdict), verdict.entity_id, verdict.entity_kind) == verdict


def test_a_sentence_that_its_numbers_make_takes_no_room() -> None:
    """Five reasons and eight scores fit into 600 bytes."""
    reasons = tuple(reason(column, 0.1234567, 99.9, "high", 0.2) for column in range(5))
    scores = tuple(Score(f"scorer_number_{n}", "1", ScoreStatus.SCORED, 0.987654321) for n in range(8))
    verdict = Verdict(
        "k", "key", Status.JUDGED, 0.9, Level.SUSPECT, 1, 1, 1, reasons, scores, 3, 60, False, "0123456789abcdef"
    )
    assert sum(len(reason.text) for reason in reasons) > 400
    assert len(verdict_codec.encode(verdict)) < 600


def test_bytes_of_something_else_are_refused() -> None:
    """What is no verdict is an error of the decoder."""
    with pytest.raises(msgspec.DecodeError):
        verdict_codec.decode(b"\x93\x01\x02\x03", "k", "key")
