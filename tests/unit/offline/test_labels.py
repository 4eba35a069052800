"""Labels beside a replay: what of them is used, and what a wrong file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import BadInput
from app.offline.labels import Labelled, by_stratum, load


def _file(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def _line(key_id: str, label: str, day: int = 1, **more: object) -> dict[str, object]:
    return {"key_id": key_id, "label": label, "at": f"2026-09-{day:02d}T00:00:00Z", "by": "ann", **more}


def test_the_last_label_of_a_key_counts_if_it_is_sure(tmp_path: Path) -> None:
    """In whatever order the lines come; one that its giver doubts changes nothing."""
    found = load(
        _file(
            tmp_path,
            _line("a", "benign", 3),
            _line("a", "abusive", 2),
            _line("b", "benign", 1),
            _line("b", "abusive", 2, weight=0.8),
            _line("b", "benign", 3, weight=0.4),
            _line("c", "abusive", 1, weight=0.4),
        )
    )
    assert (found.benign, found.abusive) == ({"a"}, {"b"})
    assert [found.of(key) for key in "abc"] == ["benign", "abusive", None]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "not a complete JSON value"),
        (_line("a", "nice"), "Invalid enum value"),
        (_line("a", "benign", weight=2), "<= 1"),
        ({"key_id": "a", "label": "benign"}, "field at is missing"),
        ({"key_id": "a", "label": "benign", "at": "2026-09-01T00:00:00"}, "time zone"),
    ],
)
def test_a_wrong_line_is_named_with_its_rule(tmp_path: Path, line: object, rule: str) -> None:
    """A label that is misread would silently change what is normal, so nothing is used."""
    with pytest.raises(BadInput, match="line 2") as told:
        load(_file(tmp_path, _line("a", "benign"), line))
    assert rule in str(told.value)


def test_false_positives_are_counted_by_stratum() -> None:
    """Keys without enough evidence count nowhere."""
    labelled = [
        Labelled("a", "benign", "payg/new/chat", True, True),
        Labelled("b", "benign", "payg/new/chat", True, False),
        Labelled("c", "benign", "team/settled/batch", True, False),
        Labelled("d", "benign", "team/settled/batch", False, False),
        Labelled("e", "abusive", "payg/new/chat", True, True),
    ]
    assert by_stratum(labelled, "benign") == [("payg/new/chat", 2, 1), ("team/settled/batch", 1, 0)]
    assert by_stratum(labelled, "abusive") == [("payg/new/chat", 1, 1)]
