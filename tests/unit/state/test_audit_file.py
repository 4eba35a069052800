"""An export of the audit log proves itself: any change of it is found."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput
from app.state.audit import Head, canonical, chained
from app.state.audit_file import Broken, Verified, line, parse_head, start_line, verify

TEXTS = ("", "a plain reason", 'with "quotes" and \\', "ümläute – 漢字 🎈", '"}\n{"digest":"', "\u2028 and \x7f")

BEGINNING = Head(0, "")


def _export(count: int, anchor: Head = BEGINNING) -> tuple[list[bytes], list[Head]]:
    """(lines, the head behind each record) of a chain."""
    lines, heads, digest = [start_line(anchor)], [anchor], anchor.digest
    for number in range(anchor.number + 1, anchor.number + count + 1):
        reason = TEXTS[number % len(TEXTS)]
        record = canonical({"number": number, "reason": reason, "before": None, "after": {"a": 1.5, "ä": [True]}})
        digest = chained(digest, record)
        lines.append(line(record, digest))
        heads.append(Head(number, digest))
    return lines, heads


def test_an_untouched_chain_holds() -> None:
    """Every length, from the beginning or from an anchor, verifies to its number of records and its head."""
    for anchor in (BEGINNING, Head(41, "ab" * 32)):
        for count in (0, 1, 2, 50):
            lines, heads = _export(count, anchor)
            assert verify(lines) == Verified(anchor, heads[-1], count)


def test_every_flipped_bit_is_found() -> None:
    """One changed bit anywhere in the file, framing and line ends included, and the chain does not hold."""
    lines, _ = _export(4)
    whole = b"".join(lines)
    for at in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[at] ^= 1 << bit
            with pytest.raises(Broken):
                verify(_lines(bytes(changed)))


def _lines(data: bytes) -> list[bytes]:
    """As a file opened in binary mode gives them: only \\n ends a line."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@pytest.mark.parametrize("at", range(1, 9))
def test_a_removed_repeated_or_moved_record_is_found(at: int) -> None:
    """Taking a record out of the middle, saying it twice or swapping it with another breaks the chain."""
    lines, _ = _export(10)
    removed = lines[:at] + lines[at + 1 :]
    repeated = lines[: at + 1] + lines[at:]
    swapped = list(lines)
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    for wrong in (removed, repeated, swapped):
        with pytest.raises(Broken, match="line"):
            verify(wrong)


def test_a_record_that_was_put_in_is_found() -> None:
    """A made-up record with a right digest of its own does not fit what comes behind it."""
    lines, heads = _export(6)
    for at in range(1, 6):
        made_up = canonical({"number": at, "reason": "was never here"})
        wrong = [*lines[:at], line(made_up, chained(heads[at - 1].digest, made_up)), *lines[at:]]
        with pytest.raises(Broken):
            verify(wrong)


def test_a_rewritten_end_is_found_with_a_noted_head() -> None:
    """Who rewrites all records from one on makes a chain that holds, but a head noted before is not in it."""
    lines, heads = _export(6)
    forged = canonical({"number": 4, "reason": "something else"})
    rewritten = [*lines[:4], line(forged, chained(heads[3].digest, forged))]
    verify(rewritten)
    verify(rewritten, heads[3])
    for noted in heads[4:]:
        with pytest.raises(Broken, match="the given head is not in the chain"):
            verify(rewritten, noted)


def test_a_cut_end_is_found_with_a_noted_head() -> None:
    """Records cut off the end leave a chain that holds; any head noted at or behind the cut is missed in it."""
    lines, heads = _export(8)
    for kept in range(8):
        for noted in heads[1:]:
            if noted.number <= kept:
                verify(lines[: kept + 1], noted)
                verify(lines[: kept + 1], Head(0, noted.digest))
            else:
                with pytest.raises(Broken, match="its end was cut off"):
                    verify(lines[: kept + 1], noted)


def test_a_head_with_another_number_is_not_in_the_chain() -> None:
    """Number and digest of a given head must both be those of one record."""
    lines, heads = _export(3)
    with pytest.raises(Broken):
        verify(lines, Head(2, heads[3].digest))


def test_a_head_that_was_trimmed_is_said_to_be_too_old() -> None:
    """Retention is not taken for tampering: a head older than what is kept is named as such."""
    lines, _ = _export(3, Head(40, "cd" * 32))
    verify(lines, Head(40, "cd" * 32))
    with pytest.raises(Broken, match="record 12 is older than what is kept"):
        verify(lines, Head(12, "ee" * 32))


@pytest.mark.parametrize("wrong", [[], [b""], [b"\n"], [b'{"anchor":"0"}'], [b'{"anchor":"7"}\n'], [b"{}\n"]])
def test_what_is_no_export_is_refused(wrong: Sequence[bytes]) -> None:
    """A file without a first line that names the start is no chain, not even an empty one."""
    with pytest.raises(Broken, match="line 1 does not name the start"):
        verify(wrong)


def test_a_cut_last_line_is_found() -> None:
    """A transfer that broke off within a line is not taken for a shorter log."""
    lines, _ = _export(3)
    for length in range(1, len(lines[3])):
        with pytest.raises(Broken, match="line 4"):
            verify([*lines[:3], lines[3][:length]])


@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_no_random_damage_passes(count: int, dice: random.Random) -> None:
    """Whatever bytes are put in, taken out or written over, the same head never comes out of another file."""
    lines, heads = _export(count)
    whole = b"".join(lines)
    at, length = dice.randrange(len(whole)), dice.randrange(0, 90)
    damaged = whole[:at] + dice.randbytes(dice.randrange(0, 90)) + whole[at + length :]
    if damaged == whole:
        return
    with pytest.raises(Broken):
        verify(_lines(damaged), heads[-1])


@pytest.mark.parametrize("text", ["12-" + "ab" * 32, "ab" * 32, " 12-" + "ab" * 32 + "\n", "0"])
def test_heads_are_read_as_they_are_shown(text: str) -> None:
    """Number and digest, the digest alone, and the head of an empty log are heads."""
    found = parse_head(text)
    assert found.digest in ("", "ab" * 32)
    assert str(found) == text.strip() or found.number == 0


@pytest.mark.parametrize("text", ["", "x", "ab", "12-", "12", "ab" * 33, "AB" * 32, "-" + "ab" * 32])
def test_what_is_no_head_is_refused(text: str) -> None:
    """Anything else is told how a head looks."""
    with pytest.raises(BadInput, match="--head must be"):
        parse_head(text)
