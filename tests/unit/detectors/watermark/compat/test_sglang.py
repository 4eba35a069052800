"""SGLang's marks. Constants are of its test_watermark_detector.py (github.com/sgl-project/sglang, Apache-2.0, 2026)."""

from __future__ import annotations

from math import log1p, log10

import numpy as np
import pytest

from detectors.watermark.compat.detection import LN10, detect, detect_corpus
from detectors.watermark.compat.murmur3 import coins, context_hashes, murmur3, token_hashes
from detectors.watermark.compat.sglang import Sglang, parse_key
from detectors.watermark.tails import log_gamma_tail

KEY_A, KEY_B = parse_key("0123456789abcdef"), parse_key("fedcba9876543210")
CONTEXTS = [[1, 2, 3, 4], [4, 3, 2, 1]]
CONTEXT_HASHES = [1145416960, 47748951]
TOKENS = [0, 1, 17, 8191, 8192, 16396]
TOKEN_HASHES = [
    [1293512163, 858402549, 2305555132, 2450309311, 227333036, 2684237202],
    [221641642, 4015047244, 843143906, 1076944989, 3882127500, 2413234263],
]
OTHERS = [parse_key("1111222233334444"), parse_key("9999aaaabbbbcccc")]
PROMPT = [100, 200, 300, 400]
MARKED = [
    5,
    33,
    16,
    8,
    25,
    28,
    63,
    47,
    41,
    27,
    3,
    6,
    4,
    13,
    22,
    2,
    48,
    32,
    2,
    52,
    27,
    41,
    60,
    45,
    53,
    4,
    3,
    51,
    19,
    38,
    3,
    20,
]


def made(key_a: int, key_b: int | None = None, mixing: float = 0.5, length: int = 256) -> list[int]:
    """An answer of tokens below 64, all equally likely, by the sampler's rule."""
    tokens, candidates = list(PROMPT), np.arange(64, dtype=np.uint64)
    for _ in range(length):
        hashed = context_hashes(np.array([tokens[-4:]]), np.array([4]))
        key = key_a
        if key_b is not None and coins(key_a, key_b, hashed)[0] >= int(mixing * 2**32):
            key = key_b
        tokens.append(int(token_hashes(key, hashed, candidates).argmax()))
    return tokens[len(PROMPT) :]


def test_hashes_of_contexts_tokens_and_coins_are_the_published_ones() -> None:
    """Of two keys, two contexts, six tokens."""
    hashes = context_hashes(np.array(CONTEXTS), np.array([4, 4]))
    assert hashes.tolist() == CONTEXT_HASHES
    for key, hashed, wanted in zip((KEY_A, KEY_B), hashes, TOKEN_HASHES, strict=True):
        assert token_hashes(key, hashed, np.array(TOKENS, np.uint64)).tolist() == wanted
    thrown = [int(coins(key, other, hashed)) for key, other, hashed in zip((KEY_A, KEY_B), OTHERS, hashes, strict=True)]
    assert [coin < 2**31 for coin in thrown] == [False, True]


def test_the_hash_is_murmur3_of_the_same_bytes() -> None:
    """Against a plain scalar version of the published algorithm, for one to five words."""
    random = np.random.default_rng(11)
    for length in (1, 2, 3, 5):
        words = [int(word) for word in random.integers(0, 2**32, length)]
        state = 0
        for word in words:
            mixed = word * 0xCC9E2D51 % 2**32
            mixed = (mixed << 15 | mixed >> 17) % 2**32 * 0x1B873593 % 2**32
            state ^= mixed
            state = ((state << 13 | state >> 19) % 2**32 * 5 + 0xE6546B64) % 2**32
        state ^= 4 * length
        state = (state ^ state >> 16) * 0x85EBCA6B % 2**32
        state = (state ^ state >> 13) * 0xC2B2AE35 % 2**32
        assert int(murmur3([np.uint64(word) for word in words])) == state ^ state >> 16


def test_a_token_after_a_known_prompt_has_the_published_score() -> None:
    """Context [1, 2, 3, 4], token 17: u is the middle of its cell; the rest of the prompt does not matter."""
    found = detect([17], Sglang(KEY_A), prompt=[9, 1, 2, 3, 4])
    score = -log1p(-(2305555132 + 0.5) / 2**32)
    assert (found.scored, found.skipped) == (1, 0)
    assert found.score == pytest.approx(score, rel=1e-14)
    assert found.log10_p == pytest.approx(-score / LN10, rel=1e-12)
    without = detect([1, 2, 3, 4, 17], Sglang(KEY_A))
    assert (without.score, without.log10_p, without.scored, without.skipped) == (found.score, found.log10_p, 1, 4)


def test_a_short_prompt_gives_short_contexts() -> None:
    """Tokens are scored from the first on, after as many tokens as there are."""
    found = detect([2, 3], Sglang(KEY_A), prompt=[1])
    assert (found.scored, found.skipped) == (2, 0)
    hashes = context_hashes(np.array([[-1, -1, -1, 1], [-1, -1, 1, 2]]), np.array([1, 2]))
    uniforms = (token_hashes(KEY_A, hashes, np.array([2, 3], np.uint64)).astype(float) + 0.5) / 2**32
    assert found.score == pytest.approx(float(-np.log1p(-uniforms).sum()), rel=1e-14)


def test_the_published_marked_answer_is_found() -> None:
    """Thirty-two tokens after a prompt; published as below 1e-30."""
    found = detect(MARKED, Sglang(KEY_A), prompt=PROMPT)
    assert found.scored == 32
    assert found.log10_p < -30
    assert made(KEY_A, length=32) == MARKED


def test_repeats_add_no_evidence_and_spend_no_budget() -> None:
    """A context counts once, and the third different one is the last here."""
    scheme = Sglang(KEY_A, context_window=1, max_contexts=3)
    first, again = detect([1, 2, 1, 3, 4], scheme), detect([1, 2, 1, 2, 3, 4, 999, 0], scheme)
    assert (first.scored, first.score) == (again.scored, again.score)
    assert again.scored == 3


def test_only_the_first_4096_contexts_count() -> None:
    """Whatever follows them."""
    scheme = Sglang(KEY_A, KEY_B)
    tokens = list(range(4100))
    whole = detect(tokens, scheme)
    longer = detect(tokens + list(range(10_000, 11_000)), scheme)
    assert whole.scored == 4096 == sum(part.scored for part in whole.parts)
    assert (whole.score, whole.log10_p) == (longer.score, longer.log10_p)


def test_contexts_whose_hashes_collide_count_once_here_and_twice_there() -> None:
    """Equal hashes have equal numbers under every key, so the engine never marks the second either."""
    tokens = [55826, 167495, 17, 62387, 187178, 18]
    assert len(np.unique(context_hashes(np.array([[55826, 167495], [62387, 187178]]), np.array([2, 2])))) == 1
    found = detect(tokens, Sglang(KEY_A, context_window=2))
    assert found.reported is not None
    assert (found.scored, found.reported.scored) == (3, 4)


def test_the_coin_is_strict_at_its_threshold() -> None:
    """A coin equal to the threshold is key B's; one above it, A's."""
    coin = int(coins(KEY_A, OTHERS[0], np.uint64(CONTEXT_HASHES[0])))
    for share, name in ((coin / 2**32, "key_b"), ((coin + 1) / 2**32, "key_a")):
        found = detect([17], Sglang(KEY_A, OTHERS[0], share), prompt=CONTEXTS[0])
        scored = {part.name: part.scored for part in found.parts}
        assert scored == {"key_a": int(name == "key_a"), "key_b": int(name == "key_b")}
        empty = next(part for part in found.parts if not part.scored)
        assert (empty.score, empty.log10_p) == (0.0, 0.0)


def test_two_keys_share_an_answer_and_other_keys_see_nothing() -> None:
    """Both parts and the whole stand out; another key, and one key on the other's text, do not."""
    tokens = made(KEY_A, KEY_B, 0.3)
    found = detect(tokens, Sglang(KEY_A, KEY_B, 0.3), prompt=PROMPT)
    assert all(part.log10_p < -4 for part in found.parts)
    assert found.log10_p < -100
    assert found.score == pytest.approx(sum(part.score for part in found.parts), rel=1e-12)
    assert found.log10_p == pytest.approx(log_gamma_tail(found.scored, found.score) / LN10, rel=1e-12)
    assert detect(tokens, Sglang(0xDEADBEEF), prompt=PROMPT).log10_p > -4
    assert detect(made(KEY_A), Sglang(KEY_B), prompt=PROMPT).log10_p > -4


def test_a_request_s_own_key_is_found_by_that_key_alone() -> None:
    """A key per tenant: of fifty, the one that marked."""
    keys = [int(key) for key in np.random.default_rng(2).integers(1, 2**63, 50)]
    tokens = made(keys[17], length=60)
    tails = [detect(tokens, Sglang(key), prompt=PROMPT).log10_p for key in keys]
    assert int(np.argmin(tails)) == 17
    assert sorted(tails)[1] > -4


@pytest.mark.parametrize("dual", [False, True], ids=["one key", "two keys"])
def test_p_is_uniform_over_wrong_keys_on_text_full_of_repeats(dual: bool) -> None:
    """Six hundred keys on sixty words: as many below 0.1 and 0.01 as there should be."""
    tokens = np.random.default_rng(4).choice(60, 300, p=np.arange(60, 0, -1) / 1830)
    keys = np.random.default_rng(6).integers(1, 2**63, (600, 2))
    schemes = [Sglang(int(one), int(two) if dual else None, context_window=2) for one, two in keys]
    tails = np.array([detect(tokens, scheme).log10_p for scheme in schemes])
    assert 37 <= (tails <= log10(0.1)).sum() <= 85
    assert (tails <= log10(0.01)).sum() <= 14


def test_a_wrong_tenant_under_the_right_common_key_is_told_apart_by_the_parts() -> None:
    """Where key B is everybody's, the whole shows that the text is marked; only key A's part says by whom."""
    tokens = made(KEY_A, KEY_B)
    wrong = detect(tokens, Sglang(0xDEADBEEF, KEY_B), prompt=PROMPT)
    parts = {part.name: part.log10_p for part in wrong.parts}
    assert wrong.log10_p < -10
    assert parts["key_b"] < -10
    assert parts["key_a"] > -3


@pytest.mark.parametrize("digits", ["", "0x", "1" * 17, "+1", "g"])
def test_a_key_that_is_no_key_is_named_without_its_digits(digits: str) -> None:
    """Sixteen hexadecimal digits at most."""
    with pytest.raises(ValueError, match=r"^key: must be 1 to 16 hexadecimal digits, with or without 0x$"):
        parse_key(digits)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"key": -1}, "key"),
        ({"key": 2**64}, "key"),
        ({"key": True}, "key"),
        ({"key_b": 2**64}, "key_b"),
        ({"context_window": 0}, "context_window"),
        ({"context_window": 65}, "context_window"),
        ({"max_contexts": 0}, "max_contexts"),
        ({"max_contexts": 4097}, "max_contexts"),
        ({"mixing_probability": 0.0}, "mixing_probability"),
        ({"mixing_probability": 1.0}, "mixing_probability"),
        ({"mixing_probability": float("nan")}, "mixing_probability"),
    ],
)
def test_a_field_that_does_not_fit_is_named(fields: dict[str, float], named: str) -> None:
    """One ValueError, and never the key in it."""
    with pytest.raises(ValueError, match=f"^{named}: must be") as error:
        Sglang(**({"key": KEY_A} | fields))  # type: ignore[arg-type]
    assert str(2**64) not in str(error.value)


def test_gamma_tails_are_the_published_ones() -> None:
    """Three unit exponentials at 2, 4,096 at their mean, one at 1,000."""
    assert np.exp(log_gamma_tail(3, 2.0)) == pytest.approx(5 * np.exp(-2), rel=1e-12)
    assert np.exp(log_gamma_tail(4096, 4096.0)) == pytest.approx(0.4979221728062154, abs=1e-10)
    assert log_gamma_tail(1, 1000.0) == -1000.0


def test_a_corpus_counts_what_its_answers_share_once() -> None:
    """An answer served twice says nothing more than once; another one adds to it."""
    first, second = made(KEY_A, KEY_B, length=60), made(KEY_A, KEY_B, length=90)[60:]
    scheme = Sglang(KEY_A, KEY_B)
    once, twice = detect_corpus([first, second], scheme), detect_corpus([first, second, first], scheme)
    assert (once.scored, once.score, once.log10_p) == (twice.scored, twice.score, twice.log10_p)
    assert once.scored == (60 - 4) + (30 - 4)
    assert once.log10_p < detect(first, scheme).log10_p


def test_keys_stay_out_of_what_is_printed() -> None:
    """The repr of a configuration."""
    shown = repr(Sglang(KEY_A, KEY_B))
    assert str(KEY_A) not in shown
    assert str(KEY_B) not in shown
