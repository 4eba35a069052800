"""Foreign access logs through a mapping file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput, ConfigError
from app.offline import mapping
from app.offline.records import Parser

MAPPING = """
[fields]
ts = "time"
key = "auth.key"
path = "http.path"
request = "http.body"
headers = "http.headers"
"response.status" = "http.status"
"response.body" = "answer"
"response.latency_ms" = "took.0"

[time]
unit = "iso8601"
"""


def _parser(tmp_path: Path, text: str = MAPPING) -> Parser:
    path = tmp_path / "map.toml"
    path.write_text(text)
    return mapping.load(path, lambda secret: f"h{len(secret)}")


def _line(**changes: Any) -> bytes:
    source = {
        "time": "2026-02-04T00:00:01.5Z",
        "auth": {"key": "team-7"},
        "http": {
            "path": "/v1/chat/completions?x=1",
            "status": 200,
            "headers": {"User-Agent": ["a", "b"]},
            "body": json.dumps({"model": "m", "messages": []}),
        },
        "answer": {
            "object": "chat.completion",
            "model": "m-1",
            "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 3}},
        },
        "took": [12.5],
    }
    return json.dumps(source | changes).encode()


def test_fields_are_found_where_the_file_says(tmp_path: Path) -> None:
    """Dotted paths, ISO times, JSON in strings and repeated headers all become our record."""
    record = _parser(tmp_path)(_line())
    assert record.ts == 1770163201.5
    assert (record.key, record.path) == ("team-7", "/v1/chat/completions")
    assert record.headers == {"user-agent": "a, b"}
    assert record.request == {"model": "m", "messages": []}
    assert (record.response.status, record.response.latency_ms) == (200, 12.5)
    assert record.response.body is not None
    assert record.response.body["model"] == "m-1"


def test_a_default_is_used_where_a_line_lacks_the_field(tmp_path: Path) -> None:
    """A log of one endpoint need not name it in every line."""
    parse = _parser(tmp_path, MAPPING + '[defaults]\npath = "/v1/messages"\n')
    assert parse(_line(http={"status": 200, "body": {}})).path == "/v1/messages"


def test_a_missing_field_is_named_with_its_place(tmp_path: Path) -> None:
    """The rule says our field and where it was looked for."""
    with pytest.raises(BadInput, match=r"field key \(mapped to auth\.key\) is missing"):
        _parser(tmp_path)(_line(auth={}))


def test_a_credential_is_refused_unless_it_is_to_be_hashed(tmp_path: Path) -> None:
    """A raw secret never becomes a key id: it is refused, or replaced by its keyed hash."""
    line = _line(auth={"key": "Bearer sk-0123456789"})
    with pytest.raises(BadInput, match="looks like a credential") as caught:
        _parser(tmp_path)(line)
    assert "0123456789" not in str(caught.value)
    assert _parser(tmp_path, MAPPING + "[key]\nhash = true\n")(line).key == "h13"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('ts = "time"', "", "fields.ts is missing"),
        ('ts = "time"', 'tss = "time"', "fields.tss is unknown"),
        ('ts = "time"', "ts = 3", "fields.ts must be a dotted path"),
        ('unit = "iso8601"', 'unit = "hours"', "time.unit must be"),
        ("[time]", "[times]", "section times is unknown"),
        ("[fields]", "[fields", "no valid TOML"),
    ],
)
def test_a_bad_mapping_file_is_one_sentence(tmp_path: Path, old: str, new: str, rule: str) -> None:
    """The error names the entry and its rule."""
    with pytest.raises(ConfigError, match=rule):
        _parser(tmp_path, MAPPING.replace(old, new))


@pytest.mark.parametrize(("unit", "value"), [("s", 1770163201.5), ("ms", 1770163201500), ("us", 1770163201500000)])
def test_times_are_read_in_the_stated_unit(tmp_path: Path, unit: str, value: float) -> None:
    """Seconds, milliseconds and microseconds give the same record."""
    record = _parser(tmp_path, MAPPING.replace("iso8601", unit))(_line(time=value))
    assert record.ts == pytest.approx(1770163201.5)


@pytest.mark.parametrize(("unit", "value"), [("s", 1770163201500), ("ms", 1770163201500000000), ("s", -1), ("ms", "nan")])
def test_a_time_in_another_unit_is_told_with_the_setting(tmp_path: Path, unit: str, value: float | str) -> None:
    """A time that no calendar has leads to the unit in the mapping, not to another mapping."""
    with pytest.raises(BadInput, match=rf"^field ts is no time in unit {unit}; \[time\] unit may be s, ms, us or iso8601$"):
        _parser(tmp_path, MAPPING.replace("iso8601", unit))(_line(time=value))
