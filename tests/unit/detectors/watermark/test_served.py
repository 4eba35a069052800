"""Sets of served contexts: exact while small, bounded when large."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.watermark.prf import Prf
from detectors.watermark.served import Contexts, Served


def _seeds(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


def _filled(seeds: np.ndarray, size_bytes: int) -> Contexts:
    made = Contexts(size_bytes)
    made.add(seeds)
    return made


def test_small_set_holds_exactly_what_was_added() -> None:
    """A small set holds exactly what was added, however often."""
    inside, outside = _seeds(5000), _seeds(5000, 2)
    made = _filled(inside, 1 << 20)
    made.add(inside[:100])
    assert made.exact
    assert len(made) == 5000
    assert made.holds(inside).all()
    assert not made.holds(outside).any()
    assert not Contexts().holds(outside).any()


@pytest.mark.parametrize("batches", [1, 7, 1000])
def test_large_set_forgets_nothing_and_takes_few_for_served(batches: int) -> None:
    """Beyond its bound a set forgets nothing, and takes as few others for served as a Bloom filter of the size does."""
    inside, outside = _seeds(100_000), _seeds(100_000, 2)
    made = Contexts(1 << 17)
    for part in np.array_split(inside, batches):
        made.add(part)
    assert not made.exact
    assert made.holds(inside).all()
    expected = (1 - np.exp(-4 * 100_000 / 2**20)) ** 4
    assert abs(made.holds(outside).mean() - expected) < 0.003
    assert abs(len(made) - 100_000) < 1000
    assert len(made.to_bytes()) < (1 << 17) + 64


@pytest.mark.parametrize(
    "sizes", [(1 << 20, 1 << 20), (1 << 14, 1 << 14), (1 << 20, 1 << 14), (1 << 14, 1 << 20), (1 << 13, 1 << 14)]
)
def test_merged_set_holds_both(sizes: tuple[int, int]) -> None:
    """A merged set holds what either held, arrays and filters of any two bounds, and leaves the other as it was."""
    first, second = _seeds(4000), _seeds(4000, 2)
    one, other = _filled(first, sizes[0]), _filled(second, sizes[1])
    before = other.to_bytes()
    one.merge(other)
    assert one.holds(first).all()
    assert one.holds(second).all()
    assert one.holds(_seeds(50_000, 3)).mean() < 0.05
    assert other.to_bytes() == before


def test_merge_is_the_same_as_adding_everything() -> None:
    """A set merged of parts is the set of the whole, bit for bit."""
    for size in (1 << 20, 1 << 14):
        whole = _filled(_seeds(6000), size)
        parts = _filled(_seeds(6000)[:2500], size)
        parts.merge(_filled(_seeds(6000)[2000:], size))
        assert parts.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("size", [1 << 20, 1 << 13])
def test_bytes_read_back_are_the_same_set(size: int) -> None:
    """A set read back from its bytes answers as before and can be added to."""
    made = _filled(_seeds(3000), size)
    read = Contexts.from_bytes(made.to_bytes())
    probe = np.concatenate([_seeds(3000), _seeds(50_000, 2)])
    assert (read.holds(probe) == made.holds(probe)).all()
    assert read.exact == made.exact
    read.add(_seeds(10, 4))
    assert read.holds(_seeds(10, 4)).all()


@pytest.mark.parametrize(
    ("spoiled", "rule"),
    [
        (lambda raw: raw[:10], "shorter than its header"),
        (lambda raw: b"x" + raw[1:], "unknown version"),
        (lambda raw: raw[:-8], "bytes are needed"),
        (lambda raw: raw[:24] + raw[-8:] + raw[32:], "ascending order"),
    ],
)
def test_damaged_bytes_are_refused(spoiled, rule: str) -> None:
    """Damaged bytes are refused with the rule they break."""
    raw = _filled(np.arange(1, 100, dtype=np.uint64) * np.uint64(2**50), 1 << 12).to_bytes()
    with pytest.raises(ValueError, match=rule):
        Contexts.from_bytes(spoiled(raw))


def test_bound_that_is_no_power_of_two_is_refused() -> None:
    """A bound that is no power of two is refused."""
    with pytest.raises(ValueError, match="size_bytes"):
        Contexts(1000)


def test_answers_are_told_apart_by_key(prf: Prf) -> None:
    """What one key was served is in its set and the model's, and in no other key's."""
    randomness = np.random.default_rng(1)
    texts = {key: randomness.integers(0, 30_000, 200).astype(np.uint32) for key in ("one", "two")}
    served = Served(prf)
    for key, text in texts.items():
        assert served.add(key, text) == 196
    for key, text in texts.items():
        seeds, _ = prf.steps(text)
        other = next(name for name in texts if name != key)
        assert served.keys[key].holds(seeds).all()
        assert served.model.holds(seeds).all()
        assert not served.keys[other].holds(seeds).any()
        assert Contexts.of(prf, [text]).to_bytes() == served.keys[key].to_bytes()
