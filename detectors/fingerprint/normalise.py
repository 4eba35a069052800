"""Text → masked tokens: what a template keeps when its slots change.

Case, width and spacing are folded; numbers, quoted spans, links and long identifiers become placeholders. Scripts written
without spaces are split into characters, so that a token carries about as much in every language.
"""

from __future__ import annotations

import re
import unicodedata

HEAD_CHARS = 1024
TAIL_CHARS = 512
"""Bounds on the text read per field, whatever the gateway was configured to send: they make fingerprints comparable."""

_QUOTED = r'"[^"\n]{1,200}"|“[^”\n]{1,200}”|«[^»\n]{1,200}»|「[^」\n]{1,200}」|`[^`\n]{1,200}`'
_MASKED = re.compile(_QUOTED)
_MASKED_OR_LINK = re.compile(rf"https?://\S{{1,300}}|{_QUOTED}")
# A token is a tag, a number with its separators (8,421.50 · 2026-10-01 · 12:30), or a word. One expression for all three
# tries each at every character. Five times as fast: take tags out, then replace numbers; what is left are words. The
# look-behind stands after the digit so that the scan can skip to digits.
_ASCII_TAG = re.compile(r"(</?[a-z_][a-z0-9_:-]{0,31}>)")
_ASCII_NUMBER = re.compile(r"[0-9](?<![a-z0-9_][0-9])[0-9]*(?:[.,:/-][0-9]+)+")
_ASCII_WORDS = {
    code: " " for code in range(128) if not (chr(code) in "_" or chr(code).isdigit() or "a" <= chr(code) <= "z")
}
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_FOREIGN_WORD = re.compile(r"[^\W\x00-\x7f]")
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TAG = re.compile(r"(</?[^\W\d][\w:-]{0,31}>)")
_NUMBER = re.compile(rf"\d(?<![{UNSPACED}])(?<![^\W{UNSPACED}]\d)\d*(?:[.,:/-]\d+)+")
_WORD = re.compile(r"\w+")
_RUN = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}]+")
_UNSPACED = re.compile(rf"[{UNSPACED}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def fold(text: str) -> str:
    """Lower case, compatibility forms unified, lone surrogates removed."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", _SURROGATE.sub("", text)).casefold()


def pieces(head: str, tail: str, chars: int) -> tuple[str, str]:
    """Head and tail of a text of `chars` characters → (text, rest) without overlap; rest is "" when nothing is missing.

    A gateway may send the tail of a short text again; the overlap is cut so that no token is seen twice.
    """
    head_part = head[:HEAD_CHARS]
    tail_part = tail[-TAIL_CHARS:] if tail else ""
    if not tail_part:
        # A head longer than our bound is still a text with an end.
        return (head_part, head[HEAD_CHARS:][-TAIL_CHARS:]) if len(head) > HEAD_CHARS else (head_part, "")
    overlap = len(head_part) + len(tail_part) - chars
    if overlap < 0:
        return head_part, tail_part
    return head_part + tail_part[overlap:], ""


def _mask(token: str) -> str:
    if token.isdigit() or (token[0].isdigit() and not token.isalnum() and "_" not in token):
        return "0"
    if len(token) >= 24 or (len(token) >= 6 and any(map(str.isdigit, token))):
        return "#"
    return token


def tokens(folded: str) -> list[str]:
    """Masked tokens of a folded text, in order."""
    masked = folded
    if "://" in folded:
        masked = _MASKED_OR_LINK.sub(" % ", folded)
    elif '"' in folded or "`" in folded or not folded.isascii():
        masked = _MASKED.sub(" % ", folded)
    if not masked.isascii():
        masked = _plain(masked)
    plain = masked.isascii()
    words = _ascii_words if plain else _words
    if "<" not in masked:
        found = words(masked)
    else:
        found = []
        for at, part in enumerate((_ASCII_TAG if plain else _TAG).split(masked)):  # text and tags in turn
            if at % 2:
                found.append(part)
            else:
                found += words(part)
    return [token if len(token) < 24 and token.isalpha() else _mask(token) for token in found]


def _plain(masked: str) -> str:
    """The text with its signs as spaces when no letter or digit of it is beyond ASCII, else the text as it is."""
    return masked if _FOREIGN_WORD.search(masked) else _FOREIGN.sub(" ", masked)


def _ascii_words(text: str) -> list[str]:
    return _ASCII_NUMBER.sub(" 0 ", text).translate(_ASCII_WORDS).split()


def _words(text: str) -> list[str]:
    text = _NUMBER.sub(" 0 ", text)
    if _UNSPACED.search(text) is None:
        return _WORD.findall(text)
    found: list[str] = []
    for run in _RUN.findall(text):
        if _UNSPACED.match(run):
            found.extend(run)
        else:
            found.append(run)
    return found
