"""Sampling by keyed numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.watermark.green import biased, green
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf, offsets_of, scored, uniforms
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marked, Marker, choose, noise, plainly

SECRET = MasterSecret(bytes(range(32)))
PROFILE = MarkProfile(id="tutor", scheme="gumbel", tokenizer="words-1", epoch="2026q4", coin=0.25)
WORD = issued(SECRET, "tenant-1", 128, 16)

FROZEN = [
    (1, 4),
    (11, 8),
    (3, 15),
    (3, 16),
    (4, 4),
    (4, 4),
    (2, 6),
    (6, 9),
    (8, 0),
    (2, 1),
    (4, 10),
    (11, 12),
    (5, 13),
    (5, 6),
    (3, 11),
    (11, 9),
    (3, 13),
    (3, 9),
    (11, 16),
    (6, 12),
    (5, 16),
    (11, 16),
    (3, 12),
    (2, 11),
]


def _marker(profile: MarkProfile = PROFILE) -> Marker:
    return Marker(Prf(SECRET, profile), profile, WORD)


def _chi_square(counts: NDArray[np.integer], probabilities: NDArray[np.float64]) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_a_generation_is_frozen() -> None:
    """Twelve candidates, twenty-four tokens: which is chosen at each step and by which symbol."""
    probabilities = np.array([1, 4, 2, 9, 14, 3, 6, 2, 5, 1, 1, 8], np.float64)
    offsets = offsets_of(np.arange(12))
    marker, answer, made = _marker(), [3, 1, 4, 1], []
    for _ in range(24):
        by = marker.next(answer)
        assert by is not None
        token = choose(probabilities, offsets, by)
        answer.append(token)
        made.append((token, by.symbol))
    assert made == FROZEN


def test_a_list_of_green_candidates_is_frozen() -> None:
    """Under one seed and symbol, of the first forty."""
    found = np.flatnonzero(green(PROFILE, offsets_of(np.arange(40)), Marked(12345, 3)))
    assert found.tolist() == [0, 4, 6, 7, 8, 9, 10, 12, 20, 23, 26, 28, 29, 30, 31, 32, 34, 35, 36]


def test_noise_is_frozen() -> None:
    """Gumbel noise under one seed and symbol."""
    made = noise(offsets_of(np.arange(3)), Marked(1, 2)).tolist()
    assert made == pytest.approx([-0.6610559795239973, 2.6639714275443938, -0.1164193047852041], rel=1e-14)


@pytest.mark.parametrize("candidates", [2, 10, 50])
def test_over_keys_the_distribution_is_the_model_s(candidates: int) -> None:
    """Each of 20,000 contexts under its own numbers: what is chosen is distributed as the model says (chi-square)."""
    rng = np.random.default_rng(candidates)
    probabilities = rng.dirichlet(np.full(candidates, 1.0)) * 0.9 + 0.1 / candidates
    offsets = offsets_of(rng.integers(0, 50_000, candidates))
    seeds = rng.integers(0, 2**63, 20_000).tolist()
    counts = np.bincount(
        [choose(probabilities, offsets, Marked(seed, 3)) for seed in seeds],
        minlength=candidates,
    )
    # Five standard deviations above the mean of a chi-square distribution with that many degrees of freedom.
    assert _chi_square(counts, probabilities) < candidates - 1 + 5 * np.sqrt(2 * (candidates - 1))


def test_plain_sampling_has_the_distribution_too() -> None:
    """The fallback for a repeated context draws from the model."""
    rng = np.random.default_rng(9)
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    counts = np.bincount([plainly(probabilities * 7, rng) for _ in range(20_000)], minlength=4)
    assert _chi_square(counts, probabilities) < 3 + 5 * np.sqrt(6)


def test_a_marked_token_scores_as_predicted() -> None:
    """With p the chosen token's probability its number is Beta(1/p, 1): the mean score is a harmonic number, not one."""
    probabilities = np.full(4, 0.25)
    offsets = offsets_of(np.arange(4))
    seeds = np.arange(20_000, dtype=np.uint64)
    chosen = np.array([choose(probabilities, offsets, Marked(int(seed), 5)) for seed in seeds], np.uint32)
    scores = -np.log1p(-scored(seeds, chosen, np.array([5, 6])))
    assert scores[:, 0].mean() == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 4, abs=0.05)
    assert scores[:, 1].mean() == pytest.approx(1.0, abs=0.04)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20).filter(lambda made: max(made) > 1e-6),
    st.integers(0, 2**64 - 1),
    st.integers(0, 16),
)
def test_what_has_no_probability_is_never_chosen(probabilities: list[float], seed: int, symbol: int) -> None:
    """Nor does a zero make a warning; and the scale of the probabilities makes no difference."""
    given_ = np.array(probabilities)
    offsets = offsets_of(np.arange(len(given_)))
    chosen = choose(given_, offsets, Marked(seed, symbol))
    assert given_[chosen] > 0
    assert choose(given_ * 4.0, offsets, Marked(seed, symbol)) == chosen
    assert given_[plainly(given_, np.random.default_rng(seed))] > 0


@given(st.integers(0, 2**64 - 1))
def test_noise_and_probabilities_choose_alike(seed: int) -> None:
    """Noise added to logits by temperature chooses what the numbers choose from the probabilities."""
    logits = np.random.default_rng(seed).normal(0, 2, 30)
    offsets, by = offsets_of(np.arange(30)), Marked(seed, 1)
    probabilities = np.exp(logits / 0.7)
    assert choose(probabilities / probabilities.sum(), offsets, by) == int((logits / 0.7 + noise(offsets, by)).argmax())


def test_the_first_tokens_are_chosen_plainly() -> None:
    """Before the context is full there is nothing to take numbers from; the prompt is no context."""
    marker = _marker()
    assert [marker.next(list(range(length))) is None for length in range(6)] == [True] * 4 + [False] * 2


def test_a_repeated_context_is_marked_once() -> None:
    """In one answer; in the next it is marked again, and without the rule every time."""
    loop = [1, 2, 3, 4]
    marker = _marker()
    assert marker.next(loop) is not None
    assert marker.next([9, *loop]) is None
    assert _marker().next(loop) == Marker(Prf(SECRET, PROFILE), PROFILE, WORD).next(loop)
    every = MarkProfile(id="tutor", scheme="gumbel", tokenizer="words-1", epoch="2026q4", dedup="none")
    marker = _marker(every)
    assert marker.next(loop) == marker.next(loop) is not None


def test_symbols_come_from_the_codeword_or_the_model_level_channel() -> None:
    """Where the coin says so the symbol is the one after the codeword's, alike for all tenants."""
    prf = Prf(SECRET, PROFILE)
    other = issued(SECRET, "tenant-2", 128, 16)
    seen = set()
    for token in range(200):
        context = [token, 1, 2, 3]
        mine, theirs = _marker().next(context), Marker(prf, PROFILE, other).next(context)
        seed, position = prf.step(context)
        assert mine is not None
        assert theirs is not None
        assert mine.seed == theirs.seed == seed
        expected = (16, 16) if position < 0 else (WORD[position], other[position])
        assert (mine.symbol, theirs.symbol) == expected
        seen.add(position < 0)
    assert seen == {True, False}


def test_a_codeword_of_another_length_is_refused() -> None:
    """The sentence says how many symbols are needed."""
    with pytest.raises(ValueError, match=r"word: a codeword of 128 symbols is needed, not one of shape \(64,\)"):
        Marker(Prf(SECRET, PROFILE), PROFILE, WORD[:64])


def test_a_green_list_has_its_share_and_its_bias() -> None:
    """A quarter of the candidates, by their numbers alone; exactly these are raised, by delta, in a new array."""
    profile = MarkProfile(id="g", scheme="green", tokenizer="words-1", epoch="2026q4", gamma=0.25, delta=1.5)
    offsets, by = offsets_of(np.arange(40_000)), Marked(99, 7)
    listed = green(profile, offsets, by)
    assert abs(listed.mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / 40_000)
    assert (listed == (uniforms(99, 7, offsets) < 0.25)).all()
    logits = np.zeros(40_000, np.float32)
    raised = biased(logits, profile, offsets, by)
    assert raised.dtype == np.float32
    assert set(raised[listed].tolist()) == {1.5}
    assert set(raised[~listed].tolist()) == {0.0}
    assert not logits.any()


def test_green_lists_of_two_symbols_are_independent() -> None:
    """What is green for one tenant says nothing about another."""
    offsets = offsets_of(np.arange(40_000))
    one, other = green(PROFILE, offsets, Marked(5, 0)), green(PROFILE, offsets, Marked(5, 1))
    assert abs((one & other).mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / 40_000)
