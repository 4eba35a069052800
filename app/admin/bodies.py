"""Request bodies, read by the route itself: so the token is checked before a byte of the body is looked at."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

MAX_ERRORS = 20
"""Faults that one refusal names; the rest is found in the next attempt."""

JSON_LINES = "application/x-ndjson"
SCHEMA_REF = "#/components/schemas/{model}"

_M = TypeVar("_M", bound=BaseModel)


def described(
    model: type[BaseModel], media_type: str = "application/json", example: Any = None, *, required: bool = True
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body here. Schemas inside stay with it until `openapi.describe`."""
    content: dict[str, Any] = {"schema": model.model_json_schema(ref_template=SCHEMA_REF)}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": required, "content": {media_type: content}}}


async def read_body(request: Request, model: type[_M]) -> _M:
    """What is in the body.

    Raises:
        RequestValidationError: it is no JSON, or a field breaks its rule.
    """
    body = await request.body()
    try:
        return model.model_validate_json(body, strict=True)  # as described: true is no number, and "1" neither
    except ValidationError as error:
        raise RequestValidationError(faults_of(error, "body")[:MAX_ERRORS]) from None


def faults_of(error: ValidationError, place: str) -> list[dict[str, Any]]:
    """What pydantic found, without what the client sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"type": fault["type"], "loc": (place, *fault["loc"]), "msg": fault["msg"]} for fault in found]
