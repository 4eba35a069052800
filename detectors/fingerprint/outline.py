"""The first and the last words of a text as they stand: what templates are induced from, see `sketch.templates`.

Nothing is masked here: which words are a slot is decided by what varies among an entity's requests, not by a list.
"""

from __future__ import annotations

import re
import struct

import xxhash

from detectors.fingerprint.normalise import UNSPACED

FIRST_WORDS, LAST_WORDS = 48, 24

_FIRST_CHARS, _LAST_CHARS = 512, 256
_NEAR_CHARS = 80
"""Of each end: enough in scripts without spaces, of which a longer piece would be split in vain."""

_ASCII_SIGNS = {code: " " for code in range(128) if not chr(code).isalnum()}
_ANY_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


def outline(text: str, rest: str) -> bytes:
    """Hashes of the first and the last words of a folded text in two pieces, 16 bits each, little-endian.

    What lies between is left out; a short text is there once.
    """
    kept = _near(text, rest) or _far(text, rest)
    hashed = xxhash.xxh3_64_intdigest
    return struct.pack(f"<{len(kept)}H", *[hashed(word.encode()) & 0xFFFF for word in kept])


def _near(text: str, rest: str) -> list[str]:
    """What `_far` finds, when little of the text tells it already; else nothing."""
    if text.isascii() or (not rest and len(text) < 2 * _NEAR_CHARS):
        return []
    # The last word of a beginning and the first one of an end may be half a word.
    first, last = _words(text[:_NEAR_CHARS])[:-1], _words((rest or text[_FIRST_CHARS:] or text)[-_NEAR_CHARS:])[1:]
    return first[:FIRST_WORDS] + last[-LAST_WORDS:] if len(first) >= FIRST_WORDS and len(last) >= LAST_WORDS else []


def _far(text: str, rest: str) -> list[str]:
    kept = _words(text[:_FIRST_CHARS])
    if rest or len(text) > _FIRST_CHARS:
        # The pieces are cut anywhere: what may be half a word is left out.
        last = _words(rest[-_LAST_CHARS:] if rest else text[_FIRST_CHARS:][-_LAST_CHARS:])[1:]
        return kept[: min(FIRST_WORDS, len(kept) - 1)] + last[-LAST_WORDS:]
    return kept if len(kept) <= FIRST_WORDS + LAST_WORDS else kept[:FIRST_WORDS] + kept[-LAST_WORDS:]


def _words(folded: str) -> list[str]:
    """Words and numbers in order; signs and the brackets of tags are left out."""
    return folded.translate(_ASCII_SIGNS).split() if folded.isascii() else _ANY_WORD.findall(folded)
