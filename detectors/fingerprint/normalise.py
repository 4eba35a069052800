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

_MASKED = re.compile(
    r'https?://\S{1,300}|"[^"\n]{1,200}"|“[^”\n]{1,200}”|«[^»\n]{1,200}»|「[^」\n]{1,200}」|`[^`\n]{1,200}`'
)
# A tag, a number with its separators (8,421.50 · 2026-10-01 · 12:30), or a word.
_ASCII_TOKEN = re.compile(r"</?[a-z_][a-z0-9_:-]{0,31}>|\d+(?:[.,:/-]\d+)+|[a-z0-9_]+", re.ASCII)
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_ANY_TOKEN = re.compile(rf"</?[^\W\d][\w:-]{{0,31}}>|[{_UNSPACED}]|\d+(?:[.,:/-]\d+)+|[^\W{_UNSPACED}]+")
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
    masked = _MASKED.sub(" % ", folded)
    found = (_ASCII_TOKEN if masked.isascii() else _ANY_TOKEN).findall(masked)
    return [token if len(token) < 24 and token.isalpha() else _mask(token) for token in found]
