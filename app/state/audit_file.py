"""The audit log as lines of a file, and whether such lines are the whole, unchanged chain.

The first line names the chain's start, `{"anchor":"<number>-<digest>"}`; each other line holds a record exactly as its
digest was taken over it: `{"digest":"<hex>","record":<canonical JSON>}`. Every byte is fixed, so any flipped one is found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import BadInput
from app.state.audit import Head, chained

_START = re.compile(rb'\{"anchor":"(?:(\d{1,15})-([0-9a-f]{64})|0)"\}\n')
_LINE = re.compile(rb'\{"digest":"([0-9a-f]{64})","record":(\{.*\})\}\n', re.DOTALL)
_HEAD = re.compile(r"(?:(\d{1,15})-)?([0-9a-f]{64})|0")


class Broken(BadInput):
    """The chain does not hold; the message names the line and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that holds: its start, its end, and whether the head that was asked for is in it (None: none was)."""

    anchor: Head
    head: Head
    records: int


def start_line(anchor: Head) -> bytes:
    """First line of an export."""
    return b'{"anchor":"%s"}\n' % str(anchor).encode()


def line(record: bytes, digest: str) -> bytes:
    """Line of one record."""
    return b'{"digest":"%s","record":%s}\n' % (digest.encode(), record)


def parse_head(text: str) -> Head:
    """A head as logs and /v1/health show it, or its digest alone (number 0).

    Raises:
        BadInput: it is none.
    """
    found = _HEAD.fullmatch(text.strip())
    if not found:
        raise BadInput("--head must be <number>-<digest> as the log shows it, or the digest alone, 64 hex digits")
    return Head(int(found[1] or 0), found[2] or "")


def verify(lines: Iterable[bytes], expected: Head | None = None) -> Verified:
    """Reads a whole export.

    Args:
        lines: with their ends, as a file opened in binary mode gives them.
        expected: a head that was noted before; it must be in the chain. Without one, records that were cut off the end
            cannot be missed.

    Raises:
        Broken: something was changed, removed, put in, or put elsewhere.
    """
    numbered = enumerate(lines, start=1)
    start = _START.fullmatch(next(numbered, (0, b""))[1])
    if not start:
        raise Broken("line 1 does not name the start of a chain")
    anchor = head = Head(int(start[1] or 0), (start[2] or b"").decode())
    seen = _is(expected, anchor)
    for number, text in numbered:
        found = _LINE.fullmatch(text)
        if not found:
            raise Broken(f"line {number} is no whole line of an export")
        if chained(head.digest, found[2]) != found[1].decode():
            raise Broken(f"line {number} (after record {head.number}) was changed, or does not follow the one before it")
        if _number(found[2]) != head.number + 1:
            raise Broken(f"line {number} must be record {head.number + 1}")
        head = Head(head.number + 1, found[1].decode())
        seen = seen or _is(expected, head)
    if expected is not None and not seen:
        if 0 < expected.number < anchor.number:
            raise Broken(f"record {expected.number} is older than what is kept; give a head that was noted later")
        raise Broken("the given head is not in the chain: its end was cut off, or the chain is another one")
    return Verified(anchor, head, head.number - anchor.number)


def _is(expected: Head | None, head: Head) -> bool:
    """Whether this is the head that was asked for; a number that was given must fit too."""
    return expected is not None and expected.digest == head.digest and expected.number in (0, head.number)


def _number(record: bytes) -> object:
    try:
        found = json.loads(record)
    except ValueError:
        return None
    return found.get("number")
