"""How much is whose, where it lies, and one key's own test."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy.special import digamma
from scipy.stats import kstest

from detectors.watermark import single
from detectors.watermark.budget import expected_excess, expected_square
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import MasterSecret, codewords
from detectors.watermark.localise import spans
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.shares import Shares

NAMES = [f"tenant-{number}" for number in range(40)]
ALL = np.arange(128)


def test_shares_mixture_lie_their_intervals(profile: MarkProfile, write) -> None:
    """Shares of a mixture lie in their intervals."""
    inside = 0
    for trial in range(12):
        secret = MasterSecret(bytes([trial]) * 32)
        prf = Prf(secret, profile)
        words = codewords(secret, NAMES, 128, 16)
        documents = [write(prf, profile, words[0 if part < 6 else 1], 150, seed=trial * 100 + part) for part in range(24)]
        shares = Shares(Evidence.of(prf, profile, documents), expected_excess=0.574)
        mine, nobody = shares.of(words[0], ALL), shares.of(words[9], ALL)
        inside += mine.low <= 0.25 <= mine.high
        assert nobody.of_marked < 0.1
        assert 0.1 < mine.of_all < 0.45
        assert 0.6 < shares.marked() <= 1.0
    assert inside >= 9


def test_no_share_told_where_nothing_marked(prf: Prf, profile: MarkProfile, secret: MasterSecret) -> None:
    """No share is told where nothing is marked."""
    documents = list(np.random.default_rng(1).integers(0, 32_000, (20, 100)).astype(np.uint32))
    shares = Shares(Evidence.of(prf, profile, documents))
    share = shares.of(codewords(secret, NAMES[:1], 128, 16)[0], ALL)
    assert isnan(share.low) or share.low == 0.0
    assert isnan(share.of_all)
    assert isnan(shares.marked())


def test_marked_stretch_document_found_no_other(prf: Prf, profile: MarkProfile, secret: MasterSecret, write) -> None:
    """The marked stretch of a document is found and no other."""
    mine, other = codewords(secret, NAMES[:2], 128, 16)
    plain = np.random.default_rng(3).integers(0, 32_000, 700).astype(np.uint32)
    tokens = np.concatenate([plain[:300], write(prf, profile, mine, 256, seed=4), plain[300:]])
    found = spans(prf, profile, tokens, mine)
    assert found
    for span in found:
        assert span.log10_p <= -3
        assert min(span.end, 560) - max(span.start, 300) >= 0.5 * (span.end - span.start)
    assert spans(prf, profile, tokens, other) == []
    assert spans(prf, profile, plain, mine) == []


def test_document_too_short_for_window_has(prf: Prf, profile: MarkProfile) -> None:
    """A document too short for a window has no spans."""
    assert spans(prf, profile, np.arange(12, dtype=np.uint32), None) == []


def test_one_key_s_test_counts_own(prf: Prf, profile: MarkProfile, secret: MasterSecret, write) -> None:
    """One key's test counts its own symbols and the model s."""
    mine, other = codewords(secret, NAMES[:2], 128, 16)
    evidence = Evidence.of(prf, profile, [write(prf, profile, mine, 300, seed=1)])
    tested = single.test(evidence, mine)
    assert tested.ngrams == 300
    assert tested.log10_p < -8
    assert single.test(evidence, other).log10_p > -5
    model = single.test(evidence, None)
    score, count = evidence.model()
    assert model.ngrams == count[0]
    assert model.score == pytest.approx(score[0])


def test_one_key_s_p_values_innocent(profile: MarkProfile) -> None:
    """One key's p values on innocent text are uniform over secrets."""
    tokens = np.random.default_rng(2).integers(0, 32_000, 120).astype(np.uint32)
    p = []
    for number in range(600):
        secret = MasterSecret(number.to_bytes(32, "big"))
        evidence = Evidence.of(Prf(secret, profile), profile, [tokens])
        p.append(10 ** single.test(evidence, codewords(secret, NAMES[:1], 128, 16)[0]).log10_p)
    assert kstest(p, "uniform").pvalue > 0.001


def test_expected_excess_harmonic_number_one_over() -> None:
    """Expected excess is the harmonic number of one over p."""
    assert expected_excess(np.array([1.0])) == pytest.approx(0.0)
    assert expected_excess(np.array([0.5, 0.5])) == pytest.approx(0.5)
    assert expected_excess(np.array([[0.25] * 4, [1.0, 0, 0, 0]])) == pytest.approx([1 + 1 / 2 + 1 / 3 + 1 / 4 - 1, 0.0])
    assert expected_excess(np.array([0.7, 0.3])) == pytest.approx(
        0.7 * (digamma(1 / 0.7 + 1) + np.euler_gamma) + 0.3 * (digamma(1 / 0.3 + 1) + np.euler_gamma) - 1
    )


def test_expected_moments_those_drawn_scores() -> None:
    """Expected moments are those of drawn scores."""
    p = np.array([0.6, 0.3, 0.1])
    randomness = np.random.default_rng(1)
    chosen = randomness.choice(3, 400_000, p=p)
    score = -np.log1p(-(randomness.random(400_000) ** p[chosen]))
    assert score.mean() - 1 == pytest.approx(float(expected_excess(p)), abs=0.01)
    assert (score * score).mean() == pytest.approx(float(expected_square(p)), rel=0.02)
