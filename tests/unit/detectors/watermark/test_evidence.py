"""Documents → evidence: what counts, what is left out, and the tables made of it."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.watermark.evidence import Evidence, ngrams, values
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import Seen
from detectors.watermark.words import words


def _documents(count: int, length: int, vocabulary: int = 5_000, seed: int = 1) -> list[np.ndarray]:
    randomness = np.random.default_rng(seed)
    return [randomness.integers(0, vocabulary, length).astype(np.uint32) for _ in range(count)]


def test_pair_counts_once_corpus_whichever_document(prf: Prf, profile: MarkProfile) -> None:
    """A pair counts once in a corpus whichever document it stands in."""
    documents = _documents(5, 60)
    once = Evidence.of(prf, profile, documents)
    thrice = Evidence.of(prf, profile, [*documents, *documents, np.concatenate(documents[:1])])
    np.testing.assert_array_equal(np.sort(once.seeds), np.sort(thrice.seeds))
    np.testing.assert_allclose(once.pooled(), thrice.pooled())
    assert np.diff(thrice.starts).tolist() == [56] * 5 + [0] * 6


def test_pooled_table_does_not_depend_order(prf: Prf, profile: MarkProfile) -> None:
    """The pooled table does not depend on the order of documents."""
    documents = _documents(20, 40, vocabulary=12)
    np.testing.assert_allclose(
        Evidence.of(prf, profile, documents).pooled(), Evidence.of(prf, profile, documents[::-1]).pooled()
    )


def test_documents_shorter_than_context_have_nothing(prf: Prf, profile: MarkProfile) -> None:
    """Documents shorter than a context have nothing to score."""
    evidence = Evidence.of(prf, profile, [np.arange(n, dtype=np.uint32) for n in range(6)])
    assert np.diff(evidence.starts).tolist() == [0, 0, 0, 0, 0, 1]
    assert evidence.tables(np.arange(6)).shape == (6, 128, 16)


def test_tables_blocks_single_documents_pooled_agree(prf: Prf, profile: MarkProfile) -> None:
    """Tables of blocks of single documents and pooled agree."""
    evidence = Evidence.of(prf, profile, _documents(30, 50))
    blocks = np.concatenate([table for _, table in evidence.blocks(7)])
    np.testing.assert_allclose(blocks, evidence.tables(np.arange(30)))
    np.testing.assert_allclose(blocks.sum(axis=0), evidence.pooled(), rtol=1e-5)
    np.testing.assert_allclose(evidence.summed(np.array([3, 4])), blocks[3:5].sum(axis=0), rtol=1e-5)


def test_cell_holds_scores_position_under_symbol(prf: Prf, profile: MarkProfile) -> None:
    """A cell holds the scores of its position under its symbol."""
    evidence = Evidence.of(prf, profile, _documents(1, 40))
    table = evidence.tables(np.array([0]))[0]
    expected = np.zeros((128, 16))
    for seed, token, position in zip(evidence.seeds, evidence.tokens, evidence.positions, strict=True):
        if position >= 0:
            expected[position] += values(profile, np.array([seed]), np.array([token]), np.arange(16))[0]
    np.testing.assert_allclose(table, expected, rtol=1e-5)


def test_model_channel_decoys_score_one_per(prf: Prf, profile: MarkProfile) -> None:
    """The model channel and its decoys score one per ngram on innocent text."""
    evidence = Evidence.of(prf, profile, _documents(40, 300))
    score, count = evidence.model()
    assert abs(score.sum() - count.sum()) < 5 * np.sqrt(count.sum())
    decoys, counted = evidence.decoys(1000)
    assert counted == count.sum() == (evidence.positions < 0).sum()
    assert abs(decoys.mean() / counted - 1) < 0.01
    assert 0.9 < decoys.std() / np.sqrt(counted) < 1.1


def test_decoys_score_no_more_ngrams_than(prf: Prf, profile: MarkProfile) -> None:
    """Decoys score no more ngrams than they are told to."""
    assert Evidence.of(prf, profile, _documents(40, 300)).decoys(10, most=300)[1] == 300


def test_where_document_scored_token_stands_told(prf: Prf) -> None:
    """Where in the document a scored token stands is told."""
    found, counts = ngrams(prf, Seen(1 << 12), _documents(2, 10))
    assert found.at.tolist() == [4, 5, 6, 7, 8, 9] * 2
    assert counts.tolist() == [6, 6]


def test_green_scores_ones_for_share_gamma() -> None:
    """Green scores are ones for the share gamma."""
    profile = MarkProfile("g", "green", "words-1", "e", gamma=0.25)
    drawn = values(profile, np.arange(20_000, dtype=np.uint64), np.zeros(20_000, np.uint32), np.arange(2))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert abs(drawn.mean() - 0.25) < 0.01


def test_full_filter_leaves_pairs_out_never() -> None:
    """A full filter leaves pairs out and never counts one twice."""
    seen = Seen(64)
    randomness = np.random.default_rng(1)
    seeds = randomness.integers(0, 1 << 63, 400).astype(np.uint64)
    tokens = np.zeros(400, np.uint32)
    assert 50 < sum(seen.fresh(seeds[at : at + 8], tokens[:8]).sum() for at in range(0, 400, 8)) < 400
    assert seen.fresh(seeds, tokens).sum() == 0


def test_equal_pairs_one_call_first_fresh() -> None:
    """Of equal pairs in one call the first is fresh."""
    seeds = np.array([5, 6, 5, 5], np.uint64)
    assert Seen(64).fresh(seeds, np.array([1, 1, 1, 2], np.uint32)).tolist() == [True, True, False, True]


def test_filter_another_size_refused() -> None:
    """A filter of another size is refused."""
    with pytest.raises(ValueError, match="power of two"):
        Seen(100)


def test_words_do_not_depend_case_or() -> None:
    """Words do not depend on case or compatibility forms and no text has none."""
    assert words("Ｔhe ﬁrst, the FIRST").tolist() == words("the first, The first").tolist()
    assert words(" \n").tolist() == []
    assert len(words("don't stop!")) == 5
