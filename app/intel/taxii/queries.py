"""What a request asks for: `added_after`, `limit`, `next` and `match[…]` (the standard, 3.4 and 3.5).

Every parameter may be given once. One that an address does not know is refused rather than ignored: a filter that is
overlooked gives the wrong answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from app.errors import BadInput
from app.intel.taxii import times
from app.intel.taxii.envelope import OBJECT_ID
from app.state.intel import Query, Which

MAX_PAGE = 1_000
MAX_VALUES = 100
"""Values of one filter."""

PAGED = ("added_after", "limit", "next")
OF_COLLECTION = (*PAGED, "match[id]", "match[type]", "match[version]", "match[spec_version]")
OF_OBJECT = (*PAGED, "match[version]", "match[spec_version]")
OF_VERSIONS = (*PAGED, "match[spec_version]")
OF_DELETION = ("match[version]", "match[spec_version]")

SHAPES: dict[str, dict[str, object]] = {
    "added_after": {"type": "string", "format": "date-time"},
    "limit": {"type": "integer", "minimum": 1},
    "next": {"type": "string", "pattern": "^[0-9]{1,16}$"},
    "match[id]": {"type": "string", "minLength": 1},
    "match[type]": {"type": "string", "minLength": 1},
    "match[version]": {"type": "string", "minLength": 1},
    "match[spec_version]": {"type": "string", "minLength": 1},
}
"""The parameters as JSON Schema."""

_PLACES: tuple[Which, ...] = get_args(Which)

_NEXT = re.compile(r"[0-9]{1,16}", re.ASCII)
_LIMIT = re.compile(r"[0-9]{1,18}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9-]{1,100}", re.ASCII)
_SPEC = re.compile(r"[0-9]\.[0-9]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and how long its pages are.

    Attributes:
        any: False where the filters leave nothing that this server has: it holds objects of STIX 2.1 only.
    """

    query: Query
    limit: int
    any: bool


def read(given: Iterable[tuple[str, str]], known: tuple[str, ...], default: Which = "last") -> Asked:
    """What is asked for.

    Args:
        given: names and values as they stand in the address.
        known: the names that this address takes.
        default: which versions are meant where none are named.

    Raises:
        BadInput: a parameter is not known, stands twice, or breaks its rule.
    """
    values: dict[str, str] = {}
    for name, value in given:
        if name not in known:
            raise BadInput(
                "query: has a parameter that this address does not take; it takes " + (", ".join(known) or "none")
            )
        if name in values:
            raise BadInput(f"query.{name}: must not be given twice; several values are separated by commas")
        values[name] = value
    after_us = _time("added_after", values["added_after"]) if "added_after" in values else 0
    if "next" in values:
        if not _NEXT.fullmatch(values["next"]):
            raise BadInput("query.next: must be the 'next' of the page before")
        after_us = max(after_us, int(values["next"]))
    limit = MAX_PAGE
    if "limit" in values:
        if not _LIMIT.fullmatch(values["limit"]) or not int(values["limit"]):
            raise BadInput("query.limit: must be a whole number of at least 1")
        limit = min(limit, int(values["limit"]))
    which, versions_us = _versions(values, default)
    specs = _values(values, "match[spec_version]", _SPEC, "a version of STIX, such as 2.1")
    query = Query(
        after_us=after_us,
        ids=_values(values, "match[id]", OBJECT_ID, "identifiers such as indicator--<UUID in lower case>"),
        types=_values(values, "match[type]", _TYPE, "types such as indicator"),
        which=which,
        versions_us=versions_us,
    )
    return Asked(query, limit, specs is None or "2.1" in specs)


def _values(values: dict[str, str], name: str, form: re.Pattern[str], rule: str) -> frozenset[str] | None:
    if name not in values:
        return None
    found = values[name].split(",")
    if len(found) > MAX_VALUES:
        raise BadInput(f"query.{name}: must have at most {MAX_VALUES} values")
    if not all(form.fullmatch(value) for value in found):
        raise BadInput(f"query.{name}: must be {rule}, separated by commas")
    return frozenset(found)


def _versions(values: dict[str, str], default: Which) -> tuple[frozenset[Which], frozenset[int]]:
    name = "match[version]"
    if name not in values:
        return frozenset((default,)), frozenset()
    found = values[name].split(",")
    if len(found) > MAX_VALUES:
        raise BadInput(f"query.{name}: must have at most {MAX_VALUES} values")
    which = frozenset(place for place in _PLACES if place in found)
    return which, frozenset(_time(name, value) for value in found if value not in _PLACES)


def _time(name: str, value: str) -> int:
    try:
        return times.parse(value)
    except ValueError as error:
        words = "must be first, last, all, or a time such as 2026-01-31T12:00:00.000Z, separated by commas"
        raise BadInput(f"query.{name}: {words if name.startswith('match') else error}") from None
