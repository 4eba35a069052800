"""Choosing among finished answers: the score is the search's own, and the choice favours no candidate but by the key."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from detectors.watermark.choice import Chooser, Score, beginning, best
from detectors.watermark.evidence import ngrams, values
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import WORDS, MarkProfile
from detectors.watermark.seen import Seen
from detectors.watermark.words import words

PROFILE = MarkProfile("c1", "choice", WORDS, "e1", context_width=3)
_LEXICON = [f"word{number}" for number in range(400)]


def text(seed: int, length: int) -> str:
    """Words by lot."""
    dice = random.Random(seed)
    return " ".join(dice.choice(_LEXICON) for _ in range(length))


def chooser(key: int, tenant: str = "k1") -> Chooser:
    """Of one tenant under one secret."""
    secret = MasterSecret(key.to_bytes(32, "big"))
    return Chooser(Prf(secret, PROFILE), issued(secret, tenant, PROFILE.positions, PROFILE.symbols))


def test_the_score_is_what_a_search_counts() -> None:
    """Every distinct n-gram once, under the tenant's symbol at its position or under the model's."""
    secret = MasterSecret((7).to_bytes(32, "big"))
    prf, word = Prf(secret, PROFILE), issued(secret, "k1", 128, 16)
    tokens = words(text(1, 120) + ". " + text(1, 60) + "! " + text(2, 30))
    found, _ = ngrams(prf, Seen(), [tokens])
    table = values(PROFILE, found.seeds, found.tokens, np.arange(17))
    symbols = [16 if at < 0 else int(word[at]) for at in found.positions]
    total = sum(table[row, symbol] for row, symbol in enumerate(symbols))
    score = chooser(7).score(tokens, 0.5)
    assert score.ngrams == len(symbols) < len(tokens) - 3
    assert score.excess == pytest.approx(total - len(symbols), abs=1e-9)
    assert score.log_tail == pytest.approx(stats.gamma(len(symbols)).logsf(total), rel=1e-9)
    assert score.standardised == pytest.approx(score.excess / math.sqrt(score.ngrams))


def test_case_and_form_of_letters_do_not_change_a_score() -> None:
    """A reader who folds them finds the same."""
    plain = "the river carries the ﬁne sand to the delta, and the delta grows"
    assert chooser(1).score(words(plain), 0.5) == chooser(1).score(words(plain.upper()), 0.5)
    assert chooser(1).score(words(plain), 0.5) == chooser(1).score(words(plain.replace("ﬁ", "fi")), 0.5)


def test_over_keys_every_candidate_is_chosen_alike() -> None:
    """However long it is, also where it has nothing to score: the choice leaves the distribution of answers as it was."""
    candidates = [words(text(seed, length)) for seed, length in ((1, 2), (2, 4), (3, 30), (4, 400))]
    dice = random.Random(5)
    rounds = 1200
    counts = [0] * 4
    for key in range(rounds):
        one = chooser(key)
        counts[best([one.score(tokens, 1 - dice.random()) for tokens in candidates])] += 1
    assert stats.chisquare(counts).pvalue > 1e-4, counts


def test_the_best_of_four_stands_a_standard_deviation_above() -> None:
    """1.03 of them for its own key, as the largest of four normal numbers; nothing for any other."""
    own, other, rounds = 0.0, 0.0, 150
    mine, foreign = chooser(9), chooser(10)
    for turn in range(rounds):
        candidates = [words(text(4 * turn + place, 150)) for place in range(4)]
        at = best([mine.score(tokens, 0.5) for tokens in candidates])
        own += mine.score(candidates[at], 0.5).standardised / rounds
        other += foreign.score(candidates[at], 0.5).standardised / rounds
    error = 4 / math.sqrt(rounds)
    assert abs(own - 1.03) < error
    assert abs(other) < error


def test_a_text_without_an_n_gram_takes_part_by_lot() -> None:
    """Its place among the others is the lot's."""
    assert chooser(1).score(words("three little words"), 0.25) == Score(math.log(0.25), 0.0, 0)
    assert chooser(1).score(words(""), 1.0) == Score(0.0, 0.0, 0)
    assert Score(0.0, 0.0, 0).standardised == 0.0


def test_the_first_of_equals_is_taken_and_none_is_an_error() -> None:
    """So that a choice among equal answers is always the same."""
    assert best([Score(-1.0, 2.0, 5)] * 3) == 0
    assert best([Score(-1.0, 2.0, 5), Score(-2.0, 3.0, 5)]) == 1
    with pytest.raises(ValueError, match=r"^scores: there is no candidate$"):
        best([])


def test_the_beginning_of_a_text_ends_before_a_word_that_may_go_on() -> None:
    """Half a word would be scored as another."""
    assert (beginning("one two three fo", 9) == words("one two three")).all()
    assert (beginning("one two three fo", 2) == words("one two")).all()
    assert len(beginning("one", 5)) == 0
