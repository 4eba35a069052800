"""The description of the admin API, as an OpenAPI document."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.admin.bodies import SCHEMA_REF
from app.admin.permissions import route_of
from app.admin.problems import Problem


def describe(app: FastAPI) -> dict[str, Any]:
    """What the application serves now. Problems are no FastAPI response models, so their schema is added by hand."""
    document = copy.deepcopy(get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes))
    _, problems = models_json_schema([(Problem, "serialization")], ref_template=SCHEMA_REF)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(problems["$defs"])
    # Bodies that routes read themselves bring the schemas inside them along.
    for operations in document["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schemas.update(content["schema"].pop("$defs", {}))
    for (method, path), permissions in route_of(app).items():
        for permission in permissions:
            document["paths"][path][method.lower()]["x-permission"] = permission
    return document
