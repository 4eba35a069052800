"""The would-have report: sums that are true of the archived exchanges, and Markdown that says them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.errors import BadInput
from app.offline.would_have import figures, parse_since
from app.offline.would_have_page import markdown
from app.worker.rows import Row, to_frame
from detectors.event import Event
from detectors.fingerprint import fingerprint

DAY_MS = 1_790_000_000_000
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def _row(number: int, key_id: str, action: str = "", org_id: str = "", **more: Any) -> Row:
    event = Event(
        event_id=f"{number:016x}",
        at_us=(DAY_MS + number) * 1000,
        key_id=key_id,
        org_id=org_id,
        action=action,
        input_tokens=10,
        output_tokens=90,
        **more,
    )
    return Row(f"{DAY_MS + number}-0", event, fingerprint(event))


def _write(archive: Path, rows: list[Row], without: tuple[str, ...] = ()) -> None:
    folder = archive / "day=2026-09-21"
    folder.mkdir(parents=True, exist_ok=True)
    to_frame(rows).drop(without).write_parquet(folder / f"p0001-{rows[0].entry_id}-{rows[-1].entry_id}.parquet")


def test_sums_are_those_of_the_exchanges(tmp_path: Path) -> None:
    """By action, done or only counted, by plan and by customer; what a throttle's budget refuses counts as a throttle."""
    _write(
        tmp_path,
        [
            _row(0, "a", plan="team", org_id="acme"),
            _row(1, "a", "would_throttle", plan="team", org_id="acme"),
            _row(2, "a", "would_refuse", plan="team", org_id="acme"),
            _row(3, "b", "would_suspend", plan="team", org_id="acme"),
            _row(4, "c", "throttle", plan="free", decision="limited"),
            _row(5, "c", "throttle", plan="free", decision="throttled"),
            _row(6, "d", plan="free"),
        ],
    )
    found = figures(tmp_path, DAY_MS * 1000)
    assert found is not None
    assert (found.requests, found.tokens, found.keys, found.organisations, found.would_refuse) == (7, 700, 4, 1, 1)
    told = {(one["action"], one["really"]): (one["keys"], one["organisations"], one["requests"]) for one in found.actions}
    assert told == {("throttle", True): (1, 0, 2), ("suspend", False): (1, 1, 1), ("throttle", False): (1, 1, 2)}
    assert [one["requests_share"] for one in found.actions if one["really"]] == [pytest.approx(2 / 7, abs=1e-6)]
    plans = {
        one["plan"]: (one["keys"], one["touched_keys"], one["requests"], one["touched_requests"]) for one in found.plans
    }
    assert plans == {"team": (2, 2, 4, 3), "free": (2, 1, 3, 2)}
    customers = [(one.customer, one.action, one.keys, one.requests, one.touched, one.refused) for one in found.customers]
    assert customers == [("org:acme", "suspend", 2, 4, 3, 2), ("key:c", "throttle", 1, 2, 2, 1)]
    assert found.customers[0].key_ids == ("a", "b")


def test_a_throttled_request_counts_as_refused_when_it_was(tmp_path: Path) -> None:
    """Every column of an archive whose counts are known, with throttled requests that passed and that got a 429."""
    shed = {"plan": "free", "decision": "throttled", "outcome": "refused", "status": 429}
    passed = {"plan": "free", "decision": "throttled"}
    gone = {"plan": "team", "decision": "blocked", "outcome": "stopped"}
    kinds: list[tuple[int, str, str, str, dict[str, Any]]] = [
        (5, "a", "", "throttle", shed),
        (3, "a", "", "throttle", passed),
        (2, "b", "acme", "would_throttle", {"plan": "team"}),
        (4, "b", "acme", "would_refuse", {"plan": "team"}),
        (1, "c", "acme", "cap", {**shed, "plan": "team"}),
        (2, "c", "acme", "cap", {**passed, "plan": "team"}),
        (6, "d", "", "suspend", {**shed, "decision": "blocked", "status": 403}),
        (1, "d", "", "suspend", gone),
        (7, "e", "", "", {"plan": "free", "decision": "limited", "outcome": "refused", "status": 429}),
    ]
    each = [(key, org, action, more) for times, key, org, action, more in kinds for _ in range(times)]
    _write(tmp_path, [_row(at, key, action, org, **more) for at, (key, org, action, more) in enumerate(each)])
    found = figures(tmp_path, DAY_MS * 1000)
    assert found is not None
    assert (found.requests, found.tokens, found.keys, found.organisations, found.would_refuse) == (31, 3100, 5, 1, 4)
    told = {(one["action"], one["really"]): (one["keys"], one["requests"], one["refused"]) for one in found.actions}
    assert told == {
        ("suspend", True): (1, 7, 7),
        ("cap", True): (1, 3, 1),
        ("throttle", True): (1, 8, 5),
        ("throttle", False): (1, 6, 4),
    }
    plans = {one["plan"]: tuple(one.values())[1:] for one in found.plans}
    assert plans == {"free": (3, 2, 21, 14), "team": (3, 3, 10, 10)}
    customers = [(one.customer, one.action, one.keys, one.requests, one.touched, one.refused) for one in found.customers]
    assert customers == [
        ("org:acme", "cap", 2, 9, 9, 5),
        ("key:a", "throttle", 1, 8, 8, 5),
        ("key:d", "suspend", 1, 7, 7, 7),
    ]


def test_only_the_period_counts_and_files_of_an_earlier_release_are_read(tmp_path: Path) -> None:
    """Exchanges before the time are left out, and a file without actions has none."""
    _write(tmp_path, [_row(0, "a"), _row(1, "a")], without=("action",))
    _write(tmp_path, [_row(2, "b", "throttle"), _row(3, "b")])
    found = figures(tmp_path, (DAY_MS + 1) * 1000)
    assert found is not None
    assert (found.requests, [one["requests"] for one in found.actions]) == (3, [1])
    assert found.until_us == (DAY_MS + 3) * 1000


def test_no_archive_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    """A folder that is not there cannot be reported from; one without files says that nothing was asked."""
    assert figures(tmp_path / "missing", 0) is None
    found = figures(tmp_path, 0)
    assert found is not None
    assert (found.requests, found.customers) == (0, ())


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    """The report says that the archive cannot be read instead of leaving a part out."""
    _write(tmp_path, [_row(0, "a")])
    next(tmp_path.glob("day=*/*.parquet")).write_bytes(b"PAR1 no more")
    with pytest.raises(BadInput, match="cannot be read"):
        figures(tmp_path, 0)


def test_times_are_read_as_people_write_them() -> None:
    """So long ago, a day, or a time with its zone; nothing in the future or beyond the bound."""
    assert parse_since("30m", NOW) == NOW - timedelta(minutes=30)
    assert parse_since("7d", NOW) == NOW - timedelta(days=7)
    assert parse_since("2026-11-24", NOW) == datetime(2026, 11, 24, tzinfo=UTC)
    assert parse_since("2026-11-24T08:00:00Z", NOW) == datetime(2026, 11, 24, 8, tzinfo=UTC)
    for text in ("91d", "0m", "2026-11-26", "2026-13-01", "yesterday", "", "9999d"):
        with pytest.raises(BadInput, match="since"):
            parse_since(text, NOW)


def test_the_page_says_what_the_sums_say() -> None:
    """Markdown tables with shares; a bar in a name cannot break them; without an archive one sentence."""
    report: dict[str, Any] = {
        "since": "2026-11-24T12:00:00Z",
        "until": "2026-11-25T12:00:00Z",
        "known": True,
        "policy_digest": "00ff",
        "mode": "shadow",
        "requests": 4000,
        "tokens": 100,
        "keys": 2,
        "organisations": 1,
        "would_refuse": 3,
        "actions": [
            {
                "action": "throttle", "really": False, "keys": 1, "organisations": 1, "requests": 1000,
                "refused": 3, "tokens": 25, "requests_share": 0.25, "tokens_share": 0.25,
            }
        ],
        "plans": [{"plan": "", "keys": 2, "touched_keys": 1, "requests": 4000, "touched_requests": 1000}],
        "customers": [
            {
                "customer": "org:acme", "keys": 1, "plan": "team", "action": "throttle", "requests": 2000,
                "touched_requests": 1000, "refused": 3, "level": "suspect", "reason": "a | b",
            }
        ],
    }  # fmt: skip
    text = markdown(report)
    assert "| throttle | only counted | 1 | 1 | 1,000 | 25.00% | 3 | 25 | 25.00% |" in text
    assert "Who asked is not told apart" in text
    assert "would have refused 3 of the requests only counted" in text
    assert "| org:acme | team | throttle | 1 | 2,000 | 1,000 | 3 | suspect | a \\| b |" in text
    assert "| (none) | 2 | 1 | 4,000 | 1,000 |" in text
    assert "No action touched" in markdown({**report, "actions": [], "customers": []})
    assert "no archive" in markdown({**report, "known": False})


def test_a_file_holds_the_columns_that_are_read() -> None:
    """The archive's schema has every column that the report needs, of the type it sums."""
    from app.offline.would_have import _COLUMNS
    from app.worker.rows import SCHEMA

    assert set(_COLUMNS) <= set(SCHEMA)
    assert SCHEMA["action"] == pl.String()
