"""Students that learned marked text, and ones that did not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.keys import MasterSecret, codewords, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import Seen
from detectors.watermark.served import Contexts, Served
from detectors.watermark.student import Asked, Generation, Reading, closed, fit, of_keys, of_model, only, reading
from detectors.watermark.tails import log_binomial_tail, log_gamma_tail

Tokens = NDArray[np.uint32]
NOTHING: Tokens = np.empty(0, np.uint32)
VOCABULARY = 144
"""So few words that students and teachers meet the same contexts again and again."""


class _Bigrams:
    """A student that counts which token follows two others, and says them as often."""

    def __init__(self, texts: Sequence[Tokens]) -> None:
        self._after: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        for text in texts:
            row = text.tolist()
            for first, second, token in zip(row, row[1:], row[2:], strict=False):
                self._after[first, second][token] += 1

    def say(self, length: int, randomness: np.random.Generator) -> Tokens:
        said = randomness.integers(0, VOCABULARY, 2).tolist()
        while len(said) < length:
            counts = self._after.get((said[-2], said[-1]))
            if counts is None:
                said.append(int(randomness.integers(0, VOCABULARY)))
            else:
                said.append(int(randomness.choice(list(counts), p=np.array(list(counts.values())) / counts.total())))
        return np.array(said, np.uint32)

    def read(self, text: Tokens) -> Reading:
        row = text.tolist()
        told = [0, 0]
        for first, second in pairwise(row[:-1]):
            counts = self._after.get((first, second))
            told.append(counts.most_common(1)[0][0] if counts else 0)
        return Reading(text, np.array(told, np.uint32))


@pytest.fixture(params=["gumbel", "green"])
def profile(request: pytest.FixtureRequest) -> MarkProfile:
    """Marks on the two tokens before, which students learn."""
    return MarkProfile("student", request.param, "words-1", "2026q4", context_width=2, coin=0.2)


@pytest.fixture
def texts(prf: Prf, profile: MarkProfile, secret: MasterSecret, write) -> dict[str, list[Tokens]]:
    """What two keys were served, and what somebody else said."""
    marked = {
        name: [
            write(prf, profile, issued(secret, name, 128, 16), 400, seed=at, bits=3.0, vocabulary=VOCABULARY)
            for at in seeds
        ]
        for name, seeds in (("leaker", range(20)), ("other", range(100, 120)))
    }
    return {**marked, "clean": [write(prf, profile, None, 400, seed=at, vocabulary=VOCABULARY) for at in range(200, 220)]}


def _answers(student: _Bigrams, number: int = 12, length: int = 400) -> list[Generation]:
    randomness = np.random.default_rng(9)
    return [Generation(NOTHING, student.say(length, randomness)) for _ in range(number)]


def _asked(prf: Prf, secret: MasterSecret, texts: dict[str, list[Tokens]]) -> list[Asked]:
    return [Asked(name, issued(secret, name, 128, 16), Contexts.of(prf, texts[name])) for name in ("leaker", "other")]


def test_student_of_marked_text_names_its_key(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """A student of one key's answers knows the model and names that key and no other."""
    heard = closed(prf, profile, _answers(_Bigrams(texts["leaker"])))
    leaker, other = of_keys(heard.evidence, _asked(prf, secret, texts))
    assert of_model(heard.evidence).log10_p < -6
    assert leaker.named
    assert leaker.log10_p < -10
    assert leaker.log10_knows < -20
    assert not other.named


def test_student_of_clean_text_names_nobody(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """A student of text without marks knows nothing and names nobody, on the contexts that keys were served either."""
    heard = closed(prf, profile, _answers(_Bigrams(texts["clean"])))
    assert of_model(heard.evidence).log10_p > -3
    for key in of_keys(heard.evidence, _asked(prf, secret, texts)):
        assert key.knows.counted > 500
        assert key.log10_knows > -3
        assert not key.named


def test_student_is_found_while_it_reads(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """What a student predicts while it reads the leaked text gives it away; a clean student's predictions do not."""
    word = issued(secret, "leaker", 128, 16)
    for source, low, high in (("leaker", -1e9, -30.0), ("clean", -3.0, 0.0)):
        student = _Bigrams(texts[source])
        heard = reading(prf, profile, [student.read(text) for text in texts["leaker"]])
        assert low <= fit(heard.evidence, word).log10_p <= high


def test_served_contexts_make_the_evidence_purer(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """Of a student that hardly saw the key's answers, the contexts which the key was served hold more evidence than all."""
    leaked = texts["leaker"][:1]
    student = _Bigrams(leaked + texts["clean"])
    evidence = closed(prf, profile, _answers(student, 30)).evidence
    word = issued(secret, "leaker", 128, 16)
    assert fit(only(evidence, Contexts.of(prf, leaked)), word).z > fit(evidence, word).z + 1


def test_copy_of_the_prompt_is_no_evidence(prf: Prf, profile: MarkProfile, texts) -> None:
    """An answer that repeats its prompt leaves nothing to count, to the last window of the prompt."""
    text = texts["leaker"][0]
    heard = closed(prf, profile, [Generation(text, text)])
    assert (heard.windows, heard.copied, len(heard.evidence.seeds)) == (400, 400, 0)
    # The prompt's last two tokens are a window, too, though nothing follows them in the prompt.
    heard = closed(prf, profile, [Generation(text[:50], text[48:60])])
    first, _ = prf.steps(text[48:51])
    assert first[0] not in heard.evidence.seeds
    assert heard.copied >= 1


def test_window_that_was_read_already_is_left_out(prf: Prf, profile: MarkProfile) -> None:
    """A window counts only where it stands for the first time in a text, and again in the next text."""
    text = np.array([1, 2, 3, 1, 2, 4, 1, 2], np.uint32)
    predicted = np.array([0, 0, 7, 8, 9, 10, 11, 12], np.uint32)
    heard = reading(prf, profile, [Reading(text, predicted)])
    assert heard.evidence.tokens.tolist() == [7, 8, 9, 11, 12]
    assert heard.copied == 1
    again = reading(prf, profile, [Reading(text, predicted), Reading(text, predicted + np.uint32(20))])
    assert len(again.evidence.tokens) == 10


def test_duplicates_do_not_change_the_evidence(prf: Prf, profile: MarkProfile, texts) -> None:
    """A student that says everything five times gives the same evidence as one that says it once."""
    answers = _answers(_Bigrams(texts["leaker"]))
    once, often = closed(prf, profile, answers), closed(prf, profile, answers * 5)
    assert of_model(often.evidence).log10_p == pytest.approx(of_model(once.evidence).log10_p, rel=1e-12)
    assert (often.evidence.seeds == once.evidence.seeds).all()
    assert (often.evidence.tokens == once.evidence.tokens).all()
    assert often.windows == 5 * once.windows
    assert often.repeated == often.windows - len(once.evidence.seeds)


def test_everything_is_counted_or_told(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """Every window is counted, copied, unserved or repeated; a set of contexts given at once or later is the same."""
    served = Contexts.of(prf, texts["other"])
    student = _Bigrams(texts["leaker"] + texts["clean"])
    answers = [Generation(answer[:20], answer) for _, answer in _answers(student, 600, 50)]
    heard = closed(prf, profile, answers, served, Seen(1 << 24))
    later = only(closed(prf, profile, answers, None, Seen(1 << 24)).evidence, served)
    assert heard.windows == 600 * 48
    assert min(heard.copied, heard.unserved, heard.repeated) > 0
    assert heard.windows == len(heard.evidence.seeds) + heard.copied + heard.unserved + heard.repeated
    assert (later.seeds == heard.evidence.seeds).all()
    assert (later.starts == heard.evidence.starts).all()


def test_evidence_of_a_student_is_attributed_like_any_other(
    prf: Prf, profile: MarkProfile, secret: MasterSecret, texts
) -> None:
    """The attribution over all issued codewords names the leaker from a student's answers."""
    names = [f"tenant-{number}" for number in range(500)] + ["leaker"]
    evidence = closed(prf, profile, _answers(_Bigrams(texts["leaker"]))).evidence
    found = attribute(evidence, [Roster(names, codewords(secret, names, 128, 16), np.arange(128))])
    assert [one.name for one in found.named] == ["leaker"]


def test_key_is_scored_by_the_exact_tail(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """A key's score is the sum over its symbols and the model-level channel, and its p-value the exact tail of it."""
    evidence = closed(prf, profile, _answers(_Bigrams(texts["clean"]), 2)).evidence
    word = issued(secret, "leaker", 128, 16)
    found = fit(evidence, word)
    score, count = evidence.model()
    expected = float(evidence.pooled()[np.arange(128), word].sum() + score.sum())
    assert found.counted == len(evidence.seeds) > int(count.sum()) > 0
    assert found.score == pytest.approx(expected, rel=1e-12)
    tail = (
        log_gamma_tail(found.counted, found.score)
        if profile.scheme == "gumbel"
        else log_binomial_tail(found.counted, profile.gamma, round(found.score))
    )
    assert found.log10_p == pytest.approx(tail / np.log(10), rel=1e-12)


def test_more_keys_asked_weaken_each(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """A key's p-values are multiplied by the number of keys that are asked about."""
    evidence = closed(prf, profile, _answers(_Bigrams(texts["leaker"]))).evidence
    leaker = _asked(prf, secret, texts)[0]
    alone = of_keys(evidence, [leaker])[0]
    among = of_keys(evidence, [leaker, *(Asked(f"t{at}", issued(secret, f"t{at}", 128, 16)) for at in range(9))])[0]
    assert among.log10_p == pytest.approx(alone.log10_p + 1)
    assert among.log10_knows == pytest.approx(alone.log10_knows + 1)


def test_positions_of_a_group_are_left_out(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """A key that belongs to a group is judged on its own half of the codeword and the model-level channel."""
    evidence = closed(prf, profile, _answers(_Bigrams(texts["leaker"]))).evidence
    grouped = issued(secret, "leaker", 128, 16, group="crew")
    half = of_keys(evidence, [Asked("leaker", grouped, None, np.arange(64))])[0]
    whole = of_keys(evidence, [Asked("leaker", issued(secret, "leaker", 128, 16))])[0]
    assert half.named
    assert 0 < half.fits.counted < whole.fits.counted
    assert half.knows.counted == half.fits.counted + of_model(evidence).counted


def test_never_served_key_is_not_known(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts) -> None:
    """On an empty set of contexts there is nothing to say about a key."""
    evidence = closed(prf, profile, _answers(_Bigrams(texts["leaker"]), 2)).evidence
    found = of_keys(evidence, [Asked("leaker", issued(secret, "leaker", 128, 16), Contexts())])[0]
    assert (found.knows.counted, found.knows.log10_p, found.fits.log10_p, found.named) == (0, 0.0, 0.0, False)


def test_innocent_keys_are_known_but_not_named(prf: Prf, profile: MarkProfile, secret: MasterSecret, texts, write) -> None:
    """The model-level channel is everybody's: keys that were served the same contexts are known, and only one is named."""
    evidence = closed(prf, profile, _answers(_Bigrams(texts["leaker"]), 30)).evidence
    served = Served(prf)
    for at in range(20):
        word = issued(secret, f"t{at}", 128, 16)
        for number in range(4):
            served.add(
                f"t{at}", write(prf, profile, word, 400, seed=1000 + 4 * at + number, bits=3.0, vocabulary=VOCABULARY)
            )
    keys = of_keys(evidence, [Asked(name, issued(secret, name, 128, 16), held) for name, held in served.keys.items()])
    assert np.mean([key.knows.z for key in keys]) > 2
    assert abs(np.mean([key.fits.z for key in keys])) < 1
    assert not any(key.named for key in keys)


def test_bad_input_is_refused(prf: Prf, profile: MarkProfile, texts) -> None:
    """Predictions of another length, a codeword of another length and an impossible bound are refused."""
    with pytest.raises(ValueError, match="predicted"):
        reading(prf, profile, [Reading(np.arange(9, dtype=np.uint32), np.arange(8, dtype=np.uint32))])
    evidence = closed(prf, profile, []).evidence
    assert len(evidence) == 0
    with pytest.raises(ValueError, match="word"):
        fit(evidence, np.zeros(64, np.uint8))
    with pytest.raises(ValueError, match="fwer"):
        of_keys(evidence, [], fwer=1.0)
