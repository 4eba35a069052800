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

_WORDS = ("def", "class", "import", "return", "function", "const", "var", "public", "static", "void", "select", "#include")
_SIGNS = ("```", "=>", "->", "==", "!=")
_BLOCK = r"[;{}]\s*(?:\n|$)"
_CODE = re.compile(rf"```|{_BLOCK}|\b(?:{'|'.join(_WORDS)})\b[^.\n]{{0,60}}[({{:;=<]|=>|->|==|!=|\w\(\w*\)")
_MATHS = re.compile(r"\d+(?:[.,]\d+)?\s?(?:[-+*/×÷=^%<>≤≥]|\\times|\\frac)|[=√∑∫π]|\\[a-z]{3,}|[$€£¥]\s?\d|\b\d+\b")
# What each mark holds one of its own of costs less to count: where there is too little of it, marks need not be looked for.
# The look-behinds stand after the first character so that the scan can skip to it.
_BLOCK_OR_CALL = tuple(re.compile(expression) for expression in (_BLOCK, r"\((?<=\w\()\w*\)"))
_MATHS_HINT = re.compile(r"[\d=√∑∫π\\$€£¥](?<!\d\d)")  # a number once
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
    hints = sum(map(text.count, _SIGNS)) + sum(len(mark.findall(text)) for mark in _BLOCK_OR_CALL)
    return hints + sum(map(text.count, _WORDS)) >= CODE_MARKS and _at_least(CODE_MARKS, _CODE, text)


def _is_maths(text: str) -> bool:
    least = max(MATHS_MARKS, len(text) // MATHS_PER_CHARS)
    return len(_MATHS_HINT.findall(text)) >= least and _at_least(least, _MATHS, text)


def _at_least(count: int, marks: re.Pattern[str], text: str) -> bool:
    return next(islice(marks.finditer(text), count - 1, None), None) is not None
