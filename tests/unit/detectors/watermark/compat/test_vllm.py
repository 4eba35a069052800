"""vLLM's schemes beyond the golden cases: what is exact, what repeats do, which fields are refused."""

from __future__ import annotations

from math import comb, log10
from typing import Any

import numpy as np
import pytest

from detectors.watermark.compat.detection import LN10, Detection, detect, detect_corpus, first_rows
from detectors.watermark.compat.philox import prf_words
from detectors.watermark.compat.vllm import VllmDualKey, VllmGumbel, VllmSbw, VllmSynthId, derived_keys, jenkins
from detectors.watermark.tails import log_binomial_tail, log_gamma_tail

ZIPF = 1 / np.arange(1, 5001) ** 1.05
TEXT = np.random.default_rng(1).choice(5000, 1500, p=ZIPF / ZIPF.sum())
WRONG = [int(key) for key in np.random.default_rng(9).integers(1, 2**62, 400)]


def shares(tails: list[float], levels: tuple[float, ...] = (0.1, 0.01, 1e-5)) -> list[int]:
    """How many are at or below each level."""
    return [int((np.array(tails) <= log10(level)).sum()) for level in levels]


def reported_tail(found: Detection) -> float:
    """The engine's own."""
    assert found.reported is not None
    assert found.reported.log10_p is not None
    return found.reported.log10_p


def test_a_wrong_key_s_p_is_uniform_for_every_scheme() -> None:
    """Four hundred keys on 1,500 Zipf-shaped tokens: about forty at 0.1, four at 0.01, none at 1e-5."""
    for make in (VllmGumbel, VllmDualKey, VllmSbw, VllmSynthId):
        found = shares([detect(TEXT[:600], make(key)).log10_p for key in WRONG])
        assert 22 <= found[0] <= 60
        assert found[1] <= 11
        assert found[2] == 0


def test_the_engine_s_own_sbw_detector_accuses_plain_text_and_this_one_does_not() -> None:
    """Different contexts share a seed, so their tokens are no independent trials: p below 1e-5 for one key in twenty."""
    found = [detect(TEXT, VllmSbw(key)) for key in WRONG[:200]]
    theirs, ours = [reported_tail(detection) for detection in found], [detection.log10_p for detection in found]
    print(f"of 200 keys below 0.1, 0.01, 1e-5: theirs {shares(theirs)}, least 1e{min(theirs):.0f}; ours {shares(ours)}")
    assert shares(theirs)[2] >= 10
    assert shares(ours)[2] == 0
    assert found[0].scored < found[0].reported.scored  # type: ignore[union-attr]


def test_repeats_counted_twice_accuse_plain_text_too() -> None:
    """Without deduplication the engine's p is below 0.01 too often; over different inputs it is not."""
    found = [detect(TEXT, VllmGumbel(key, 1, "none")) for key in WRONG]
    theirs, ours = [reported_tail(detection) for detection in found], [detection.log10_p for detection in found]
    print(f"of 400 keys below 0.1, 0.01, 1e-5: theirs {shares(theirs)}, ours {shares(ours)}")
    assert shares(theirs)[1] >= 12
    assert shares(ours)[1] <= 11


def test_a_lefthash_mark_is_found_as_the_generator_makes_it() -> None:
    """Greedy on equal logits: the first green token after each context, whose seed is key · sum of the context."""
    scheme = VllmSbw(12_345, 1, seeding="lefthash")
    candidates = np.arange(2, 400)
    tokens = [1]
    for _ in range(80):
        rows = np.stack([np.full(len(candidates), tokens[-1]), candidates], axis=1)
        green = candidates[scheme._green(scheme._seeded(rows))]
        tokens.append(int(green[len(tokens) % 150]))
    found = detect(tokens, scheme)
    assert found.score >= found.scored - 1
    assert found.log10_p < -15
    assert detect(tokens, VllmSbw(12_346, 1, seeding="lefthash")).log10_p > -3
    # the engine's own detector hashes the context's tokens before it adds them, and so looks for other seeds
    theirs = np.int64(scheme.key) * jenkins(np.array(tokens[:-1]))
    assert scheme.judged(np.stack([theirs, np.array(tokens[1:])], axis=1)).log10_p > -3


def test_sbw_seeds_are_the_least_product_and_ignore_the_oldest_token() -> None:
    """Against plain whole numbers wrapped by hand."""

    def wrapped(number: int, bits: int) -> int:
        return (number + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)

    def hashed(token: int) -> int:
        x = wrapped(token + 1, 32)
        x = wrapped(x - (x << 6), 32)
        x ^= x >> 17
        x = wrapped(x - (x << 9), 32)
        x = wrapped(x ^ (x << 4), 32)
        x = wrapped(x - (x << 3), 32)
        x = wrapped(x ^ (x << 10), 32)
        return x ^ (x >> 15)

    key, rows = 2**61 + 77, np.array([[9, -1, 4, 120_000, 5], [1, 2, 3, 4, 5], [7, 2, 3, 4, 5]])
    scheme = VllmSbw(key)
    seeds = scheme._seeded(rows)[:, 0].tolist()
    for row, seed in zip(rows.tolist(), seeds, strict=True):
        own = hashed(row[-1])
        assert seed == min(wrapped(key * factor * own, 64) for factor in [*map(hashed, row[1:-1]), own])
    assert seeds[1] == seeds[2]
    assert VllmSbw(key, seeding="lefthash")._seeded(rows)[1].tolist() == [wrapped(key * 10, 64), 5]


def test_the_dual_score_is_the_weighted_one_of_both_derived_keys() -> None:
    """And the parts are the two keys' own tests."""
    tokens = TEXT[:50]
    dual = detect(tokens, VllmDualKey(42, alpha=0.2))
    single = [detect(tokens, VllmGumbel(key)) for key in derived_keys(42)]
    assert dual.score == pytest.approx(0.8 * single[0].score + 0.2 * single[1].score, rel=1e-12)
    assert [(part.score, part.log10_p) for part in dual.parts] == [(one.score, one.log10_p) for one in single]


@pytest.mark.parametrize(("key", "width", "depth"), [(0, 1, 1), (42, 2, 3), (2**64 - 1, 4, 32)])
def test_synthid_counts_the_lowest_bits_of_the_words(key: int, width: int, depth: int) -> None:
    """Against a count by whole numbers; p is the sum of binomial coefficients."""
    tokens = [3, 5, 7, 11, 13, 17]
    contexts = np.array([([-1] * width + tokens[:place])[-width:] for place in range(len(tokens))])
    words = prf_words(key, contexts, np.array(tokens))
    hits = sum(int(word) // 2**bit % 2 for word in words for bit in range(depth))
    trials = len(tokens) * depth
    found = detect(tokens, VllmSynthId(key, width, depth=depth))
    assert (found.scored, found.score) == (6, hits)
    assert found.log10_p == pytest.approx(
        log10(sum(comb(trials, k) for k in range(hits, trials + 1)) / 2**trials), abs=1e-12
    )
    assert found.reported is not None
    assert found.reported.score == hits / trials


def test_a_context_counts_once_whatever_follows_it() -> None:
    """The published counts of the engine's own tests."""
    for tokens, scored in (([1, 1, 1, 1, 1], 2), ([1, 2, 1, 3], 3)):
        assert detect(tokens, VllmGumbel(42, 1)).scored == scored
        assert detect(tokens, VllmSynthId(42, 1)).scored == scored
    whole = detect([1, 1, 1, 1, 1], VllmGumbel(42, 1, "none"))
    assert whole.reported is not None
    assert (whole.scored, whole.reported.scored, whole.skipped) == (2, 5, 3)


def test_with_all_history_a_context_of_the_prompt_is_not_scored() -> None:
    """Token 9 follows (1, 2, 3, 4), which the prompt has; and the first four tokens of an answer are never marked."""
    prompt, answer = [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 9, 10]
    rows = VllmGumbel(42, 4, "all").inputs(np.array(answer), np.array(prompt))
    assert rows.tolist() == [[2, 3, 4, 9, 10]]
    found = detect(answer, VllmGumbel(42, 4, "all"), prompt=prompt)
    assert found.reported is not None
    assert (found.scored, found.reported.scored) == (1, 5)
    with pytest.raises(ValueError, match=r"^prompt: must be empty unless"):
        detect(answer, VllmGumbel(42), prompt=prompt)


def test_a_corpus_counts_what_its_answers_share_once() -> None:
    """Doubling a corpus changes nothing; two different answers add up."""
    first, second = TEXT[:300], TEXT[300:500]
    for scheme in (VllmGumbel(7), VllmDualKey(7), VllmSbw(7), VllmSynthId(7)):
        once, twice = detect_corpus([first, second], scheme), detect_corpus([first, second, first, second], scheme)
        assert (once.scored, once.score, once.log10_p) == (
            twice.scored,
            pytest.approx(twice.score),
            pytest.approx(twice.log10_p),
        )
        assert twice.skipped == once.skipped + 500
    one, two = detect(first, VllmGumbel(7)), detect(second, VllmGumbel(7))
    shared = {tuple(row) for row in VllmGumbel(7).inputs(first, first[:0]).tolist()}
    both = [tuple(row) in shared for row in VllmGumbel(7).inputs(second, first[:0]).tolist()]
    assert detect_corpus([first, second], VllmGumbel(7)).scored == one.scored + two.scored - sum(both)
    assert detect_corpus([], VllmGumbel(7)) == detect_corpus([[], []], VllmGumbel(7)) == Detection(0, 0.0, 0.0)


def test_no_tokens_are_no_evidence() -> None:
    """An empty answer, for every scheme."""
    for make in (VllmGumbel, VllmDualKey, VllmSbw, VllmSynthId):
        found = detect([], make(42))
        assert (found.scored, found.score, found.log10_p) == (0, 0.0, 0.0)
        assert reported_tail(found) == 0.0


def test_a_long_marked_answer_keeps_its_logarithm() -> None:
    """Where the engine's float is 0: twenty thousand green tokens, twenty thousand far scores."""
    rows = np.arange(20_000)[:, None] + np.zeros((1, 5), np.int64)
    found = VllmGumbel(5).judged(rows)
    assert found.log10_p == log_gamma_tail(20_000, found.score) / LN10
    assert log_binomial_tail(20_000, 0.5, 20_000) / LN10 < -6000


def test_first_rows_are_the_first_of_equal_ones_in_order() -> None:
    """Whatever their bytes look like."""
    rows = np.array([[-1, 5], [2**31, 0], [-1, 5], [5, -1], [2**31, 0], [0, 0]])
    assert first_rows(rows).tolist() == [0, 1, 3, 5]
    assert first_rows(rows[:1]).tolist() == [0]
    assert first_rows(rows[:0]).tolist() == []


@pytest.mark.parametrize("tokens", [[-1], [1.5], [True], [2**31], [[1, 2]], ["a"]])
def test_tokens_that_are_none_are_refused(tokens: Any) -> None:
    """Whole numbers below 2³¹."""
    with pytest.raises(ValueError, match=r"^tokens: must be a list of whole numbers"):
        detect(tokens, VllmGumbel(42))


@pytest.mark.parametrize(
    ("make", "fields", "named"),
    [
        (VllmGumbel, {"key": 2**64}, "key"),
        (VllmGumbel, {"key": -1}, "key"),
        (VllmGumbel, {"context_width": 0}, "context_width"),
        (VllmGumbel, {"context_width": 2.0}, "context_width"),
        (VllmGumbel, {"deduplicate_contexts": "twice"}, "deduplicate_contexts"),
        (VllmDualKey, {"alpha": 1.1}, "alpha"),
        (VllmDualKey, {"alpha": float("nan")}, "alpha"),
        (VllmDualKey, {"key": 2**64}, "key"),
        (VllmSbw, {"key": 2**63}, "key"),
        (VllmSbw, {"gamma": 0.0}, "gamma"),
        (VllmSbw, {"gamma": 1.0}, "gamma"),
        (VllmSbw, {"seeding": "minhash"}, "seeding"),
        (VllmSynthId, {"depth": 33}, "depth"),
        (VllmSynthId, {"depth": 0}, "depth"),
    ],
)
def test_a_field_that_does_not_fit_is_named(make: Any, fields: dict[str, Any], named: str) -> None:
    """One ValueError, and never the key in it."""
    with pytest.raises(ValueError, match=f"^{named}: must be") as error:
        make(**({"key": 42} | fields))
    assert str(fields.get("key", "no key")) not in str(error.value)


def test_keys_stay_out_of_what_is_printed() -> None:
    """The repr of every configuration."""
    for make in (VllmGumbel, VllmDualKey, VllmSbw, VllmSynthId):
        assert "987654321" not in repr(make(987654321))
