"""JSON lines of accounts: all of them, or the faults by line."""

from __future__ import annotations

import json

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st

from app.admin.bodies import MAX_ERRORS, parse_lines
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
    found = parse_lines(body)
    assert [account.model_dump(exclude_unset=True) for account in found] == accounts


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from([b"{", b"[]", b"null", b"\xff", b'{"key_id":1}']))
def test_bad_lines_are_named_exactly(good: list[bool], bad: bytes) -> None:
    """The faults are those of the bad lines, in order, the first twenty of them."""
    lines = [b'{"key_id":"%032x"}' % number if fine else bad for number, fine in enumerate(good)]
    wanted = [number for number, fine in enumerate(good, start=1) if not fine]
    if not wanted:
        assert len(parse_lines(b"\n".join(lines))) == len(lines)
        return
    with pytest.raises(RequestValidationError) as caught:
        parse_lines(b"\n".join(lines))
    places = [fault["loc"][0] for fault in caught.value.errors()]
    assert places == [f"body line {number}" for number in wanted[:MAX_ERRORS]]


def test_a_fault_holds_nothing_of_the_line() -> None:
    """What is raised has the rule and the place; the line itself is in none of its parts."""
    with pytest.raises(RequestValidationError) as caught:
        parse_lines(b'{"key_id":"canary7f3a9","plan":["canary7f3a9"]}\ncanary7f3a9')
    assert "canary" not in repr(caught.value.errors())
    assert caught.value.__cause__ is None
