"""JSON lines of accounts: all of them, or every fault by line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin import import_lines
from app.admin.import_lines import check_lines
from detectors.contract import USES

GOOD = st.fixed_dictionaries(
    {"key_id": st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")},
    optional={
        "org_id": st.from_regex(r"[0-9A-Za-z_.:@-]{0,128}", fullmatch=True),
        "plan": st.from_regex(r"[0-9A-Za-z_.:@-]{0,128}", fullmatch=True),
        "authorised": st.lists(st.sampled_from(USES), max_size=16),
        "country": st.from_regex(r"([A-Z]{2})?", fullmatch=True),
    },
)
BLANK = st.sampled_from([b"", b" ", b"\t", b"\r"])


@given(st.lists(GOOD, max_size=20, unique_by=lambda account: account["key_id"]), st.data())
def test_good_lines_are_all_read(accounts: list[dict[str, object]], data: st.DataObject) -> None:
    """Each account comes back with what its line says, in order, whatever empty lines stand between."""
    body = b"".join(data.draw(BLANK) + b"\n" + json.dumps(account).encode() + b"\r\n" for account in accounts)
    found = check_lines(body)
    assert [account.model_dump(exclude_unset=True) for account in found.accounts] == accounts
    assert (found.lines, found.bad_lines, found.sentence) == (len(accounts), 0, "")


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from([b"{", b"[]", b"null", b"\xff", b'{"key_id":1}']))
def test_bad_lines_are_named_exactly(good: list[bool], bad: bytes) -> None:
    """The faults are those of the bad lines, each of them and in order."""
    lines = [b'{"key_id":"%032x"}' % number if fine else bad for number, fine in enumerate(good)]
    wanted = [number for number, fine in enumerate(good, start=1) if not fine]
    found = check_lines(b"\n".join(lines))
    places = [fault.field.partition(".")[0] for fault in found.faults]
    assert places == [f"body line {number}" for number in wanted]
    assert (found.bad_lines, len(found.accounts)) == (len(wanted), len(good) - len(wanted))


def test_faults_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer stays bounded: the first faults are named, all bad lines are counted, and the sentence says both."""
    monkeypatch.setattr(import_lines, "MAX_FAULTS", 5)
    found = check_lines(b"x\n" * 9)
    assert [fault.field for fault in found.faults] == [f"body line {number}" for number in range(1, 6)]
    assert found.sentence == (
        "9 of 9 lines break a rule, of which the first 5 faults are named, nothing is stored; the first: body line 1: "
        "must be valid JSON"
    )


def test_a_fault_holds_nothing_of_the_line() -> None:
    """What is told has the rule and the place; the line itself is in none of its parts."""
    found = check_lines(b'{"key_id":"canary7f3a9","plan":["canary7f3a9"]}\ncanary7f3a9')
    assert len(found.faults) == 3
    assert "canary" not in repr(found)
