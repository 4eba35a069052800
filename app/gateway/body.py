"""A JSON body that we and the upstream are sure to read the same way, or a refusal.

Bodies are forwarded as the client's own bytes. That is only safe when no two parsers can disagree about them, so what JSON
leaves open is refused: duplicate keys, NaN, lone surrogates, a byte order mark, numbers that overflow, deep nesting.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from app.enforcement.wire_errors import BAD_JSON, Refuse


def parse_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    """Body bytes → the JSON object in them.

    Raises:
        Refuse: the body is no JSON object, nests deeper than `max_depth`, or repeats a key. The message never quotes it.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refuse(BAD_JSON, f"The request body is not valid JSON: {_position(error)}.", "json") from None
    if type(body) is not dict:
        raise Refuse(BAD_JSON, "The request body must be a JSON object.", "json")
    # Depth cannot exceed the number of opening brackets: most bodies are settled by two counts in C.
    if raw.count(b"{") + raw.count(b"[") > max_depth and _deeper_than(body, max_depth):
        raise Refuse(BAD_JSON, f"The request body nests deeper than {max_depth} levels.", "json_depth")
    if _may_repeat_keys(raw, body) and _repeats_keys(raw):
        raise Refuse(BAD_JSON, "The request body repeats a key within one object.", "json_duplicate")
    return body


def _position(error: orjson.JSONDecodeError) -> str:
    # The library's own text could contain input; position and length cannot.
    return f"error at line {error.lineno} column {error.colno}"


def _deeper_than(value: Any, limit: int) -> bool:
    """Breadth first and iterative, because recursion is what a deep body attacks."""
    level = [value]
    for _ in range(limit):
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below.extend(child for child in item.values() if type(child) in (dict, list))
            else:
                below.extend(child for child in item if type(child) in (dict, list))
        if not below:
            return False
        level = below
    return True


def _may_repeat_keys(raw: bytes, body: dict[str, Any]) -> bool:
    """Cheap test that never misses a repeated key.

    In canonical form a string has two quotes around it and one for each quote in it. The client's bytes have the same
    number, and more by those of every key that parsing dropped, unless a quote is written as ``\\u0022``.
    """
    if b"\\" in raw and b"\\u0022" in raw:
        return True
    return raw.count(b'"') != orjson.dumps(body).count(b'"')


class _Repeated(Exception):
    pass


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


def _repeats_keys(raw: bytes) -> bool:
    try:
        json.loads(raw, object_pairs_hook=_no_repeats)
    except _Repeated:
        return True
    except (ValueError, RecursionError):
        return True  # the two parsers disagree about this body, so others might as well
    return False
