"""The token table, the artefacts it comes from, and what pools make of directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detectors import artefacts
from detectors.artefacts import BadArtefact, load
from detectors.fingerprint.embedding import DIMENSIONS, embedding, vector
from detectors.fingerprint.hashing import vocabulary
from detectors.fingerprint.normalise import fold, tokens
from detectors.pooled.rff import FEATURES, discrepancy, features
from detectors.sketch.pool import SCALES, Pool


def _direction(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return vector(embedding(vocabulary(tokens(fold(text)))))


def test_like_is_nearer_than_unlike() -> None:
    """Two questions about one subject lie nearer to each other than to one about another, in words that differ."""
    bank, card, tree = map(
        _direction,
        ("How do I transfer money to another account?", "My bank payment has not arrived", "Which trees grow near rivers?"),
    )
    assert bank @ card > bank @ tree + 0.1


def test_a_direction_is_of_length_one_and_of_words_alone() -> None:
    """Order and repetition of words do not matter, and no words give no direction."""
    assert np.linalg.norm(_direction("write a poem about autumn")) == pytest.approx(1.0, abs=0.05)
    assert np.array_equal(_direction("a poem about autumn"), _direction("about autumn: a poem, a poem"))
    assert embedding({}) == b""
    assert not vector(b"").any()


@pytest.mark.parametrize(
    "texts", [("請寫一首詩", "今天天氣很好"), ("اكتب قصيدة عن الخريف", "كم يبلغ سعر التذكرة"), ("ဟယ်လို", "ကျေးဇူး")]
)
def test_scripts_that_the_table_does_not_know_have_directions(texts: tuple[str, str]) -> None:
    """Texts of any script have a direction, and different ones have different ones."""
    one, other = map(_direction, texts)
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=0.05)
    assert one @ other < 0.95


def test_an_artefact_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are not those of the card, and a card without bytes, are one clear error."""
    (tmp_path / "table.toml").write_text('sha256 = "00"\n')
    monkeypatch.setattr(artefacts, "files", lambda _: tmp_path)
    with pytest.raises(BadArtefact, match="artefact table: No such file"):
        load("table")
    (tmp_path / "table.npz").write_bytes(b"no archive")
    with pytest.raises(BadArtefact, match="artefact table: its checksum is not the one of its card"):
        load("table")
    (tmp_path / "table.toml").write_text("sha256 = ")
    with pytest.raises(BadArtefact, match="artefact table: its card is no TOML"):
        load("table")


def test_features_give_the_kernel() -> None:
    """The product of two points' features follows the mean of four Gaussians of their distance, to a tenth."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((400, DIMENSIONS)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    made = features(points[:200]) @ features(points[200:]).T
    assert features(points).shape == (400, FEATURES)
    squared = ((points[:200, None] - points[None, 200:]) ** 2).sum(-1)
    widths = 1.3 * np.array([0.5, 1.0, 2.0, 4.0])
    true = np.exp(-squared[..., None] / (2 * widths**2)).mean(-1)
    assert abs(float((made - true).mean())) < 0.1


def test_equal_pools_have_no_discrepancy_and_unequal_ones_have() -> None:
    """Two halves of one sample differ by nothing on average, and a sample that leans another way differs."""
    rng = np.random.default_rng(3)
    points = rng.standard_normal((2000, DIMENSIONS)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    leaning = points + np.eye(DIMENSIONS, dtype=np.float32)[0]
    leaning /= np.linalg.norm(leaning, axis=1, keepdims=True)
    means = np.stack([features(part).mean(axis=0) for part in (points[:1000], leaning[1000:])])
    alike, unlike = discrepancy(means, np.full(2, 1000.0), features(points[1000:]).mean(axis=0), 1000.0)
    assert abs(alike) < 0.01 < unlike


def test_a_pool_begins_as_a_mean_and_forgets() -> None:
    """Up to its scale a pool is the plain mean; long after, what came first counts for nothing."""
    pool = Pool(2)
    rows = np.arange(60, dtype=np.float32).reshape(30, 2)
    for row in rows:
        pool.add(row)
    assert pool.counts == [30.0] * len(SCALES)
    assert np.allclose(pool.means, rows.mean(axis=0))
    for _ in range(1500):
        pool.add(np.array([7.0, 7.0], np.float32))
    assert np.allclose(pool.means[0], 7.0, atol=1e-3)
    assert pool.counts[0] == 2 * SCALES[0]


def test_pools_add_up_and_come_back() -> None:
    """The pool of both is the mean of all, and a restored pool goes on alike to the bit."""
    one, other, whole = Pool(3), Pool(3), Pool(3)
    rng = np.random.default_rng(2)
    for number, row in enumerate(rng.random((80, 3), np.float32)):
        (one if number % 4 else other).add(row)
        whole.add(row)
    merged = one.merged(other)
    assert np.allclose(merged.means, whole.means, atol=1e-6)
    assert merged.counts == whole.counts
    again = Pool.from_bytes(3, one.to_bytes())
    for pool in (one, again):
        pool.add(np.array([0.1, 0.2, 0.3], np.float32))
    assert again.to_bytes() == one.to_bytes()
    assert Pool.from_bytes(3, b"").counts == [0.0] * len(SCALES)
    for bad in (one.to_bytes()[:-4], b"\xff" * len(one.to_bytes())):
        with pytest.raises(ValueError, match="pool"):
            Pool.from_bytes(3, bad)
