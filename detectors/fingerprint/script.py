"""Which script and language a text is in: one of 16 classes, by code points first and function words second.

It serves to see many languages behind one key, not to know the language of one text: a wrong class costs nothing as
long as it is stable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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
_KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile("[\u3400-\u9fff]")
_HANGUL = re.compile("[\uac00-\ud7af]")
_CYRILLIC = re.compile("[\u0400-\u052f]")
_ARABIC = re.compile("[\u0600-\u06ff]")
_INDIC = re.compile("[\u0900-\u0dff]")
_LATIN = re.compile("[a-z\u00df-\u024f]")


def language(folded: str, words: Iterable[str]) -> int:
    """Class of a folded text, given its tokens: index into CLASSES."""
    if not folded:
        return 0
    if not folded.isascii():
        counts = {
            "japanese": len(_KANA.findall(folded)) * 3,  # kana beside Han is Japanese, and is the minority of characters
            "chinese": len(_HAN.findall(folded)),
            "korean": len(_HANGUL.findall(folded)),
            "cyrillic": len(_CYRILLIC.findall(folded)),
            "arabic": len(_ARABIC.findall(folded)),
            "indic": len(_INDIC.findall(folded)),
        }
        best = max(counts, key=counts.__getitem__)
        # One Han character says about as much as three letters.
        latin = len(_LATIN.findall(folded)) / (3 if best in ("japanese", "chinese", "korean") else 1)
        if counts[best] > latin:
            return INDEX[best]
        if not latin:
            return INDEX["other"]
    seen = set(words)
    best, most = "latin_other", 0
    for name, listed in _WORDS.items():
        hits = len(listed & seen)
        if hits > most:
            best, most = name, hits
    return INDEX[best]
