"""Errors of the admin API as ``application/problem+json`` (RFC 9457), naming the field and the rule.

A message never repeats the value: it may be a secret that was pasted into the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.admin.fault_words import rule_of
from app.errors import BadInput, Conflict, StateUnavailable

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One field that breaks a rule."""

    field: str = Field(description="place in the request, e.g. query.limit, body.plan, or body line 12")
    rule: str = Field(description="what the field must be")


class Problem(BaseModel):
    """What went wrong."""

    type: str = "about:blank"
    title: str = Field(description="name of the status")
    status: int
    detail: str = Field(description="one sentence for a person")
    errors: list[FieldError] = Field(default_factory=list, description="the fields that break their rule, if any do")


class ProblemResponse(JSONResponse):
    """A problem as a response."""

    media_type = MEDIA_TYPE

    def __init__(
        self, status: int, detail: str, errors: Sequence[FieldError] = (), headers: dict[str, str] | None = None
    ) -> None:
        problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
        super().__init__(problem.model_dump(), status_code=status, headers=headers)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, text in (
        (401, "No token, or not the right one"),
        (403, "The role of the token does not have the permission"),
        (404, "Nothing is known under that id"),
        (408, "The body did not arrive in time"),
        (409, "It does not fit what stands there now"),
        (413, "The body is too large"),
        (415, "The body is compressed"),
        (422, "A field breaks its rule"),
        (429, "Too many wrong tokens came from this address"),
        (500, "The request failed inside"),
        (503, "State cannot be reached"),
    )
}
"""What every guarded route may answer besides success, for the OpenAPI document. The guard makes 408, 413, 415 and 500."""


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, RequestValidationError)
        errors = [field_error(fault) for fault in error.errors()]
        detail = f"{errors[0].field}: {errors[0].rule}" if errors else "The request breaks a rule"
        return ProblemResponse(422, detail, errors)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: Exception) -> ProblemResponse:
        assert isinstance(error, HTTPException)
        detail = (
            error.detail if error.detail != HTTPStatus(error.status_code).phrase else _SENTENCES.get(error.status_code, "")
        )
        return ProblemResponse(error.status_code, detail or error.detail, headers=dict(error.headers or {}))

    @app.exception_handler(StateUnavailable)
    async def away(_: Request, error: Exception) -> ProblemResponse:
        return ProblemResponse(503, str(error), headers={"retry-after": "5"})

    @app.exception_handler(Conflict)
    async def changed(_: Request, error: Exception) -> ProblemResponse:
        return ProblemResponse(409, str(error))

    @app.exception_handler(BadInput)
    async def bad(_: Request, error: Exception) -> ProblemResponse:
        field, colon, rule = str(error).partition(": ")
        return ProblemResponse(422, str(error), [FieldError(field=field, rule=rule)] if colon else ())


def field_error(fault: dict[str, Any]) -> FieldError:
    """What a validator found, as place and rule in our words."""
    return FieldError(field=_place(fault["loc"]), rule=rule_of(fault))


_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,31}|sha256|body line \d+")
_SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take that method."}


def _place(location: Sequence[int | str]) -> str:
    # The name of an unknown field is the caller's word; one that does not look like a name is not repeated.
    if location[:1] == ("header",):
        location = [str(part).replace("-", "_") for part in location]
    parts = [str(part) if isinstance(part, int) or _FIELD_NAME.fullmatch(part) else "?" for part in location]
    return ".".join(parts) or "request"
