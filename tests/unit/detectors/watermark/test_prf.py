"""The pseudo-random function `sw1`: its values are frozen, since texts that were marked with them are in the world."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf, Step, mixed, offsets_of, scored, stream, uniforms
from detectors.watermark.registry import MarkProfile

SECRET = MasterSecret(bytes(range(32)))
TOKENS = [1, 2, 3, 4, 5, 4294967295, 0, 50256]
SEEDS = [0xB201E4DC6FC9E8CB, 0xF5FE556FB39950D0, 0xAFA4B15804005DE3, 0xFA24522E2362C89B]

tokens_of_a_text = st.lists(st.integers(0, 2**32 - 1), max_size=40).map(lambda made: np.array(made, np.uint32))
word64 = st.integers(0, 2**64 - 1)


def _profile(**changes: object) -> MarkProfile:
    fields: dict[str, object] = {
        "id": "tutor",
        "scheme": "gumbel",
        "tokenizer": "words-1",
        "epoch": "2026q4",
        "coin": 0.25,
        **changes,
    }
    return MarkProfile(**fields)  # type: ignore[arg-type]


def test_seeds_and_positions_are_frozen() -> None:
    """What a secret, a profile and four tokens give today they give for ever."""
    seeds, positions = Prf(SECRET, _profile(coin=0.1)).steps(np.array(TOKENS, np.uint32))
    assert seeds.tolist() == SEEDS
    assert positions.tolist() == [119, 33, -1, 123]


def test_other_widths_and_counts_are_frozen() -> None:
    """The same for a context of one token, 64 positions and a coin of 0.05."""
    prf = Prf(SECRET, _profile(id="narrow", context_width=1, positions=64, symbols=256, coin=0.05))
    assert [prf.step([token]) for token in (7, 8, 9)] == [
        Step(0xD6CC86B4AF6E8E0B, 54),
        Step(0xC16C9477F14D1EF0, 18),
        Step(0xBFD3EEEA3EA6143A, 1),
    ]


def test_uniforms_are_frozen() -> None:
    """To the last bit, at both ends of the seeds."""
    offsets = offsets_of(np.arange(5))
    assert [f"{offset:x}" for offset in offsets.tolist()] == [
        "d1b54a32d192ed03",
        "a36a9465a325da06",
        "751fde9874b8c709",
        "46d528cb464bb40c",
        "188a72fe17dea10f",
    ]
    assert uniforms(0, 0, offsets).tolist() == [
        0.18727524745750396,
        0.48180162994460934,
        0.34191046206058034,
        0.22735819428318432,
        0.3688363278104692,
    ]
    assert uniforms(2**64 - 1, 16, offsets).tolist() == [
        0.7627595761843551,
        0.5516959368680681,
        0.6447101575226342,
        0.25371474732458316,
        0.438016413277967,
    ]


def test_scores_of_a_text_are_frozen() -> None:
    """The numbers of four tokens under two symbols and the model-level channel."""
    table = scored(np.array(SEEDS, np.uint64), np.array(TOKENS[4:], np.uint32), np.array([0, 15, 16]))
    assert table.tolist() == [
        [0.004538733880028734, 0.19964399952072637, 0.6496340728784742],
        [0.8939570591830477, 0.07128584057417259, 0.10944056437960853],
        [0.7571748723618859, 0.8644047129671903, 0.9413049722815523],
        [0.32301982659756673, 0.30982368509692687, 0.9633336455114823],
    ]


def test_the_mixer_is_splitmix64() -> None:
    """Seed zero under symbol zero is the first output of SplitMix64 from seed zero, as its authors publish it."""
    assert stream(0, 0) == 0xE220A8397B1DCDAF


def test_the_context_is_hashed_as_described() -> None:
    """BLAKE2b of the four tokens as little-endian words, keyed for the profile: half is the seed, half the place."""
    key = SECRET.derive("context/sw1/tutor/4")
    text = b"".join(token.to_bytes(4, "little") for token in TOKENS[:4])
    digest = hashlib.blake2b(text, key=key, digest_size=16).digest()
    place = int.from_bytes(digest[:8], "little")
    step = Prf(SECRET, _profile()).step(TOKENS[:4])
    assert step.seed == int.from_bytes(digest[8:], "little")
    assert (place >> 32) / 2**32 >= 0.25
    assert step.position == (place & 0xFFFFFFFF) % 128


@given(tokens_of_a_text, st.integers(1, 6))
def test_generation_and_detection_agree_on_steps(tokens: NDArray[np.uint32], width: int) -> None:
    """Step by step or a document at once: the same seeds and positions, none before the context is full."""
    prf = Prf(SECRET, _profile(context_width=width))
    seeds, positions = prf.steps(tokens)
    assert len(seeds) == len(positions) == max(0, len(tokens) - width)
    by_step = [prf.step(tokens[:end].tolist()) for end in range(width, len(tokens))]
    assert list(zip(seeds.tolist(), positions.tolist(), strict=True)) == by_step


@given(word64, st.integers(0, 300), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_generation_and_detection_agree_on_numbers(seed: int, symbol: int, candidates: list[int]) -> None:
    """A candidate's number at generation is what its token scores at detection, bit for bit, and lies between 0 and 1."""
    made = uniforms(seed, symbol, offsets_of(np.array(candidates)))
    seeds = np.full(len(candidates), seed, np.uint64)
    assert scored(seeds, np.array(candidates, np.uint32), np.array([symbol]))[:, 0].tolist() == made.tolist()
    assert (made > 0).all()
    assert (made < 1).all()


@given(st.lists(word64, min_size=1, max_size=30, unique=True))
def test_no_two_words_are_mixed_to_one(words: list[int]) -> None:
    """The mixer is a bijection, so different candidates never share a number by construction."""
    assert len(set(mixed(np.array(words, np.uint64)).tolist())) == len(words)


def test_offsets_are_left_as_they_are() -> None:
    """A vocabulary's offsets are made once and used at every step."""
    offsets = offsets_of(np.arange(100))
    before = offsets.copy()
    uniforms(5, 3, offsets)
    assert (offsets == before).all()


def test_only_the_last_tokens_count() -> None:
    """What stands before the context changes nothing."""
    prf = Prf(SECRET, _profile())
    assert prf.step([9, 9, 9, *TOKENS[:4]]) == prf.step(TOKENS[:4])
    assert prf.step(TOKENS[1:5]) != prf.step(TOKENS[:4])


def test_everything_that_should_keys_the_numbers() -> None:
    """Another secret, another profile and another width give other seeds."""
    seeds = {
        Prf(secret, profile).step(TOKENS).seed
        for secret in (SECRET, MasterSecret(bytes(32)))
        for profile in (_profile(), _profile(id="other"), _profile(context_width=2))
    }
    assert len(seeds) == 6


def test_positions_are_even_and_the_coin_has_its_share() -> None:
    """Of 40,000 contexts a quarter go to the model-level channel and the rest to all positions alike (chi-square)."""
    prf = Prf(SECRET, _profile())
    _, positions = prf.steps(np.random.default_rng(3).integers(0, 2**32, 40_004, dtype=np.uint64).astype(np.uint32))
    model = int((positions < 0).sum())
    assert abs(model - 10_000) < 4.5 * np.sqrt(40_000 * 0.25 * 0.75)
    counts = np.bincount(positions[positions >= 0], minlength=128)
    expected = counts.sum() / 128
    # 99.999 % of the chi-square distribution with 127 degrees of freedom is below 205.
    assert float(((counts - expected) ** 2 / expected).sum()) < 205


def test_numbers_are_uniform_and_symbols_independent() -> None:
    """Over 200,000 draws the numbers fill (0, 1) evenly, and under two symbols they have nothing to do with each other."""
    rng = np.random.default_rng(4)
    seeds = rng.integers(0, 2**63, 200_000, dtype=np.uint64)
    table = scored(seeds, rng.integers(0, 50_000, 200_000).astype(np.uint32), np.array([0, 1]))
    counts, _ = np.histogram(table[:, 0], bins=100, range=(0, 1))
    # 99.999 % of the chi-square distribution with 99 degrees of freedom is below 169.
    assert float(((counts - 2_000) ** 2 / 2_000).sum()) < 169
    assert abs(np.corrcoef(table.T)[0, 1]) < 4.5 / np.sqrt(200_000)


def test_adjacent_candidates_and_seeds_are_independent() -> None:
    """Neither neighbours in the vocabulary nor seeds that follow each other have correlated numbers."""
    offsets = offsets_of(np.arange(100_001))
    first, second = uniforms(77, 0, offsets), uniforms(78, 0, offsets)
    limit = 4.5 / np.sqrt(100_000)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < limit
    assert abs(np.corrcoef(first, second)[0, 1]) < limit


@pytest.mark.parametrize("tokens", [[], [1, 2, 3]])
def test_too_few_tokens_are_refused(tokens: list[int]) -> None:
    """Four are needed, and the sentence says so."""
    with pytest.raises(ValueError, match=f"context: 4 tokens are needed, not {len(tokens)}"):
        Prf(SECRET, _profile()).step(tokens)


@pytest.mark.parametrize("token", [-1, 2**32])
def test_what_is_no_token_is_refused(token: int) -> None:
    """A placeholder in place of a token is an error and not some other context."""
    with pytest.raises(ValueError, match="context: a token is a whole number from 0 to 4,294,967,295"):
        Prf(SECRET, _profile()).step([1, 2, 3, token])


def test_the_function_shows_no_secret() -> None:
    """Neither printed nor in its attributes' names does it hold the secret or the key derived from it."""
    prf = Prf(SECRET, _profile())
    key = SECRET.derive("context/sw1/tutor/4")
    shown = repr(prf) + str(prf) + "".join(repr(getattr(prf, name)) for name in prf.__slots__)
    assert bytes(range(32)).hex() not in shown
    assert key.hex() not in shown
    assert repr(key) not in shown
