"""Which ability of the model an exchange draws on, by its shape and by marks that no language owns.

Harvests concentrate where answers are worth most: agents, code, mathematics, grading (the disclosed campaigns of 2026).
Honest specialists do too, so a class is a feature among peers and no sign by itself.
"""

from __future__ import annotations

import re

from detectors.event import Event
from detectors.fingerprint.record import GENERATE, JUDGE, REWRITE

OTHER, CODE, MATHS, AGENT, TEXT, EXTRACT, GRADE, MAKE = range(8)
NAMES = ("other", "code", "maths", "agent", "text", "extract", "grade", "make")

SHORT_TOKENS = 16
READ_CHARS = 1536

_CODE = re.compile(
    r"```|[;{}]\s*(?:\n|$)|\b(?:def|class|import|return|function|const|var|public|static|void|select|#include)\b[^.\n]{0,60}[({:;=<]|=>|->|==|!=|\w\(\w*\)"
)
_MATHS = re.compile(r"\d+(?:[.,]\d+)?\s?(?:[-+*/×÷=^%<>≤≥]|\\times|\\frac)|[=√∑∫π]|\\[a-z]{3,}|[$€£¥]\s?\d|\b\d+\b")
# Characters of which each mark holds one of its own: where there are too few of them, the marks need not be looked for.
_CODE_HINT = re.compile(r"[`;{}(:=<>]")
_MATHS_HINT = re.compile(r"[\d=√∑∫π\\$€£¥]")
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
    if event.route == "completions" or _marks(_CODE, _CODE_HINT, read, CODE_MARKS) or "```" in answer:
        return CODE
    if _marks(_MATHS, _MATHS_HINT, read, max(MATHS_MARKS, len(read) // MATHS_PER_CHARS)):
        return MATHS
    if not read:
        return OTHER
    return EXTRACT if written <= SHORT_TOKENS else TEXT


def _marks(marks: re.Pattern[str], hint: re.Pattern[str], text: str, least: int) -> bool:
    return len(hint.findall(text)) >= least and len(marks.findall(text)) >= least
