"""Which ability of the model an exchange draws on, by its shape and by marks that no language owns.

Harvests concentrate where answers are worth most: agents, code, mathematics, grading (the disclosed campaigns of 2026).
Honest specialists do too, so a class is a feature among peers and no sign by itself.
"""

from __future__ import annotations

import re
from itertools import islice

from detectors.event import Event
from detectors.fingerprint.record import GENERATE, JUDGE, REWRITE

OTHER, CODE, MATHS, AGENT, TEXT, EXTRACT, GRADE, MAKE = range(8)
NAMES = ("other", "code", "maths", "agent", "text", "extract", "grade", "make")

SHORT_TOKENS = 16
READ_CHARS = 1536

# A fence, the end of a statement or block, an arrow, a comparison, a call, or a keyword with a bracket or "=" behind it.
# Every alternative begins with a literal, so that the scan skips to those; look-behinds stand after the first character.
_SIGNS = ("```", r";\s*(?:\n|$)", r"{\s*(?:\n|$)", r"}\s*(?:\n|$)", "=>", "==", "->", "!=", r"\((?<=\w\()\w*\)")
_WORDS = (
    r"d(?<!\wd)ef", r"c(?<!\wc)(?:lass|onst)", r"i(?<!\wi)mport", r"r(?<!\wr)eturn", r"f(?<!\wf)unction", r"p(?<!\wp)ublic",
    r"v(?<!\wv)(?:ar|oid)", r"s(?<!\ws)(?:tatic|elect)", r"#(?<=\w#)include",
)  # fmt: skip
_CODE = re.compile("|".join((*_SIGNS, *(rf"{word}\b[^.\n]{{0,60}}[({{:;=<]" for word in _WORDS))))
# Each of these marks holds one of these characters of its own.
_CODE_HINT = re.compile(r"[`;{}(:=<>]")
# A number that is calculated with or stands alone, an equals or root sign, a command of TeX, an amount of money.
_MATHS = re.compile(
    r"[\d=√∑∫π\\$€£¥](?:(?<=\d)\d*(?:[.,]\d+)?\s?(?:[-+*/×÷=^%<>≤≥]|\\times|\\frac)|(?<=\d)(?<!\w\d)\d*\b"
    r"|(?<=[=√∑∫π])|(?<=\\)[a-z]{3,}|(?<=[$€£¥])\s?\d)"
)
_ASCII_MATHS = re.compile(
    r"[0-9=\\$](?:(?<=[0-9])[0-9]*(?:[.,][0-9]+)?\s?(?:[-+*/=^%<>]|\\times|\\frac)|(?<=[0-9])(?<!\w[0-9])[0-9]*\b"
    r"|(?<==)|(?<=\\)[a-z]{3,}|(?<=\$)\s?[0-9])",
    re.ASCII,
)
CODE_MARKS = 3
MATHS_MARKS = 3
MATHS_PER_CHARS = 160
"""A sum in words holds a number every few dozen characters; a date or two in a letter do not make it one."""


def capability(event: Event, text: str, answer: str, intents: int) -> int:
    """Class of an exchange.

    Args:
        event: for routes, tools and tokens.
        text: folded last user turn, as far as known.
        answer: folded head of the answer.
        intents: intent bits.
    """
    written = max(0, event.output_tokens - event.reasoning_tokens)
    if event.tools_digest or event.tool_calls:
        return AGENT
    if intents & JUDGE:
        return GRADE
    if intents & (GENERATE | REWRITE):
        return MAKE
    read = text[:READ_CHARS]
    if event.route == "completions" or _is_code(read) or "```" in answer:
        return CODE
    if _is_maths(read):
        return MATHS
    if not read:
        return OTHER
    return EXTRACT if written <= SHORT_TOKENS else TEXT


def _is_code(text: str) -> bool:
    return len(_CODE_HINT.findall(text)) >= CODE_MARKS and _at_least(CODE_MARKS, _CODE, text)


def _is_maths(text: str) -> bool:
    marks = _ASCII_MATHS if text.isascii() else _MATHS
    return _at_least(max(MATHS_MARKS, len(text) // MATHS_PER_CHARS), marks, text)


def _at_least(count: int, marks: re.Pattern[str], text: str) -> bool:
    return next(islice(marks.finditer(text), count - 1, None), None) is not None
