"""Marks in a batch of logits: arrays of numpy, and the same in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.watermark.engines.rows import ROWS_AT_ONCE, Row, Rows, Sampling, truncated
from detectors.watermark.green import green
from detectors.watermark.prf import offsets_of
from detectors.watermark.registry import MarkProfile, Registry
from detectors.watermark.sampling import Marked, choose

Tensor = Callable[[NDArray[Any]], Any]

SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(top_k=20),
    Sampling(top_k=-1, top_p=0.8),
    Sampling(temperature=1.3, top_k=50, top_p=0.9),
    Sampling(min_p=0.05),
    Sampling(temperature=0.5, top_k=500, top_p=0.95, min_p=0.01),
    Sampling(top_k=10**9),
]


def _rows(profile: MarkProfile, count: int, sampling: list[Sampling], seed: int = 1) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        Row(
            at,
            Marked(int(rng.integers(0, 2**64, dtype=np.uint64)), int(rng.integers(0, 17))),
            profile,
            sampling[at % len(sampling)],
        )
        for at in range(count)
    ]


def _logits(count: int, vocabulary: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, (count, vocabulary)).astype(np.float32)


@pytest.mark.parametrize("sampling", [[one] for one in SAMPLINGS] + [SAMPLINGS])
def test_the_chosen_candidate_is_the_sampler_s(registry: Registry, tensor: Tensor, sampling: list[Sampling]) -> None:
    """What is left of a row is the candidate that the reference sampler chooses from the truncated distribution."""
    count = ROWS_AT_ONCE + 8
    before = _logits(count, 700)
    rows = _rows(registry.of("g4"), count, sampling)
    logits = tensor(before)
    Rows().mark(logits, rows)
    after = np.asarray(logits)
    for row in rows:
        values = truncated(before[row.at].astype(np.float64), row.sampling)
        chosen = choose(np.exp(values - values.max()), offsets_of(np.arange(700)), row.by)
        assert np.flatnonzero(after[row.at] > -np.inf).tolist() == [chosen]
        assert after[row.at, chosen] == before[row.at, chosen]


def test_green_candidates_are_raised(registry: Registry, tensor: Tensor) -> None:
    """By the profile's delta, in every row by its own list; the others stay, bit for bit."""
    before = _logits(40, 700)
    profiles = [registry.of("green1"), replace(registry.of("green1"), id="green2", gamma=0.1, delta=0.5)]
    rows = [row._replace(profile=profiles[row.at % 2]) for row in _rows(profiles[0], 40, SAMPLINGS)]
    logits = tensor(before)
    Rows().mark(logits, rows)
    after = np.asarray(logits)
    for row in rows:
        listed = green(row.profile, offsets_of(np.arange(700)), row.by)
        assert (after[row.at, ~listed] == before[row.at, ~listed]).all()
        assert after[row.at, listed] == pytest.approx(before[row.at, listed] + row.profile.delta, rel=1e-6)


def test_rows_that_are_not_named_are_left_alone(registry: Registry, tensor: Tensor) -> None:
    """A batch holds requests of both schemes and of none."""
    before = _logits(6, 50)
    logits = tensor(before)
    gumbel, listed = _rows(registry.of("g4"), 6, [Sampling()])[4], _rows(registry.of("green1"), 6, [Sampling()])[1]
    Rows().mark(logits, [gumbel, listed])
    after = np.asarray(logits)
    assert [bool((after[at] == before[at]).all()) for at in range(6)] == [True, False, True, True, False, True]
    assert (after[4] > -np.inf).sum() == 1
    assert (after[1] > -np.inf).all()


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(top_k=1), Sampling(temperature=1e-6)])
def test_greedy_rows_have_no_gumbel_mark_and_a_green_one(registry: Registry, tensor: Tensor, sampling: Sampling) -> None:
    """Where nothing is drawn there is nothing to choose; a raised candidate may become the most probable one."""
    before = _logits(3, 50)
    logits = tensor(before)
    Rows().mark(logits, _rows(registry.of("g4"), 3, [sampling]))
    assert (np.asarray(logits) == before).all()
    Rows().mark(logits, _rows(registry.of("green1"), 3, [sampling]))
    assert (np.asarray(logits).max(axis=1) > before.max(axis=1)).any()


def test_what_a_grammar_forbids_stays_forbidden(registry: Registry, tensor: Tensor) -> None:
    """A candidate at minus infinity is neither chosen nor raised."""
    before = _logits(20, 50)
    before[:, 5:] = -np.inf
    for name in ("g4", "green1"):
        logits = tensor(before)
        Rows().mark(logits, _rows(registry.of(name), 20, SAMPLINGS))
        assert (np.asarray(logits)[:, 5:] == -np.inf).all()
        assert (np.asarray(logits).max(axis=1) > -np.inf).all()


def test_half_precision_and_other_vocabularies_in_turn(registry: Registry, tensor: Tensor) -> None:
    """One object serves a target and a draft model; logits of 16 bits are chosen from as they are."""
    rows = Rows()
    for vocabulary in (64, 200, 64):
        before = _logits(4, vocabulary).astype(np.float16)
        logits = tensor(before)
        rows.mark(logits, _rows(registry.of("g4"), 4, [Sampling(top_k=30)]))
        assert ((np.asarray(logits) > -np.inf).sum(axis=1) == 1).all()
        assert np.asarray(logits).dtype == np.float16


def test_truncation_is_as_described() -> None:
    """By hand, of five candidates."""
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.06, 0.04]))
    kept = {
        Sampling(): 5,
        Sampling(top_k=2): 2,
        Sampling(top_k=0): 5,
        Sampling(top_p=0.3): 1,
        Sampling(top_p=0.5): 2,
        Sampling(top_p=0.95): 4,
        Sampling(top_p=0.0): 1,
        # Of the three that top-k leaves, 4/9 and 3/9 do not reach 0.8.
        Sampling(top_k=3, top_p=0.8): 3,
        Sampling(min_p=0.4): 3,
        Sampling(min_p=1.0): 1,
    }
    for sampling, count in kept.items():
        values = truncated(logits, sampling)
        assert (values > -np.inf).tolist() == [True] * count + [False] * (5 - count), sampling
    assert truncated(logits, Sampling(temperature=0.5)) == pytest.approx(logits * 2)


@given(
    st.integers(0, 2**32),
    st.floats(0.1, 3.0),
    st.integers(-1, 60),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_the_most_probable_candidate_is_never_dropped(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """However an engine is told to truncate, something is left to choose."""
    logits = np.random.default_rng(seed).normal(0, 5, 50)
    values = truncated(logits, Sampling(temperature, top_k, top_p, min_p))
    assert values[logits.argmax()] == logits.max() / temperature
