"""SynthID-Text's bits, masks and means, against its reference code; the exact chance of them."""

from __future__ import annotations

import hashlib
import json
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.watermark.compat.detection import LN10, detect, detect_corpus
from detectors.watermark.compat.synthid import SynthId
from detectors.watermark.tails import log_binomial_tail

SYNTHID: dict[str, Any] = json.loads((Path(__file__).parents[4] / "fixtures" / "watermark" / "synthid.json").read_text())
KEYS = tuple(SYNTHID["generated"]["keys"])
NONE = np.zeros(0, np.int64)


@pytest.mark.parametrize("case", SYNTHID["cases"], ids=lambda case: f"{len(case['keys'])}-keys")
def test_bits_and_mask_are_those_of_the_reference_code(case: dict[str, Any]) -> None:
    """Every bit of every n-gram, and every context that came before within the history."""
    scheme = SynthId(tuple(case["keys"]), case["ngram_len"], case["context_history_size"])
    assert scheme._start == case["hash_iv"]
    grams = scheme._grams(np.array(case["tokens"]), NONE)
    assert ["".join(map(str, row)) for row in scheme.g_values(grams)] == case["g"]
    assert "".join(str(int(fresh)) for fresh in scheme._fresh(grams)) == case["mask"]


def test_bits_are_those_of_plain_arithmetic_with_unbounded_numbers() -> None:
    """An independent version in Python's whole numbers, wrapped by hand."""

    def wrapped(number: int) -> int:
        return (number + 2**63) % 2**64 - 2**63

    scheme = SynthId((2**62 + 3, -5, 9), ngram_len=3)
    tokens = [3, 2**31 - 1, 0, 17, 17, 200_000]
    start = int.from_bytes(hashlib.sha256(b"".join(k.to_bytes(8, "little", signed=True) for k in scheme.keys)).digest()) % (
        2**63 - 1
    )
    for place, found in enumerate(scheme.g_values(scheme._grams(np.array(tokens), NONE))):
        for layer, key in enumerate(scheme.keys):
            state = start
            for number in (*tokens[place : place + 3], key):
                state = wrapped((state + number) * 6364136223846793005 + 1)
            for _ in range(12):
                state = wrapped((state + 1) * 6364136223846793005 + 1) >> 5
            assert found[layer] == (state >> 30) % 2


def test_an_answer_of_the_reference_code_is_found_with_its_means() -> None:
    """Mean and weighted mean as computed there; both tests stand out under the keys, and not under others."""
    case = SYNTHID["generated"]
    even, linear = (detect(case["tokens"], SynthId(KEYS, weights=weights)) for weights in ("even", "linear"))
    assert even.reported is not None
    assert linear.reported is not None
    assert (even.reported.scored, even.reported.log10_p) == (case["scored"], None)
    assert even.reported.score == pytest.approx(case["mean"], rel=1e-12)
    assert linear.reported.score == pytest.approx(case["weighted"], rel=1e-6)  # computed there with 32-bit weights
    assert even.log10_p < -90
    assert linear.log10_p < even.log10_p  # early layers carry more of the mark, and count for more
    others = tuple(key + 1 for key in KEYS)
    assert detect(case["tokens"], SynthId(others)).log10_p > -3
    assert detect(case["tokens"], SynthId(others, weights="linear")).log10_p > -3


def test_the_unweighted_chance_is_the_binomial_one() -> None:
    """Bits set of n · layers fair coins; both weightings agree where layers weigh the same."""
    found = detect(SYNTHID["generated"]["tokens"], SynthId(KEYS))
    assert found.log10_p == log_binomial_tail(found.scored * len(KEYS), 0.5, int(found.score)) / LN10
    one = [detect(SYNTHID["generated"]["tokens"], SynthId(KEYS[:1], weights=weights)) for weights in ("even", "linear")]
    assert one[0].log10_p == pytest.approx(one[1].log10_p, rel=1e-10)


@pytest.mark.parametrize("weights", ["even", "linear"])
@pytest.mark.parametrize("near", [False, True], ids=["random keys", "keys in a row"])
def test_p_is_uniform_over_wrong_keys(weights: str, near: bool) -> None:
    """Four hundred sets of eight keys, also ones that follow each other, on text full of repeats."""
    random = np.random.default_rng(8)
    tokens = random.choice(60, 120, p=np.arange(60, 0, -1) / 1830)
    tails = []
    for number in range(400):
        keys = range(8 * number, 8 * number + 8) if near else random.integers(0, 2**16, 8)
        scheme = SynthId(tuple(int(key) for key in keys), ngram_len=3, weights=weights)  # type: ignore[arg-type]
        tails.append(detect(tokens, scheme).log10_p)
    found = np.array(tails)
    assert 22 <= (found <= log10(0.1)).sum() <= 60
    assert (found <= log10(0.01)).sum() <= 11


@pytest.mark.parametrize(("vocabulary", "length", "layers"), [(10_000, 5, 3), (1000, 10, 5)])
def test_bits_are_even_over_random_ngrams(vocabulary: int, length: int, layers: int) -> None:
    """The reference code's own test: the mean is ½ within 0.01 over a hundred thousand of them."""
    random = np.random.default_rng(0)
    keys = tuple(int(key) for key in random.integers(0, 2**16, layers))
    grams = random.integers(0, vocabulary, (100_000, length))
    assert SynthId(keys, length).g_values(grams).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 10), (100, 5)])
def test_a_tournament_lifts_the_mean_bit_as_far_as_the_theory_says(vocabulary: int, length: int) -> None:
    """The reference code's own test, of one layer and equal probabilities: ½ + ¼ (1 − 1/V) within 0.01."""
    random = np.random.default_rng(1)
    scheme = SynthId((1,), length)
    contexts = random.integers(0, 10**9, (20_000, length - 1))
    grams = np.concatenate(
        [np.repeat(contexts, vocabulary, axis=0), np.tile(np.arange(vocabulary), 20_000)[:, None]], axis=1
    )
    bits = scheme.g_values(grams).reshape(20_000, vocabulary)
    shares = (1 + bits - bits.mean(axis=1, keepdims=True)) / vocabulary
    assert float((shares * bits).sum(axis=1).mean()) == pytest.approx(0.5 + 0.25 * (1 - 1 / vocabulary), abs=0.01)


def test_an_ngram_that_generation_forgot_it_had_marked_still_counts_once() -> None:
    """Beyond the history a context is marked again; its bits are the same, so they are no further evidence."""
    scheme = SynthId((1, 2, 3), ngram_len=2, context_history_size=2)
    tokens = [5, 6, 7, 8, 5, 6]
    found = detect(tokens, scheme)
    assert found.reported is not None
    assert (found.scored, found.reported.scored) == (4, 5)


def test_a_corpus_counts_what_its_answers_share_once() -> None:
    """With either weighting; the halves of an answer are less than the whole by the n-grams across the cut."""
    tokens = SYNTHID["generated"]["tokens"]
    for weights in ("even", "linear"):
        scheme = SynthId(KEYS, weights=weights)  # type: ignore[arg-type]
        once, twice = detect_corpus([tokens], scheme), detect_corpus([tokens, tokens[:60], tokens], scheme)
        assert (once.scored, once.score, once.log10_p) == (twice.scored, twice.score, twice.log10_p)
        halves = detect_corpus([tokens[:60], tokens[60:]], scheme)
        assert halves.scored == once.scored - 4
        assert halves.log10_p > once.log10_p


def test_too_short_an_answer_says_nothing() -> None:
    """Fewer tokens than an n-gram has."""
    for weights in ("even", "linear"):
        found = detect([1, 2, 3], SynthId((1, 2, 3), weights=weights))  # type: ignore[arg-type]
        assert (found.scored, found.score, found.log10_p, found.skipped) == (0, 0.0, 0.0, 3)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"keys": ()}, "keys"),
        ({"keys": (2**63,)}, "keys"),
        ({"keys": (1.5,)}, "keys"),
        ({"ngram_len": 1}, "ngram_len"),
        ({"context_history_size": 0}, "context_history_size"),
        ({"weights": "bayes"}, "weights"),
    ],
)
def test_a_field_that_does_not_fit_is_named(fields: dict[str, Any], named: str) -> None:
    """One ValueError, and never a key in it."""
    with pytest.raises(ValueError, match=f"^{named}: must be"):
        SynthId(**({"keys": (1, 2)} | fields))


def test_a_prompt_is_refused_and_keys_stay_out_of_what_is_printed() -> None:
    """Contexts of generation begin with zeros."""
    with pytest.raises(ValueError, match=r"^prompt: must be empty"):
        detect([1, 2, 3, 4, 5, 6], SynthId((1, 2)), prompt=[1])
    assert "654321" not in repr(SynthId((654321,)))
