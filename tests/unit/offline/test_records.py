"""Records of a request log and the rules they must keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput
from app.offline import records
from app.offline.records import BadLines
from app.offline.source import LogFile


def _line(**changes: Any) -> dict[str, Any]:
    record = {
        "ts": 1770163200.02,
        "key": "k_1",
        "path": "/v1/chat/completions",
        "ip": "10.0.0.1",
        "headers": {"user-agent": "x"},
        "request": {"model": "m", "messages": [{"role": "user", "content": "SECRET"}]},
        "response": {"status": 200, "latency_ms": 10.0, "usage": {"input_tokens": 1, "output_tokens": 2}},
    }
    return record | changes


def _parse(value: Any) -> records.Record:
    return records.parse(json.dumps(value).encode())


def test_a_record_of_the_benchmark_is_read_with_its_types() -> None:
    """Numbers, tokens and headers come out as the schema says; unknown fields are skipped."""
    record = _parse(_line(more={"x": 1}))
    assert (record.ts, record.key, record.response.status) == (1770163200.02, "k_1", 200)
    assert record.response.usage is not None
    assert record.response.usage.output_tokens == 2
    assert record.response.text is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"ts": "SECRET"}, "ts must be"),
        ({"ts": 1770163200020.0}, "ts must be"),
        ({"key": ""}, "$.key"),
        ({"key": 7}, "$.key"),
        ({"request": "SECRET"}, "$.request"),
        ({"response": {"latency_ms": 1}}, "status"),
        ({"response": {"status": 200, "usage": {"input_tokens": -1}}}, "input_tokens"),
        ({"headers": {"a": 1}}, "$.headers"),
    ],
)
def test_a_bad_field_is_named_with_its_rule_and_not_quoted(changes: dict[str, Any], rule: str) -> None:
    """The message names the field; it never repeats the value."""
    with pytest.raises(BadInput) as caught:
        _parse(_line(**changes))
    assert rule in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (_line(ts=1770163200020.0), "ts must be unix seconds (for other units use a mapping file, [time] unit)"),
        (_line(ts="2026-02-04T00:00:00Z"), "ts must be unix seconds (for other units use a mapping file, [time] unit)"),
        ({"time": 1}, "field ts is missing (for a log of another format say with --mapping where its fields are)"),
        (
            _line(response={"latency_ms": 1}),
            "field response.status is missing (for a log of another format say with --mapping where its fields are)",
        ),
    ],
)
def test_what_another_log_format_breaks_leads_to_the_mapping(line: dict[str, Any], rule: str) -> None:
    """Times in another unit and fields of other names are what a mapping file is for."""
    with pytest.raises(BadInput) as caught:
        _parse(line)
    assert str(caught.value) == rule
    if "ts" in rule.split()[:2]:
        with pytest.raises(BadInput) as caught:
            records.parse_time(json.dumps(line).encode())
        assert str(caught.value) == rule


@pytest.mark.parametrize("line", [b"{", b"nonsense", b"[]", b'{"ts": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused_without_a_crash(line: bytes) -> None:
    """Any bytes give BadInput and nothing else."""
    with pytest.raises(BadInput):
        records.parse(line)
    with pytest.raises(BadInput):
        records.parse_time(line)


def test_bad_lines_are_counted_with_number_and_rule(tmp_path: Path) -> None:
    """A few bad lines are left out, counted, and the good ones still read."""
    path = tmp_path / "log.jsonl"
    good = json.dumps(_line())
    path.write_text("\n".join([good, "{", *[good] * 97, '{"ts": 1}']))
    bad = BadLines(0.05)
    assert sum(1 for _ in records.read(LogFile(path), bad)) == 98
    assert (bad.bad, bad.total) == (2, 100)
    assert [number for number, _ in bad.examples] == [2, 100]


def test_too_many_bad_lines_are_one_clear_error(tmp_path: Path) -> None:
    """Above the stated share the run stops, with the first line's number and rule."""
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(["{"] * 1000))
    with pytest.raises(
        BadInput, match=r"200 of the first 200 lines break the format \(at most 1\.0% may\); the first is line 1"
    ):
        list(records.read(LogFile(path), BadLines(0.01)))


def test_a_short_log_of_bad_lines_is_refused_at_its_end(tmp_path: Path) -> None:
    """The share is also checked when a log is too short for the check along the way."""
    path = tmp_path / "log.jsonl"
    path.write_text("{\n{\n")
    with pytest.raises(BadInput, match="2 of the first 2 lines"):
        list(records.read(LogFile(path), BadLines(0.01)))
