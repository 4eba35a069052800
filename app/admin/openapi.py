"""The description of the admin API, as an OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.admin.problems import Problem

_REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> dict[str, Any]:
    """What the application serves now. Problems are no FastAPI response models, so their schema is added by hand."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    _, problems = models_json_schema([(Problem, "serialization")], ref_template=_REF)
    document.setdefault("components", {}).setdefault("schemas", {}).update(problems["$defs"])
    return document
