"""Published cases of other engines, and generation on fixed logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.watermark.compat.philox import prf_words, uniforms
from detectors.watermark.compat.vllm import VllmSbw, derived_keys

Case = dict[str, Any]

FIXTURES = Path(__file__).parents[4] / "fixtures" / "watermark"
VLLM: dict[str, Any] = json.loads((FIXTURES / "vllm.json").read_text())


@pytest.fixture
def generate() -> Callable[[Case], tuple[list[int], dict[str, int | None]]]:
    """generate(case): the tokens that vLLM's rules make of its fixed logits, and how often each rule spoke."""
    return _generated


def _generated(case: Case) -> tuple[list[int], dict[str, int | None]]:
    fixture = VLLM["fixtures"][case["fixture"]]
    vocabulary, width = np.arange(fixture["vocabulary"]), case["context_width"]
    prompt = fixture.get("prompt", [])
    routes = case["scheme"] == "dual_key_gumbel" and 0 < case["alpha"] < 1
    tokens: list[int] = []
    skips = partial = draws = routed = effective = 0
    for position in range(fixture["tokens"]):
        values = (vocabulary * 37 + position * 17) % 131 - 56
        if "dominant" in fixture:
            values[fixture["dominant"]] += fixture["bias"]
        logits = (values / 16).astype(np.float32)
        context = ([-1] * width + tokens)[-width:]
        skipped = _repeated(prompt, tokens, context, case)
        skips += skipped
        partial += skipped and len(tokens) < width
        by_b = False
        if routes:
            shares = np.log(np.array([1 - case["alpha"], case["alpha"]], np.float32))
            share_a = (np.exp(shares) / np.exp(shares).sum())[0]
            by_b = bool(share_a <= VLLM["routing_uniforms"][draws % len(VLLM["routing_uniforms"])])
            draws += 1
            routed += by_b
            effective += by_b and not skipped
        if not skipped:
            logits = logits + _push(case, by_b, np.array([context]), vocabulary)
        tokens.append(int(logits.argmax()))
    trace = {"dedup_skips": skips, "partial_context_skips": partial}
    if case["scheme"] == "dual_key_gumbel":
        trace |= {"routing_draws": draws}
        trace |= {"key_b_routed": routed if routes else None, "key_b_effective": effective if routes else None}
    return tokens, trace


def _push(case: Case, by_b: bool, context: np.ndarray[Any, Any], vocabulary: np.ndarray[Any, Any]) -> Any:
    """What is added to the logits before the largest is taken: Gumbel noise, or 2 for a green token."""
    key = int(case["key"])
    if case["scheme"] == "sbw":
        rows = np.concatenate([np.repeat(context, len(vocabulary), axis=0), vocabulary[:, None]], axis=1)
        scheme = VllmSbw(key, context_width=case["context_width"])
        return np.float32(2) * scheme._green(scheme._seeded(rows)).astype(np.float32)
    if case["scheme"] == "dual_key_gumbel":
        key = derived_keys(key)[1 if by_b or case["alpha"] == 1 else 0]
    return -np.log(-np.log(uniforms(prf_words(key, context, vocabulary[None, :]))[0]))


def _repeated(prompt: list[int], tokens: list[int], context: list[int], case: Case) -> bool:
    """Whether this context is not marked: it came before, or is not whole yet where all history counts."""
    scope, width = case["deduplicate"], case["context_width"]
    if scope == "none":
        return False
    if scope == "all" and len(tokens) < width:
        return True
    history = (prompt if scope == "all" else []) + tokens
    begin = 0 if case["max_history"] is None else max(0, len(history) - case["max_history"])
    padded = [-1] * width + history
    return any(padded[place : place + width] == context for place in range(begin, len(history)))
