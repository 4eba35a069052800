"""Reads other people's access logs: a TOML file says where each field of our record lies in theirs.

Example, for a proxy that logs one JSON object per call with the raw bodies::

    [fields]                                   # our field = dotted path in a log line; numbers index lists
    ts = "time"
    key = "auth.key_id"
    path = "http.path"
    ip = "client.ip"
    headers = "http.request_headers"
    request = "http.request_body"              # an object, or a string that holds JSON
    "response.status" = "http.status"
    "response.latency_ms" = "duration_ms"
    "response.body" = "http.response_body"     # a whole OpenAI or Anthropic answer; fills what is not named below
    "response.usage.output_tokens" = "billing.completion"

    [time]
    unit = "iso8601"                           # s (default), ms, us, iso8601

    [key]
    hash = true                                # the log holds the credential itself: only its keyed hash is used

    [defaults]                                 # used where a line lacks the field
    path = "/v1/chat/completions"

Every field of the record but `ts`, `key`, `path`, `request` and `response.status` may be left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.errors import BadInput, ConfigError
from app.offline.moments import MAX_SEC
from app.offline.records import Record, Response, Usage, rule_of

_FIELDS = frozenset(
    ["ts", "key", "path", "ip", "headers", "request"]
    + [f"response.{field.name}" for field in msgspec.structs.fields(Response) if field.name != "usage"]
    + [f"response.usage.{field.name}" for field in msgspec.structs.fields(Usage)]
)
_NEEDED = ("ts", "key", "path", "request", "response.status")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_SECTIONS = {"fields", "time", "key", "defaults"}


def load(path: Path, hash_key: Callable[[str], str]) -> Mapping:
    """A mapping file → the parser of its lines.

    Args:
        path: TOML file as in the module's example.
        hash_key: keyed hash for credentials, used when the file says `key.hash = true`.

    Raises:
        ConfigError: the file cannot be read, or a name or value in it breaks its rule.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"mapping file {path}: {error.strerror or 'cannot be read'}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"mapping file {path} is no valid TOML: {error}") from None
    return Mapping(tree, str(path), hash_key)


class Mapping:
    """Parser of lines whose fields lie elsewhere; a `records.Parser`.

    Attributes:
        hashes_keys: key ids are keyed hashes of credentials in the log.
    """

    def __init__(self, tree: dict[str, Any], name: str, hash_key: Callable[[str], str]) -> None:
        _check(tree, name)
        self._fields = {field: tuple(path.split(".")) for field, path in tree["fields"].items()}
        self._defaults: dict[str, Any] = tree.get("defaults", {})
        self._unit = tree.get("time", {}).get("unit", "s")
        self.hashes_keys: bool = tree.get("key", {}).get("hash", False)
        self._hash_key = hash_key

    def __call__(self, line: bytes) -> Record:
        """A line → Record; BadInput as `records.parse`."""
        try:
            source = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(rule_of(error)) from None
        found = {field: _dig(source, path) for field, path in self._fields.items()}
        for field, default in self._defaults.items():
            if found.get(field) is None:
                found[field] = default
        for field in _NEEDED:
            if found.get(field) is None:
                place = f" (mapped to {'.'.join(self._fields[field])})" if field in self._fields else ""
                raise BadInput(f"field {field}{place} is missing")
        try:
            return msgspec.convert(self._record(found), Record)
        except msgspec.ValidationError as error:
            raise BadInput(rule_of(error)) from None

    def _record(self, found: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        response: dict[str, Any] = {}
        usage: dict[str, Any] = {}
        for field, value in found.items():
            if value is None:
                continue
            if field.startswith("response.usage."):
                usage[field.removeprefix("response.usage.")] = value
            elif field.startswith("response."):
                response[field.removeprefix("response.")] = value
            else:
                record[field] = value
        if usage:
            response["usage"] = usage
        record["ts"] = self._time(record["ts"])
        record["key"] = self._key(record["key"])
        record["path"] = str(record["path"]).partition("?")[0]
        record["request"] = _json(record["request"], "request")
        record["headers"] = _headers(record.get("headers"))
        response["body"] = _json(response.get("body"), "response.body") or None
        record["response"] = response
        return record

    def _time(self, value: Any) -> float:
        try:
            if self._unit == "iso8601":
                moment = datetime.fromisoformat(value)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            seconds = float(value) * _UNITS[self._unit]
        except (TypeError, ValueError, OverflowError):
            raise BadInput(f"field ts is no time in unit {self._unit}") from None
        if not 0 <= seconds < MAX_SEC:
            raise BadInput(f"field ts is no time in unit {self._unit}; [time] unit may be s, ms, us or iso8601")
        return seconds

    def _key(self, value: Any) -> str:
        text = str(value).removeprefix("Bearer ")
        if self.hashes_keys:
            return self._hash_key(text)
        if text.startswith("sk-"):
            raise BadInput("field key looks like a credential; set hash = true under [key] so that only its hash is used")
        return text


def _check(tree: dict[str, Any], name: str) -> None:
    def fail(text: str) -> None:
        raise ConfigError(f"mapping file {name}: {text}")

    for section, value in tree.items():
        if section not in _SECTIONS:
            fail(f"section {section} is unknown; known are {', '.join(sorted(_SECTIONS))}")
        if not isinstance(value, dict):
            fail(f"{section} must be a table")
    if "fields" not in tree:
        fail("section [fields] is missing")
    for section in ("fields", "defaults"):
        for field, value in tree.get(section, {}).items():
            if field not in _FIELDS:
                fail(f"{section}.{field} is unknown; known are {', '.join(sorted(_FIELDS))}")
            if section == "fields" and (not isinstance(value, str) or not value):
                fail(f"fields.{field} must be a dotted path in quotes")
    for field in _NEEDED:
        if field not in tree["fields"] and field not in tree.get("defaults", {}):
            fail(f"fields.{field} is missing")
    if (unit := tree.get("time", {}).get("unit", "s")) not in (*_UNITS, "iso8601"):
        fail(f"time.unit must be s, ms, us or iso8601, not {unit!r}")
    if not isinstance(tree.get("key", {}).get("hash", False), bool):
        fail("key.hash must be true or false")


def _dig(value: Any, path: tuple[str, ...]) -> Any:
    """The value at a dotted path, or None where a step is missing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _json(value: Any, field: str) -> Any:
    """Bodies are often logged as strings that hold JSON."""
    if not isinstance(value, str) or not value:
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise BadInput(f"field {field} is a string that holds no JSON") from None


def _headers(value: Any) -> dict[str, str]:
    """An object, or a list of [name, value] pairs → lower-case names, one value each."""
    pairs: list[Any] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2]
    return {str(k).lower(): ", ".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in pairs}
