"""Philox and vLLM's pseudo-random function over it."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.watermark.compat.philox import GRID, philox, prf_words, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_gives_the_known_answers_of_its_authors(
    counter: tuple[int, ...], key: tuple[int, ...], words: tuple[int, ...]
) -> None:
    """Of the file kat_vectors of Random123, philox4x32-10."""
    c0, c1, c2, c3 = (np.array([word], np.uint64) for word in counter)
    k0, k1 = (np.array([word], np.uint64) for word in key)
    assert tuple(int(word[0]) for word in philox((c0, c1, c2, c3), (k0, k1))) == words


def test_words_depend_on_key_context_length_token_and_stream() -> None:
    """Each of them changes the word; nothing else does."""
    context, token = np.array([[1, 2, 3, 4]]), np.array([[7]])
    word = prf_words(42, context, token)
    others = [
        prf_words(43, context, token),
        prf_words(42 + 2**40, context, token),
        prf_words(42, np.array([[1, 2, 4, 3]]), token),
        prf_words(42, np.array([[1, 2, 3, 4, -1]]), token),
        prf_words(42, np.array([[-1, 1, 2, 3, 4]]), token),
        prf_words(42, context, np.array([[8]])),
        prf_words(42, context, token, stream=1),
        prf_words(42, context, token, stream=2**32),
    ]
    assert len({int(word[0, 0]), *(int(other[0, 0]) for other in others)}) == 1 + len(others)
    assert prf_words(42, context, token) == word


@pytest.mark.parametrize("width", [1, 3, 4, 5, 16])
def test_pairs_and_whole_vocabularies_give_the_same_words(width: int) -> None:
    """Shapes (n,), (n, v) and (1, v) ask the same function."""
    random = np.random.default_rng(3)
    contexts, tokens = random.integers(-1, 50_000, (40, width)), random.integers(0, 50_000, 40)
    pairs = prf_words(2**63 + 5, contexts, tokens)
    table = prf_words(2**63 + 5, contexts, tokens[None, :])
    assert pairs.shape == (40,)
    assert np.array_equal(np.diag(table), pairs)
    assert np.array_equal(prf_words(2**63 + 5, contexts, np.tile(tokens, (40, 1))), table)


def test_numbers_are_strictly_between_zero_and_one() -> None:
    """At both ends of the words."""
    ends = uniforms(np.array([0, 2**32 - 1], np.uint64))
    assert 0 < ends[0] < ends[1] < 1


@pytest.mark.parametrize("theta", [0.01, 0.2, 0.5, 0.9])
def test_the_grid_of_numbers_makes_p_larger_never_smaller(theta: float) -> None:
    """E e^(θ score) over all 2²⁴ numbers stays below the exponential's 1 / (1 − θ), and with it every Chernoff bound."""
    total = 0.0
    for start in range(0, GRID, 2**21):
        numbers = uniforms(np.arange(start, start + 2**21, dtype=np.uint64) << np.uint64(8)).astype(np.float64)
        total += float(np.exp(-theta * np.log1p(-numbers)).sum())
    assert total / GRID < 1 / (1 - theta)
