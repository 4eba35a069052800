"""The description of the API is a sound OpenAPI document. That answers follow it is checked by every `desk.call`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

REF = "#/components/schemas/"

# The parts of OpenAPI 3.1 that a client generator relies on.
SHAPE = {
    "$schema": Draft202012Validator.META_SCHEMA["$id"],
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"required": ["title", "version"]},
        "paths": {
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "propertyNames": {"enum": ["get", "put", "post", "delete"]},
                "additionalProperties": {"$ref": "#/$defs/operation"},
            },
        },
        "components": {"required": ["schemas", "securitySchemes"]},
    },
    "$defs": {
        "operation": {
            "type": "object",
            "required": ["operationId", "responses", "tags", "summary", "description"],
            "properties": {
                "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                "requestBody": {"required": ["content"], "properties": {"content": {"$ref": "#/$defs/content"}}},
                "responses": {
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"},
                    "additionalProperties": {
                        "required": ["description"],
                        "properties": {"content": {"$ref": "#/$defs/content"}},
                    },
                },
            },
        },
        "parameter": {
            "required": ["name", "in", "schema", "description"],
            "properties": {"in": {"enum": ["query", "path", "header"]}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"properties": {"required": {"const": True}}, "required": ["required"]},
        },
        "content": {
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z]+/[a-z.+-]+$"},
            "additionalProperties": {"type": "object"},
        },
    },
}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


async def test_the_description_is_sound(desk: Any) -> None:
    """It has the shape of OpenAPI 3.1, each schema is one of JSON Schema, and each reference leads somewhere."""
    document = desk.description.document
    Draft202012Validator(SHAPE).validate(document)
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for reference in _references(document):
        assert reference.startswith(REF)
        assert reference.removeprefix(REF) in schemas
    used = {reference.removeprefix(REF) for reference in _references(document)}
    assert used == set(schemas)
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(names) == len(set(names))


async def test_parameters_are_those_of_the_path(desk: Any) -> None:
    """Each parameter in a path is declared, and none that is not in it."""
    for path, _, operation in _operations(desk.description.document):
        declared = {part["name"] for part in operation.get("parameters", []) if part["in"] == "path"}
        assert declared == set(re.findall(r"\{(.*?)\}", path))


async def test_the_description_says_what_needs_the_token(desk: Any) -> None:
    """Every operation but the two open ones declares the bearer scheme, its permission and the refusal."""
    document = desk.description.document
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, _, operation in _operations(document):
        guarded = path not in ("/healthz", "/metrics")
        assert (operation.get("security") == [{"HTTPBearer": []}]) is guarded, path
        assert ("401" in operation["responses"]) is guarded, path
        assert ("x-permission" in operation) is guarded, path
        assert ("503" in operation["responses"]) is guarded, path


async def test_every_served_route_is_described(desk: Any) -> None:
    """The description lists each route that the application serves, and only those."""
    from fastapi.routing import iter_route_contexts

    served = {
        (route.path, method.lower())
        for route in iter_route_contexts(desk.server.app.routes)
        for method in route.methods or ()
    }
    assert {(path, method) for path, method, _ in _operations(desk.description.document)} == served


async def test_no_setting_changes_the_description(desk: Any, new_desk: Any) -> None:
    """Whatever is switched on, the document is the same to the byte; so one of it may stand for every server here."""
    more = {
        "STILLWATCH_ENFORCEMENT__MODE": "enforce",
        "STILLWATCH_ADMIN__APPEAL_SLA_HOURS": "7",
        "STILLWATCH_WATERMARK__TENANT": "organisation",
        "STILLWATCH_WATERMARK__INVESTIGATIONS_MAX_MB": "1",
        "STILLWATCH_WATERMARK__SECRETS": "",
    }
    async with new_desk(**more) as other:
        assert (await type(desk.description).fetched(other.server)).document == desk.description.document
