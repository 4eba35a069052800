"""The output contract: what the caller forces the answer to look like.

Whoever parses answers by program must ask for a form, and must keep asking for the same form even while the wording
changes. The form is found by its marks, not by words: tags asked for, JSON keys, headings, response format, tool schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from detectors.event import Event
from detectors.fingerprint.hashing import digest

# The look-behind stands after the bracket so that the scan can skip to brackets.
_TAG = re.compile(r"<(?<![\w<]<)(/?)([^\W\d][\w:.-]{0,31})>|\[(/?)([^\W\d][\w -]{0,23})\]")
_JSON_KEY = re.compile(r'"([^\W\d][\w -]{0,31})"\s{0,4}:')
_HEADING = re.compile(r"^(#{1,4} [^\n]{1,40}|\*\*[^*\n]{1,40}\*\*:?|[^\W\d_][\w ]{0,24}:)[ \t]*$", re.MULTILINE)
_ANSWER_TAG = re.compile(r"\s{0,8}[<\[]([^\W\d][\w:.-]{0,31})[>\]]")

# Mark-up that texts are full of without anyone asking the answer for it.
_HTML_NAMES = """
    a b i p u s br hr em li ol td th tr ul dd dl dt h1 h2 h3 h4 h5 h6 div img pre sub sup svg body code font form head html
    link meta nav span style small table tbody thead title input label button script section strong header footer
"""
_HTML = frozenset(_HTML_NAMES.split())

PLACEHOLDER_CHARS = 40
"""A pair of tags with no more than this between them is a form to fill; with more it wraps something the caller sends."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What is asked of the answer's form."""

    tags: tuple[str, ...]  # sorted, folded
    keys: tuple[str, ...]
    headings: tuple[str, ...]
    answer_tag: str  # tag the answer begins with, "" for none
    hash: int


def tags_asked(folded: str) -> set[str]:
    """Names of the tags that a folded text asks for: named alone, or as a pair around no more than a placeholder."""
    if "<" not in folded and "[" not in folded:
        return set()
    opened: dict[str, int] = {}
    asked: set[str] = set()
    wraps: set[str] = set()
    bracketed: set[str] = set()
    for found in _TAG.finditer(folded):
        angled = found[2] is not None
        name = found[2] if angled else found[4]
        closing = bool(found[1] if angled else found[3])
        if name in _HTML:
            continue
        if not angled:
            # "[note]" is ordinary; only a closed pair of square brackets is a form.
            bracketed.add(name)
        if not closing:
            opened[name] = found.end()
        elif name in opened:
            (asked if found.start() - opened.pop(name) <= PLACEHOLDER_CHARS else wraps).add(name)
        elif angled:
            asked.add(name)
    asked.update(name for name in opened if name not in bracketed)
    return asked - wraps


def output_contract(event: Event, system: str, instruction: str, answer: str) -> Contract:
    """Contract of an event.

    Args:
        event: for the fields that need no text.
        system: folded system prompt, as far as it is known.
        instruction: folded last user turn, as far as it is known; JSON keys and headings are looked for at its end only,
            because what stands earlier is more often what the caller sends than what it wants back.
        answer: folded head of the answer.
    """
    tags = tuple(sorted(tags_asked(system) | tags_asked(instruction)))[:8]
    end = instruction[-400:]
    keys = tuple(sorted({*_JSON_KEY.findall(system), *_JSON_KEY.findall(end)}))[:12] if '"' in system or '"' in end else ()
    headings = tuple(sorted({*_HEADING.findall(system), *_HEADING.findall(end)}))[:12]
    forms = "" if event.response_format in ("", "text") else event.response_format
    parts = (*tags, "", *keys, "", *headings, "", forms, str(event.response_schema_digest), str(event.tools_digest))
    found = _ANSWER_TAG.match(answer)
    empty = not (tags or keys or headings or forms or event.response_schema_digest or event.tools_digest)
    tag = found[1] if found is not None and found[1] not in _HTML else ""
    return Contract(tags, keys, headings, tag, 0 if empty else digest("\x1f".join(parts)))
