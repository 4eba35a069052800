"""What the fingerprint does the quick way gives what the plain way gives, for any text."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fingerprint import capability, cues, intents, normalise
from detectors.fingerprint.echo import sample
from detectors.fingerprint.hashing import NEAR_TOKENS, SPAN_TOKENS, mix, shingles
from detectors.fingerprint.script import CLASSES, language
from detectors.fingerprint.skeleton import GRAMS_PER_END, REACH_TOKENS, WINDOW, grams

PIECES = (
    "the", "def", "class ", "важно", "шаг за шагом", "请一步", "ไทย", "ความ", "데이터", "é", "ß", "ñandú", "12", "3.5",
    "1,2_3", "a1.5", "1.5a2.5", "٣٫٤", "๑๒", "<tag>", "</tag>", "<été>", "<a1:2>", "<", ">", '"quoted words"', "“so”",
    "`x`", "https://a.b/c", "://", "_", "__", "²", "½", "#", "$5", "€ 7", "= 3", "=>", "==>", "->", "!=", "f(x)", "x(",
    "{", "}", ";", "```", "√", "\\frac", "(", ":", " ", "  ", "\n", "\n\n", "\t", ".", ",", "-", "/", "1. a\n",
    "Answer: b\n", "step by step", "x" * 25, "z9" * 4,
)  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=40).map("".join).map(normalise.fold)
hashes = st.lists(st.integers(0, 12), max_size=200).map(lambda values: mix(np.array(values, np.uint64)))

_UNSPACED = normalise.UNSPACED
_MASKED = re.compile(rf"https?://\S{{1,300}}|{normalise._MASKED.pattern}")
_TOKEN = re.compile(rf"</?[^\W\d][\w:-]{{0,31}}>|[{_UNSPACED}]|\d+(?:[.,:/-]\d+)+|[^\W{_UNSPACED}]+")
_KEYWORDS = "def|class|import|return|function|const|var|public|static|void|select|#include"
_CODE = re.compile(rf"```|[;{{}}]\s*(?:\n|$)|\b(?:{_KEYWORDS})\b[^.\n]{{0,60}}[({{:;=<]|=>|->|==|!=|\w\(\w*\)")
_MATHS = re.compile(r"\d+(?:[.,]\d+)?\s?(?:[-+*/×÷=^%<>≤≥]|\\times|\\frac)|[=√∑∫π]|\\[a-z]{3,}|[$€£¥]\s?\d|\b\d+\b")


@given(texts)
@settings(max_examples=300)
def test_tokens_are_those_of_one_expression(text: str) -> None:
    """Taking tags and numbers out first finds the tokens that one expression with all three finds."""
    assert normalise.tokens(text) == [normalise._mask(token) for token in _TOKEN.findall(_MASKED.sub(" % ", text))]


@given(texts)
@settings(max_examples=200)
def test_marks_are_counted_as_by_one_expression(text: str) -> None:
    """Marks of code and of mathematics are as many as those of the expressions that try every character."""
    assert len(capability._CODE.findall(text)) == len(_CODE.findall(text))
    assert [found[0] for found in capability._MATHS.finditer(text)] == _MATHS.findall(text)
    if text.isascii():
        assert [found[0] for found in capability._ASCII_MATHS.finditer(text)] == _MATHS.findall(text)


@given(texts)
def test_cues_and_line_starts_are_found(text: str) -> None:
    """A cue is found where it stands, in any script, and what stands at the starts of lines as a scan would find it."""
    for listed in (cues.REASONING, cues.MAKING, cues.GRADING):
        assert cues.any_in(text, listed) == any(cue in text for cue in listed.every)
    for pattern in (intents._NUMBERED, intents._SPEAKER, intents._LABEL):
        assert list(intents._at_line_starts(pattern, text)) == pattern.findall(text)


@given(texts)
def test_script_is_the_one_with_most_characters(text: str) -> None:
    """A text in which no letter of another script stands is of its own script's class."""
    cyrillic = "".join(char for char in text if "\u0400" <= char <= "\u052f")
    assert not cyrillic or CLASSES[language(cyrillic, ())] == "cyrillic"


@given(hashes)
def test_shingles_are_polynomials_of_their_tokens(values: np.ndarray) -> None:
    """Both widths made in one go are those made token by token."""
    step = 0x9E3779B97F4A7C15
    for width, made in zip((NEAR_TOKENS, SPAN_TOKENS), shingles(values), strict=True):
        plain = []
        for at in range(len(values) - width + 1):
            total = 0
            for value in values[at : at + width].tolist():
                total = (total * step + value) % 2**64
            plain.append(total)
        assert made.tolist() == mix(np.array(plain, np.uint64)).tolist()


@given(hashes, st.integers(1, 24))
def test_samples_are_the_smallest(values: np.ndarray, size: int) -> None:
    """An echo sample is the smallest different shingles; skeleton grams are the smallest of both ends' window minima."""
    assert np.frombuffer(sample(values, size), "<u4").tolist() == sorted({one >> 32 for one in values.tolist()})[:size]
    reach = REACH_TOKENS - SPAN_TOKENS + 1
    chosen = set()
    for end in (values[:reach].tolist(), values[-reach:].tolist()):
        windows = [min(end[at : at + WINDOW]) for at in range(max(0, len(end) - WINDOW + 1))] if len(end) > WINDOW else end
        chosen |= {one >> 32 for one in sorted(set(windows))[:GRAMS_PER_END]}
    kept = np.frombuffer(grams(values), "<u4").tolist()
    assert kept == sorted(chosen)
    assert all(one < other for one, other in pairwise(kept))
