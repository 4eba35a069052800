"""What members send: an envelope of STIX objects, looked at so far that it can be stored and found again, and no further.

An envelope that is none is refused as a whole. An object that breaks a rule is not taken and named in the status; the
others are. What the objects say (a pattern, a marking, an author) is not read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import BadInput
from app.intel.taxii import times
from app.state.intel import NewObject

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_OBJECTS = 1_000
MAX_OBJECT_BYTES = 64 * 1024
"""A campaign with its indicators is some 4 kB; a template sketch is the largest part of one."""

MAX_DEPTH = 20
"""Of lists and objects in one another; STIX's own types need six."""

OBJECT_ID = re.compile(
    r"([a-z0-9](?:-?[a-z0-9]){0,99})--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII
)
"""A STIX identifier; the first part is the type."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


@dataclass(frozen=True, slots=True)
class Sent:
    """One object of an envelope.

    Attributes:
        object_id: its id.
        new: what can be stored of it; None where it breaks a rule.
        fault: "" or the rule.
    """

    object_id: str
    new: NewObject | None
    fault: str = ""


def read(body: bytes) -> list[Sent]:
    """The objects of an envelope.

    Raises:
        BadInput: it is no envelope; the message names the place and the rule.
    """
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadInput("body: must be valid JSON, without numbers beyond 64 bits and not nested too deeply") from None
    if not isinstance(envelope, dict):
        raise BadInput("body: must be an envelope, an object with a list 'objects'")
    objects = envelope.get("objects")
    if not isinstance(objects, list) or not objects:
        raise BadInput("body.objects: must be a list of at least one object")
    if len(objects) > MAX_OBJECTS:
        raise BadInput(f"body.objects: must have at most {MAX_OBJECTS:,} objects; send the others in another request")
    return [_sent(number, one) for number, one in enumerate(objects)]


def depth_over(data: bytes, most: int) -> bool:
    """Whether valid JSON nests lists and objects deeper than this. The time is that of `most` passes over the brackets."""
    brackets = _STRING.sub(b"", data).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(most):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # one level: a pair that comes to stand together is not seen again
    return bool(brackets)


def packed(one: dict[str, Any]) -> bytes:
    """An object as JSON.

    Raises:
        BadInput: it is too large or nested too deeply.
    """
    try:
        data = orjson.dumps(one)
    except orjson.JSONEncodeError:  # more than 254 levels
        raise BadInput(f"must not be nested deeper than {MAX_DEPTH} levels") from None
    if len(data) > MAX_OBJECT_BYTES:
        raise BadInput(f"must not be larger than {MAX_OBJECT_BYTES:,} bytes")
    if depth_over(data, MAX_DEPTH):
        raise BadInput(f"must not be nested deeper than {MAX_DEPTH} levels")
    return data


def identified(one: Any) -> bool:
    """Whether it is an object with an id of the right form, and of the type that the id says."""
    object_id = one.get("id") if isinstance(one, dict) else None
    found = OBJECT_ID.fullmatch(object_id) if isinstance(object_id, str) else None
    return found is not None and one.get("type") == found[1]


def _sent(number: int, one: Any) -> Sent:
    place = f"body.objects.{number}"
    if not isinstance(one, dict):
        raise BadInput(f"{place}: must be an object")
    object_id, kind = one.get("id"), one.get("type")
    found = OBJECT_ID.fullmatch(object_id) if isinstance(object_id, str) else None
    if found is None:
        raise BadInput(f"{place}.id: must be a STIX identifier, such as indicator--<UUID in lower case>")
    assert isinstance(object_id, str)
    if kind != found[1]:
        raise BadInput(f"{place}.type: must be the type that the id begins with")
    fault = _fault(one, kind)
    if fault:
        return Sent(object_id, None, fault)
    try:
        data = packed(one)
    except BadInput as error:
        return Sent(object_id, None, str(error))
    stated = one.get("modified", one.get("created"))
    try:
        version_us = None if stated is None else times.parse(stated if isinstance(stated, str) else "")
    except ValueError as error:
        return Sent(object_id, None, f"{'modified' if 'modified' in one else 'created'} {error}")
    return Sent(object_id, NewObject(object_id, version_us, data))


def _fault(one: dict[str, Any], kind: str) -> str:
    if kind == "bundle":
        return "must not be a bundle: send the objects in it"
    # Observables may leave the version of the standard out; what has a creation time is none, and of STIX 2.0 then.
    if one.get("spec_version", None if "created" in one else "2.1") != "2.1":
        return 'spec_version must be "2.1"'
    return ""
