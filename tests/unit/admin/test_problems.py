"""Errors as problem documents."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, create_model

import app.admin
from app.admin.fault_words import PATTERNS, rule_of
from app.admin.problems import FieldError, ProblemResponse, _place


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
    assert rule_of({"type": "json_invalid", "msg": "Invalid JSON: expected ident at line 1 col 2"}) == "must be valid JSON"
    assert rule_of({"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}) == "is not a field here"
    told = rule_of({"type": "value_error", "msg": "Value error, must be between 1970 and 2200"})
    assert told == "must be between 1970 and 2200"


@pytest.mark.parametrize(
    ("field", "kind", "value", "rule"),
    [
        ("ttl_sec", Annotated[int, Field(le=2_592_000)], 2_592_001, "must be at most 2,592,000 seconds (30 days)"),
        ("ttl_sec", Annotated[int, Field(ge=60)], 1, "must be at least 60 seconds (1 minute)"),
        ("days", Annotated[int, Field(le=366)], 400, "must be at most 366 days"),
        ("hours", Annotated[float, Field(gt=0)], 0.0, "must be more than 0 hours"),
        ("requests_per_min", Annotated[float, Field(gt=0)], 0.0, "must be more than 0 a minute"),
        ("enabled_percent", Annotated[float, Field(le=100)], 101.0, "must be at most 100 %"),
        ("limit", Annotated[int, Field(le=500)], 501, "must be at most 500"),
        ("reason", Annotated[str, Field(max_length=3)], "four", "must have at most 3 characters"),
        ("keys", Annotated[list[int], Field(min_length=1)], [], "must have at least 1 entry"),
        ("keys", list[int], 3, "must be a list"),
        ("since", datetime, "noon", "must be a time such as 2026-01-31T12:00:00Z"),
        ("limit", int, "many", "must be a whole number"),
        ("action", Literal["throttle", "cap"], "stop", "must be 'throttle' or 'cap'"),
    ],
)
def test_bounds_and_types_are_told_with_their_unit(field: str, kind: Any, value: object, rule: str) -> None:
    """What pydantic finds is told as a person would say it, and a span also in days, hours or minutes."""
    made = create_model("Made", **{field: (kind, ...)})
    with pytest.raises(ValidationError) as caught:
        made.model_validate({field: value})
    assert [rule_of(dict(fault)) for fault in caught.value.errors()] == [rule]
    with pytest.raises(ValidationError) as caught:
        made.model_validate({})
    assert [rule_of(dict(fault)) for fault in caught.value.errors()] == ["must be given"]


def test_every_pattern_of_the_api_has_its_words() -> None:
    """No address or body of the API has a pattern that would be shown to a person as one."""
    for module in pkgutil.iter_modules(app.admin.__path__, "app.admin."):
        source = Path(importlib.import_module(module.name).__file__ or "").read_text(encoding="utf-8")
        for named in re.findall(r"pattern=([^,()]+)", source):
            assert getattr(importlib.import_module(module.name), named) in PATTERNS, (module.name, named)


@given(st.sampled_from(sorted(PATTERNS)), st.text(max_size=200))
def test_patterns_are_told_in_words(pattern: str, value: str) -> None:
    """A string that breaks a pattern of the API is answered with the pattern's rule in words, never with the string."""
    assume(not re.fullmatch(pattern.strip("^$"), value, re.ASCII))
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)]).validate_python(value)
    assert [rule_of(dict(fault)) for fault in caught.value.errors()] == [PATTERNS[pattern]]
