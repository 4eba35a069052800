"""Who is named, and who is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import MasterSecret, codewords, group_codewords, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile

TENANTS = 3000
NAMES = [f"tenant-{number}" for number in range(TENANTS)]
ALL = np.arange(128)


@pytest.fixture
def roster(secret: MasterSecret) -> Roster:
    """Three thousand tenants in no group."""
    return Roster(NAMES, codewords(secret, NAMES, 128, 16), ALL)


def _innocent(count: int, length: int, seed: int = 5) -> list[NDArray[np.uint32]]:
    return list(np.random.default_rng(seed).integers(0, 32_000, (count, length)).astype(np.uint32))


def test_one_text_names_key_went_through(prf: Prf, profile: MarkProfile, roster: Roster, write) -> None:
    """One text names the key it went through."""
    evidence = Evidence.of(prf, profile, [write(prf, profile, roster.words[77], 400, seed=1)])
    found = attribute(evidence, [roster])
    assert [fit.name for fit in found.named] == ["tenant-77"]
    assert found.fits[0].log10_p < -8
    assert found.fits[0].log10_split == 0.0


def test_two_documents_two_hundred_name_their(prf: Prf, profile: MarkProfile, roster: Roster, write) -> None:
    """Two documents in two hundred name their key where pooling drowns it."""
    documents = _innocent(200, 254)
    documents[40] = write(prf, profile, roster.words[5], 250, seed=1)
    documents[41] = write(prf, profile, roster.words[5], 250, seed=2)
    found = attribute(Evidence.of(prf, profile, documents), [roster])
    assert [fit.name for fit in found.named] == ["tenant-5"]
    assert {40, 41} <= set(found.fits[0].documents.tolist())
    assert found.fits[0].log10_pooled > -6 > found.fits[0].log10_split


def test_every_key_mixture_named_nobody_else(prf: Prf, profile: MarkProfile, roster: Roster, write) -> None:
    """Every key of a mixture is named and nobody else."""
    documents = [
        write(prf, profile, roster.words[tenant], 250, seed=tenant * 10 + part) for tenant in range(6) for part in range(4)
    ]
    found = attribute(Evidence.of(prf, profile, documents + _innocent(40, 254)), [roster])
    assert sorted(fit.name for fit in found.named) == [f"tenant-{tenant}" for tenant in range(6)]


def test_text_nobody_names_nobody(prf: Prf, profile: MarkProfile, roster: Roster) -> None:
    """Text of nobody names nobody."""
    found = attribute(Evidence.of(prf, profile, _innocent(100, 254)), [roster])
    assert found.named == []
    assert len(found.fits) == 20
    assert found.tested == TENANTS


def test_corpus_one_sentence_over_over_names(prf: Prf, profile: MarkProfile, roster: Roster) -> None:
    """A corpus of one sentence over and over names nobody."""
    sentence = np.arange(40, dtype=np.uint32)
    documents = [np.concatenate([sentence, sentence[: number % 30], sentence]) for number in range(300)]
    assert attribute(Evidence.of(prf, profile, documents), [roster], fwer=0.01).named == []


def test_another_secret_finds_nothing(profile: MarkProfile, roster: Roster, write) -> None:
    """Another secret finds nothing."""
    other = Prf(MasterSecret(bytes(32)), profile)
    documents = [write(other, profile, roster.words[9], 250, seed=seed) for seed in range(8)]
    theirs = Prf(MasterSecret(bytes(range(1, 33))), profile)
    assert attribute(Evidence.of(theirs, profile, documents), [roster]).named == []


def test_group_named_by_second_half_other(prf: Prf, profile: MarkProfile, secret: MasterSecret, write) -> None:
    """A group is named by the second half and its other members are not."""
    members = NAMES[:50]
    words = np.stack([issued(secret, name, 128, 16, "ring") for name in members])
    half = np.arange(64)
    rosters = [
        Roster(members, words, half),
        Roster(["ring"], group_codewords(secret, ["ring"], 128, 16), half + 64),
        Roster(NAMES[50:], codewords(secret, NAMES[50:], 128, 16), ALL),
    ]
    documents = [write(prf, profile, words[3], 250, seed=seed) for seed in range(10)]
    found = attribute(Evidence.of(prf, profile, documents), rosters)
    assert {(fit.roster, fit.name) for fit in found.named} == {(0, "tenant-3"), (1, "ring")}


def test_green_list_at_temperature_zero_attributed(secret: MasterSecret, roster: Roster, write) -> None:
    """A green list at temperature zero is attributed too."""
    profile = MarkProfile("g", "green", "words-1", "e", delta=2.0, context_width=2)
    prf = Prf(secret, profile)
    documents = [write(prf, profile, roster.words[8], 250, seed=seed, bits=3.0) for seed in range(6)]
    assert [fit.name for fit in attribute(Evidence.of(prf, profile, documents), [roster]).named] == ["tenant-8"]


def test_innocent_p_values_no_smaller_than(prf: Prf, profile: MarkProfile, roster: Roster, write) -> None:
    """Innocent p values are no smaller than chance though others are guilty."""
    documents = [write(prf, profile, roster.words[tenant], 200, seed=tenant) for tenant in range(30)]
    p = 10 ** attribute(Evidence.of(prf, profile, documents), [roster]).log10_p[0][30:]
    for level in (0.1, 0.01):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / TENANTS)


def test_empty_corpus_names_nobody(prf: Prf, profile: MarkProfile, roster: Roster) -> None:
    """An empty corpus names nobody."""
    assert attribute(Evidence.of(prf, profile, []), [roster]).named == []
    assert attribute(Evidence.of(prf, profile, []), []).fits == []


def test_progress_counts_every_pair_once(prf: Prf, profile: MarkProfile, roster: Roster) -> None:
    """Progress counts every pair once."""
    done: list[int] = []
    attribute(Evidence.of(prf, profile, _innocent(10, 50)), [roster], progress=done.append)
    assert sum(done) == 10 * TENANTS


@pytest.mark.parametrize("fwer", [0.0, 1.0, -1.0])
def test_error_rate_outside_bounds_refused(prf: Prf, profile: MarkProfile, roster: Roster, fwer: float) -> None:
    """An error rate outside its bounds is refused."""
    with pytest.raises(ValueError, match="fwer: must be between 0 and 1"):
        attribute(Evidence.of(prf, profile, _innocent(4, 50)), [roster], fwer=fwer)
