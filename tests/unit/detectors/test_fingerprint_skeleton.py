"""What stays constant from request to request: masks, ends, shingles, near-duplicates, content and language."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.event import Event
from detectors.fingerprint import FINGERPRINT_VERSION, Fingerprint, fingerprint
from detectors.fingerprint.minhash import low_bytes, similarity
from detectors.fingerprint.normalise import HEAD_CHARS, TAIL_CHARS, fold, pieces, tokens
from detectors.fingerprint.script import CLASSES

MakeEvent = Callable[..., Event]

TOPICS = [
    "the tides in the bay of Fundy and why they are so high in spring",
    "a bakery that wants to sell more rye bread to offices nearby",
    "how bees decide where a swarm should build its next nest",
    "the difference between a viola and a violin for a beginner",
    "packing for eleven days of walking through the Dolomites",
    "what a small town should ask before it buys an electric bus",
]
BEFORE = "You are given a subject below and must follow these rules without exception. Subject: {}."
AROUND = "Consider {} carefully. Then finish with a table of pros and cons, each with one source named."


def _grams(fp: Fingerprint) -> set[int]:
    return set(np.frombuffer(fp.grams, "<u4").tolist())


def _shared(fps: list[Fingerprint]) -> set[str]:
    """Which skeleton elements all of the fingerprints have in common."""
    out = {name for name in ("head", "tail") if len({getattr(fp, name) for fp in fps}) == 1}
    return out | ({"grams"} if set.intersection(*map(_grams, fps)) else set())


def test_the_same_text_gives_the_same_fingerprint(make_event: MakeEvent) -> None:
    """Identity, time and everything that is no text play no part in it."""
    a = make_event(TOPICS[0], system="Be brief.", answer="Because of resonance.")
    b = make_event(TOPICS[0], system="Be brief.", answer="Because of resonance.", key_id="other", at_us=1, model="x")
    assert fingerprint(a) == fingerprint(b)
    assert fingerprint(a).version == FINGERPRINT_VERSION


@pytest.mark.parametrize(
    ("template", "element"),
    [(BEFORE, "head"), (AROUND, "tail"), ("{} " + "Answer in Latin, verse only, please do.", "tail")],
)
def test_a_template_with_varied_slots_shares_elements(make_event: MakeEvent, template: str, element: str) -> None:
    """Whatever stands in the slot, the constant end is the same for every request."""
    fps = [fingerprint(make_event(template.format(topic))) for topic in TOPICS]
    assert element in _shared(fps)
    assert len({fp.content for fp in fps}) == len(TOPICS)


def test_a_constant_passage_in_the_middle_is_found_by_shingles(make_event: MakeEvent) -> None:
    """Where both ends vary, winnowing picks the same shingles of the passage between them."""
    passage = "think of every objection a sceptic could raise and answer each of them before you go on to the next one"
    fps = [
        fingerprint(make_event(f"{topic}: {passage} {other}")) for topic, other in zip(TOPICS, TOPICS[::-1], strict=True)
    ]
    pairs = [bool(_grams(a) & _grams(b)) for a, b in combinations(fps, 2)]
    assert sum(pairs) >= 0.9 * len(pairs)


def test_another_template_shares_nothing(make_event: MakeEvent) -> None:
    """Two unrelated templates have no head, tail or shingle in common."""
    for topic in TOPICS:
        a, b = fingerprint(make_event(BEFORE.format(topic))), fingerprint(make_event(AROUND.format(topic)))
        assert a.head != b.head
        assert a.tail != b.tail
        assert a.contract == b.contract == 0


def test_unrelated_texts_share_nothing(make_event: MakeEvent) -> None:
    """No element is so common that texts without a template would meet in it."""
    fps = [fingerprint(make_event(topic)) for topic in TOPICS]
    for a, b in combinations(fps, 2):
        assert {a.head, a.tail} & {b.head, b.tail} == set()
        assert not _grams(a) & _grams(b)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Convert 15 miles to km", "Convert 8,421 miles to km"),
        ("Due 2026-10-01 at 09:30, 12.50 euros", "Due 03/11/2027 at 18:05, 7 euros"),
        ('Summarise "the first report" now', 'Summarise "quite another text" now'),
        ("Read https://a.example/x?y=1 today", "Read http://b.example/z today"),
        ("Order AB12CD34EF in transit", "Order ZZ99XX88YY in transit"),
        ("What IS   this?\n", "what is this"),
        ("Ｗｉｄｅ ﬁgures", "wide figures"),
    ],
)
def test_slots_of_usual_kinds_are_masked(make_event: MakeEvent, one: str, other: str) -> None:
    """Numbers, quotes, links, identifiers, case, width and spacing do not make a text another one."""
    assert fingerprint(make_event(one)).content == fingerprint(make_event(other)).content


def test_words_are_not_masked(make_event: MakeEvent) -> None:
    """A different word makes a different content, in spaced and unspaced scripts."""
    for one, other in (("red house", "blue house"), ("红色的房子", "蓝色的房子")):
        assert fingerprint(make_event(one)).content != fingerprint(make_event(other)).content


def test_scripts_without_spaces_have_about_a_token_per_character() -> None:
    """So that the ends and the shingles of a Chinese template are not one single token."""
    assert tokens("请生成十个任务") == list("请生成十个任务")
    assert tokens("한국어 문장") == list("한국어문장")
    assert tokens("это текст 42") == ["это", "текст", "0"]


def test_the_system_prompt_is_known_by_its_masked_text_or_else_by_its_digest(make_event: MakeEvent) -> None:
    """Dates in it do not matter; where its text was not sent along, its exact digest stands for it."""
    first = fingerprint(make_event("x", system="Today is 2026-10-01. Be kind."))
    second = fingerprint(make_event("x", system="Today is 2026-11-25. Be kind."))
    assert first.system == second.system != 0
    assert fingerprint(make_event("x", system_digest=77)).system == 77


def test_near_duplicates_are_similar_and_unrelated_texts_are_not(make_event: MakeEvent) -> None:
    """A text with one word changed is far above 0.3, an unrelated one far below; the standard error is 0.125."""
    long = " ".join(TOPICS)
    base = fingerprint(make_event(long)).minhash
    assert similarity(base, fingerprint(make_event(long.replace("rye", "oat"))).minhash) >= 0.6
    assert similarity(base, fingerprint(make_event(" ".join(reversed(long.split())))).minhash) <= 0.3
    assert similarity(base, base) == 1.0
    assert similarity(base, b"") == 0.0
    assert len(low_bytes(base)) == 16


def test_minhash_estimates_jaccard_within_its_standard_error(make_event: MakeEvent) -> None:
    """Over many pairs of texts with a known overlap of shingles the mean error is near zero and its spread as stated."""
    errors = []
    for seed in range(150):
        words = [f"w{chr(97 + seed % 26)}{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(60)]
        kept = 10 + seed % 45
        other = words[:kept] + [f"x{word}" for word in words[kept:]]
        exact = (kept - 2) / (2 * 58 - (kept - 2))
        pair = [fingerprint(make_event(" ".join(text))).minhash for text in (words, other)]
        errors.append(similarity(*pair) - exact)
    assert abs(np.mean(errors)) < 0.03
    assert np.std(errors) < 0.125


def test_long_texts_are_read_at_both_ends_without_overlap() -> None:
    """Head and tail of a text never repeat a character, and a short text is one piece however it was sent."""
    text = "".join(chr(0x4E00 + n) for n in range(3_000))
    assert pieces(text[:HEAD_CHARS], text[-TAIL_CHARS:], len(text)) == (text[:HEAD_CHARS], text[-TAIL_CHARS:])
    for size in (10, 600, HEAD_CHARS, HEAD_CHARS + 100, HEAD_CHARS + TAIL_CHARS):
        short = text[:size]
        assert pieces(short[:HEAD_CHARS], short[-TAIL_CHARS:], size) == (short, "")


def test_the_ends_are_the_same_however_much_the_gateway_sends(make_event: MakeEvent) -> None:
    """A gateway configured to send more of a text gives the same fingerprint."""
    text = " ".join(TOPICS) * 8
    usual = make_event(text)
    more = make_event(text, user_head=text[:4096], user_tail=text[-4096:])
    assert fingerprint(usual) == fingerprint(more)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is the best way to the station and how long is it?", "english"),
        ("Wie komme ich zum Bahnhof und ist der Weg für mich nicht zu lang?", "german"),
        ("Quelle est la route pour la gare et avec qui y allez-vous ?", "french"),
        ("¿Cuál es el camino para la estación y por qué?", "spanish"),
        ("Qual é o caminho para a estação e você não vai?", "portuguese"),
        ("Qual è la strada per la stazione e che cosa sono gli orari?", "italian"),
        ("Wat is de weg naar het station en hoe lang is het?", "dutch"),
        ("Где находится вокзал?", "cyrillic"),
        ("أين المحطة؟", "arabic"),
        ("स्टेशन कहाँ है?", "indic"),
        ("火车站在哪里?", "chinese"),
        ("駅はどこですか?", "japanese"),
        ("역이 어디에 있나요?", "korean"),
        ("🙂🙂🙂", "other"),
        ("", "none"),
    ],
)
def test_the_language_class_of_a_sentence(make_event: MakeEvent, text: str, name: str) -> None:
    """Script by code points, Latin languages by function words."""
    assert CLASSES[fingerprint(make_event(text)).language] == name


def test_a_fingerprint_is_small_and_holds_no_text(make_event: MakeEvent) -> None:
    """Under 480 bytes, and no word of the prompt or answer among them."""
    fields: dict[str, Any] = {"system": "SECRETSYSTEM words", "answer": "<tag>SECRETANSWER"}
    data = msgspec.msgpack.encode(fingerprint(make_event("SECRETPROMPT " + " ".join(TOPICS), **fields)))
    assert len(data) <= 480
    for word in (b"SECRETSYSTEM", b"SECRETANSWER", b"SECRETPROMPT", b"tag", b"secret"):
        assert word not in data


def test_folding_unifies_forms_and_drops_lone_surrogates() -> None:
    """Case, width and compatibility forms; a surrogate half is no character."""
    assert fold("ＡＢＣ ß ﬁ\ud800") == "abc ss fi"
