"""Which script and language a text is in: one of 16 classes, by code points first and function words second.

It serves to see many languages behind one key, not to know the language of one text: a wrong class costs nothing as
long as it is stable.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CLASSES = (
    "none", "english", "german", "french", "spanish", "portuguese", "italian", "dutch", "latin_other",
    "cyrillic", "arabic", "indic", "chinese", "japanese", "korean", "other",
)  # fmt: skip
INDEX = {name: number for number, name in enumerate(CLASSES)}

# Frequent function words that the other listed languages do not share.
_WORDS = {
    "english": frozenset(["the", "and", "of", "to", "is", "that", "with", "for", "this", "what", "you", "are"]),
    "german": frozenset(["der", "das", "und", "nicht", "ist", "ein", "mit", "für", "auf", "eine", "ich", "wie"]),
    "french": frozenset(["le", "les", "et", "des", "est", "une", "pour", "dans", "que", "vous", "avec", "du"]),
    "spanish": frozenset(["el", "los", "y", "en", "una", "es", "por", "para", "las", "qué", "con", "cómo"]),
    "portuguese": frozenset(["o", "os", "e", "um", "uma", "não", "é", "do", "da", "em", "para", "você"]),
    "italian": frozenset(["il", "di", "e", "un", "è", "che", "per", "non", "della", "gli", "sono", "una"]),
    "dutch": frozenset(["het", "een", "en", "van", "niet", "dat", "op", "zijn", "voor", "met", "ik", "je"]),
}
_FUNCTION_WORDS = frozenset().union(*_WORDS.values())
# Ranges of code points, first and last.
_LATIN = ((0x61, 0x7A), (0xDF, 0x24F))
_SCRIPTS = {
    "japanese": (0x3040, 0x30FF),  # kana; Han is Chinese unless kana are beside it
    "chinese": (0x3400, 0x9FFF),
    "korean": (0xAC00, 0xD7AF),
    "cyrillic": (0x0400, 0x052F),
    "arabic": (0x0600, 0x06FF),
    "indic": (0x0900, 0x0DFF),
}
_RANGES = sorted((*_LATIN, *_SCRIPTS.values()))
_BORDERS = np.array([border for first, last in _RANGES for border in (first, last + 1)], np.uint32)


def language(folded: str, words: Iterable[str]) -> int:
    """Class of a folded text, given its tokens: index into CLASSES."""
    if not folded:
        return 0
    if not folded.isascii():
        in_range = _in_ranges(folded)
        counts = {name: in_range[place] for name, place in _SCRIPTS.items()}
        counts["japanese"] *= 3  # kana beside Han is Japanese, and is the minority of characters
        best = max(counts, key=counts.__getitem__)
        # One Han character says about as much as three letters.
        latin = sum(in_range[place] for place in _LATIN) / (3 if best in ("japanese", "chinese", "korean") else 1)
        if counts[best] > latin:
            return INDEX[best]
        if not latin:
            return INDEX["other"]
    seen = _FUNCTION_WORDS.intersection(words)
    best, most = "latin_other", 0
    for name, listed in _WORDS.items():
        hits = len(listed & seen)
        if hits > most:
            best, most = name, hits
    return INDEX[best]


def _in_ranges(text: str) -> dict[tuple[int, int], int]:
    """How many characters of a text lie in each of _RANGES."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    between = np.bincount(np.searchsorted(_BORDERS, codes, "right"), minlength=len(_BORDERS) + 1)
    return dict(zip(_RANGES, between[1::2].tolist(), strict=True))
