"""Errors as problem documents."""

from __future__ import annotations

import json
import re
from typing import Annotated

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import StringConstraints, TypeAdapter, ValidationError

from app.admin.models import RULES
from app.admin.problems import FieldError, ProblemResponse, _place, _rule


def test_a_problem_is_a_document_of_rfc_9457() -> None:
    """Type, title, status, detail and the fields are in the body, under the media type of problems."""
    answer = ProblemResponse(422, "body.plan: must be short", [FieldError(field="body.plan", rule="must be short")])
    assert answer.media_type == answer.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "body.plan: must be short",
        "errors": [{"field": "body.plan", "rule": "must be short"}],
    }


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (("query", "limit"), "query.limit"),
        (("body", "authorised", 3), "body.authorised.3"),
        (("body line 12", "plan"), "body line 12.plan"),
        (("body", "sk-live-1234"), "body.?"),
        (("body", "x" * 33), "body.?"),
        ((), "request"),
    ],
)
def test_a_place_names_fields_and_no_values(location: tuple[int | str, ...], place: str) -> None:
    """A name that a client made up and that does not look like a field's is not repeated."""
    assert _place(location) == place


def test_rules_are_phrased_without_the_library() -> None:
    """Where pydantic's words would puzzle or quote, ours stand."""
    assert _rule({"type": "json_invalid", "msg": "Invalid JSON: expected ident at line 1 column 2"}) == "must be valid JSON"
    assert _rule({"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}) == "is not a field here"
    assert (
        _rule({"type": "value_error", "msg": "Value error, must be between 1970 and 2200"})
        == "must be between 1970 and 2200"
    )


@given(st.sampled_from(sorted(RULES)), st.text(max_size=200))
def test_patterns_are_told_in_words(pattern: str, value: str) -> None:
    """A string that breaks a pattern of the API is answered with the pattern's rule in words, never with the string."""
    assume(not re.fullmatch(pattern.strip("^$"), value, re.ASCII))
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)]).validate_python(value)
    assert [_rule(dict(fault)) for fault in caught.value.errors()] == [RULES[pattern]]
