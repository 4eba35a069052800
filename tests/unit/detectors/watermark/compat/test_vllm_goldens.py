"""vLLM's published golden cases: tokens, scores and p-values, all of them.

Where the published p is an approximation, what the engine reports must be reproduced, and the exact one stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.watermark.compat.detection import LN10, Detection, Scheme, detect
from detectors.watermark.compat.philox import GRID, prf_words, uniforms
from detectors.watermark.compat.vllm import VllmDualKey, VllmGumbel, VllmSbw, derived_keys
from detectors.watermark.tails import log_binomial_tail, log_dual_tail

Case = dict[str, Any]

VLLM = json.loads((Path(__file__).parents[4] / "fixtures" / "watermark" / "vllm.json").read_text())
CASES: list[Case] = VLLM["cases"]
IDS = [case["id"] for case in CASES]
RELATIVE = 1e-9


def scheme_of(case: Case) -> Scheme:
    """The configuration that detects a case."""
    key, width, scope = int(case["detection_key"]), case["context_width"], case["deduplicate"]
    if case["scheme"] == "gumbel":
        return VllmGumbel(key, width, scope)
    if case["scheme"] == "dual_key_gumbel":
        return VllmDualKey(key, width, scope, alpha=case["detection_alpha"])
    return VllmSbw(key, width, scope)


def found(case: Case) -> Detection:
    """What is detected in its tokens."""
    return detect(case["generation"], scheme_of(case))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_engine_s_own_view_of_every_golden_is_reproduced(case: Case) -> None:
    """Scored tokens exactly, score and p-value to 1e-9."""
    reported = found(case).reported
    assert reported is not None
    assert reported.log10_p is not None
    assert reported.scored == case["scored"]
    assert reported.score == pytest.approx(case["score"], rel=RELATIVE)
    assert 10**reported.log10_p == pytest.approx(case["p_value"], rel=RELATIVE)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_generation_on_the_golden_logits_gives_the_golden_tokens(
    case: Case, generate: Callable[[Case], tuple[list[int], dict[str, int | None]]]
) -> None:
    """Token by token, with as many repeats passed over and as many draws of the coin as published."""
    tokens, trace = generate(case)
    assert tokens == case["generation"]
    assert trace == {name: case[name] for name in trace}


@pytest.mark.parametrize("case", [case for case in CASES if case["scheme"] == "gumbel"], ids=lambda case: case["id"])
def test_one_key_has_the_published_p_unless_repeats_were_counted(case: Case) -> None:
    """Gamma is exact for different inputs; the first tokens under `all` and repeats under `none` are no evidence."""
    detection = found(case)
    if case["deduplicate"] == "all":
        assert detection.scored == case["scored"] - case["context_width"]
    elif detection.scored == case["scored"]:
        assert detection.log10_p == pytest.approx(log10(case["p_value"]), rel=RELATIVE)
    else:
        assert case["deduplicate"] == "none"
        assert detection.scored < case["scored"]


def test_passing_over_tokens_that_were_surely_not_marked_sharpens_the_test() -> None:
    """Under `all` the first tokens are never marked: leaving them out makes p smaller, over these cases together."""
    cases = [case for case in CASES if case["scheme"] == "gumbel" and case["deduplicate"] == "all"]
    assert sum(found(case).log10_p for case in cases) < sum(log10(case["p_value"]) for case in cases)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["scheme"] == "dual_key_gumbel"], ids=lambda case: case["id"]
)
def test_two_keys_have_an_exact_p_beside_the_published_approximation(case: Case) -> None:
    """Larger in the tail wherever both keys count; the published one where one key, or equal weights, make that exact."""
    detection, alpha = found(case), case["detection_alpha"]
    if case["deduplicate"] == "all":
        return  # other tokens are scored; the one above covers what the engine says
    exact = log_dual_tail(case["scored"], case["score"], alpha) / LN10
    print(f"{case['id']}: published {case['p_value']:.6e}, exact {10**exact:.6e}, ratio {10**exact / case['p_value']:.3f}")
    assert detection.log10_p == pytest.approx(exact, rel=RELATIVE)
    if alpha in (0, 0.5, 1):
        assert exact == pytest.approx(log10(case["p_value"]), rel=RELATIVE)
    else:
        assert exact > log10(case["p_value"]) + 0.001


@pytest.mark.parametrize("case", [case for case in CASES if case["scheme"] == "sbw"], ids=lambda case: case["id"])
def test_green_tokens_have_a_binomial_p_over_different_seeds(case: Case) -> None:
    """The published z-test overstates a strong mark, and counts tokens twice whose seed is the same."""
    detection = found(case)
    assert detection.scored <= case["scored"]
    share = (2**30 - 1) / 2**31
    assert detection.log10_p == log_binomial_tail(detection.scored, share, int(detection.score)) / LN10
    if case["score"] == case["scored"] and detection.scored == case["scored"]:
        assert detection.log10_p == pytest.approx(case["scored"] * log10(share), rel=RELATIVE)


def test_derived_keys_are_the_published_ones() -> None:
    """For every master key of the two-key cases."""
    cases = [case for case in CASES if case["scheme"] == "dual_key_gumbel"]
    assert len({case["key"] for case in cases}) == 5
    for case in cases:
        assert derived_keys(int(case["key"])) == tuple(int(key) for key in case["derived_keys"])


def test_raw_words_and_numbers_are_the_published_ones() -> None:
    """The compatibility vectors of the PRF's version 1."""
    vector = VLLM["words"]
    words = prf_words(int(vector["key"]), np.array(vector["contexts"]), np.array([vector["tokens"]]))
    assert words.tolist() == vector["words"]
    wanted = ((np.array(vector["mantissas"], np.float64) + 1) / (GRID + 1)).astype(np.float32)
    assert np.array_equal(uniforms(words), wanted)


def test_the_published_marked_sequence_is_found_and_a_plain_one_is_not() -> None:
    """Of the engine's detection tests; their threshold is 0.01."""
    known = VLLM["known_sequence"]
    scheme = VllmGumbel(int(known["key"]), known["context_width"])
    assert detect(known["tokens"], scheme).log10_p < -20
    assert detect(list(range(64)), scheme).log10_p > -2
