"""Damaged, odd and empty logs: everything usable is used, everything else is told in a sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput
from app.gateway.identity import Identifier
from app.gateway.observe import TextLimits
from app.offline import replay
from app.offline.exchange import EventBuilder
from app.offline.feeds import LogFeed
from app.offline.history import TooLittleHistory
from app.offline.records import BadLines
from app.settings import IdentitySettings
from detectors import model as models

Make = Callable[..., dict[str, Any]]
Write = Callable[[list[Any]], Path]
RULES = replay.Plan(model=models.rules_only())


def _feed(path: Path) -> LogFeed:
    identifier = Identifier(IdentitySettings.model_validate({"pepper": "a pepper for tests"}), None)
    return LogFeed(path, EventBuilder({}, identifier, TextLimits(), "default"), BadLines(0.01))


def _play(path: Path, plan: replay.Plan = RULES) -> tuple[replay.Outcome, LogFeed]:
    feed = _feed(path)
    outcome = replay.play(feed, plan, path.name)
    outcome.states.close()
    return outcome, feed


def test_every_key_of_a_log_is_ranked(record: Make, write_log: Write) -> None:
    """All exchanges are counted, and the states are those of every key."""
    outcome, feed = _play(write_log([record(number) for number in range(90)]))
    assert {track.key_id: track.requests for track in outcome.ranked} == {"k_0": 30, "k_1": 30, "k_2": 30}
    assert (outcome.run.events, outcome.run.warmup_events) == (90, 0)
    assert outcome.run.end_us - outcome.run.start_us == 89 * 60_000_000
    assert feed.notes == []


def test_a_cut_gzip_gives_what_was_whole(record: Make, tmp_path: Path) -> None:
    """A log that breaks off is judged up to the break, with a note that names the place."""
    data = gzip.compress("".join(json.dumps(record(number)) + "\n" for number in range(3000)).encode())
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(data[: len(data) * 2 // 3])
    outcome, feed = _play(path)
    assert 1000 < outcome.run.events < 2999
    rest = f"the {outcome.run.events:,} whole lines before that place were used"
    assert feed.notes == [f"cut.jsonl.gz ends in the middle of its gzip stream; {rest}"]


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "nonsense",
        "[]",
        '"text"',
        "\x00",
        '{"ts": 1e400}',
        {"ts": "1790000000"},
        {"key": None},
        {"path": "/v1/../admin"},
        {"request": {"messages": [{"role": "user", "content": [{"n": 1 << 70}]}]}},
        {"response": {"status": "200"}},
        {"response": {"status": 200, "usage": {"output_tokens": 1.5}}},
    ],
)
def test_one_bad_line_loses_no_other(bad: Any, record: Make, write_log: Write) -> None:
    """Whatever a line holds, the others are used; the bad one is counted with its number and rule, and never quoted."""
    lines: list[Any] = [record(number) for number in range(12)]
    lines.insert(5, record(5, **bad) if isinstance(bad, dict) else bad)
    outcome, feed = _play(write_log(lines))
    assert outcome.run.events == 12
    assert (feed.bad.bad, feed.bad.total, feed.bad.examples[0][0]) == (1, 13, 6)
    assert "SECRET" not in feed.bad.examples[0][1]


@pytest.mark.parametrize(
    "changes",
    [
        {"request": {}},
        {"request": {"model": 7, "messages": "SECRET", "n": -3, "max_tokens": "many", "temperature": [1]}},
        {"request": {"messages": [None, 3, {"role": 5, "content": {"a": 1}}, {"content": [{"text": 5}]}]}},
        {"response": {"status": 200, "tool_calls": [1, None], "text": "", "finish_reason": ""}},
        {"response": {"status": 200, "body": {"choices": "none", "usage": [1]}}},
        {"headers": {"user-agent": "\u00e9\u4e2d", "x-stainless-retry-count": "many"}},
        {"ip": "not an address"},
        {"path": "/v1/models?limit=3"},
    ],
)
def test_bodies_of_wrong_types_are_exchanges_too(changes: dict[str, Any], record: Make, write_log: Write) -> None:
    """A body the upstream would refuse is no bad line: it is what a client sent, and every field has its type."""
    lines = [record(number, **changes) for number in range(20)]
    outcome, feed = _play(write_log(lines))
    assert (outcome.run.events, feed.bad.bad) == (20, 0)


def test_times_out_of_order_are_taken_in_the_logs_order_and_counted(record: Make, write_log: Write) -> None:
    """Nothing is dropped or sorted; a note says how many stand more than a minute behind a younger one."""
    outcome, feed = _play(write_log([record(number) for number in reversed(range(30))]))
    assert outcome.run.events == 30
    assert outcome.run.end_us - outcome.run.start_us == 29 * 60_000_000
    assert feed.notes == ["28 exchanges stand more than a minute behind a younger one; the log's order was kept"]


def test_late_history_still_counts_for_the_profile(record: Make, write_log: Write) -> None:
    """An exchange from before the border that stands behind it is history: counted, and never judged."""
    lines = [record(number) for number in (*range(30), 3, *range(30, 60))]
    border = round((1_790_000_000 + 60 * 20) * 1e6)
    outcome, _ = _play(write_log(lines), replay.Plan(warmup_until_us=border, model=models.rules_only()))
    assert (outcome.run.events, outcome.run.warmup_events) == (61, 21)
    assert sum(track.warmup_requests for track in outcome.ranked) == 21
    assert sum(track.requests for track in outcome.ranked) == 40


@pytest.mark.parametrize("content", [b"", b"\n\n \n", gzip.compress(b"", mtime=0)], ids=["nothing", "blank", "gzip"])
@pytest.mark.parametrize("plan", [RULES, replay.Plan(), replay.Plan(warmup_until_us=5)])
def test_an_empty_log_is_one_sentence(content: bytes, plan: replay.Plan, tmp_path: Path) -> None:
    """However the warm-up is set, the sentence is about the log."""
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"empty\.jsonl|not a complete JSON value"):
        _play(path, plan)


@pytest.mark.parametrize("plan", [RULES, replay.Plan(), replay.Plan(warmup_until_us=5)])
def test_a_file_of_another_format_is_one_sentence(plan: replay.Plan, write_log: Write) -> None:
    """The first line's number and rule are named, not its content."""
    with pytest.raises(BadInput, match=r"2 of the first 2 lines break the format .* line 1: not a complete JSON value"):
        _play(write_log(["SECRET, words", "1, 2"]), plan)


def test_a_warm_up_after_the_end_says_when_the_log_ends(record: Make, write_log: Write) -> None:
    """Nothing would be judged, so nothing is written."""
    path = write_log([record(number) for number in range(10)])
    with pytest.raises(BadInput, match=r"until 2033-05-18 03:33 UTC, but the last exchange of log\.jsonl is of 2026-09-21"):
        _play(path, replay.Plan(warmup_until_us=2_000_000_000_000_000, model=models.rules_only()))


def test_a_warm_up_before_the_start_says_when_the_log_begins(record: Make, write_log: Write) -> None:
    """Without history and without a saved model there is nothing to judge with."""
    path = write_log([record(number) for number in range(10)])
    with pytest.raises(BadInput, match=r"but the first exchange of log\.jsonl is of 2026-09-21"):
        _play(path, replay.Plan(warmup_until_us=1_000_000))


@pytest.mark.parametrize("border", [None, 1_790_000_300_000_000, 2_000_000_000_000_000])
def test_too_little_history_says_how_much_there_is(border: int | None, record: Make, write_log: Write) -> None:
    """The sentence tells what was found and what to do."""
    path = write_log([record(number) for number in range(40)])
    with pytest.raises(TooLittleHistory, match="let the warm-up end later, or judge with a saved model"):
        _play(path, replay.Plan(warmup_until_us=border))


def test_states_on_disk_change_nothing(record: Make, write_log: Write) -> None:
    """However few states stay in memory, the tracks and every state are the same."""
    lines = [record(number, key=f"k_{number * 7 % 40}") for number in range(600)]
    path = write_log(lines)
    found = []
    for hot in (2, 1000):
        outcome = replay.play(_feed(path), replay.Plan(model=models.rules_only(), hot_states=hot), "log")
        found.append((outcome.ranked, {name: state.to_bytes() for name, state in outcome.states.items()}))
        outcome.states.close()
    assert [track.score for track in found[0][0]] == [track.score for track in found[1][0]]
    assert found[0][1] == found[1][1]
