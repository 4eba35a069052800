"""What is remembered of each key, and the verdict file made of it."""

from __future__ import annotations

import json
from pathlib import Path

from app.offline import tracks, verdicts
from app.offline.tracks import Tracks
from detectors.contract import Level, Reason, Status, Verdict


def _verdict(key: str, at_us: int, score: float, level: Level, status: Status = Status.JUDGED, why: str = "") -> Verdict:
    reasons = (Reason("f", 1.0, None, "high", 1.0, why),) if why else ()
    return Verdict(key, "key", status, score, level, at_us, at_us, None, reasons, (), 0, 10, False, "m")


def test_the_highest_score_and_level_and_the_first_alarm_are_kept() -> None:
    """An alarm that fades stays an alarm, with the time and the reasons it had at its worst."""
    track = Tracks().of("k")
    track.said(_verdict("k", 1, 0.2, Level.CLEAR, why="calm"))
    track.said(_verdict("k", 2, 0.9, Level.SUSPECT, why="worst"))
    track.said(_verdict("k", 3, 0.8, Level.SUSPECT, why="later"))
    track.said(_verdict("k", 4, 0.1, Level.CLEAR, why="over"))
    assert (track.score, track.level, track.flagged_us) == (0.9, Level.SUSPECT, 2)
    assert [reason.text for reason in track.reasons] == ["worst"]


def test_a_key_that_is_warming_up_scores_zero() -> None:
    """Too little evidence is a status: the key is in the file with score 0 and is not flagged."""
    track = Tracks().of("k")
    track.said(_verdict("k", 1, 0.0, Level.CLEAR, Status.WARMING_UP))
    assert not track.judged
    assert verdicts.line(track) == {
        "key": "k",
        "score": 0.0,
        "level": "clear",
        "first_ts": None,
        "campaign": None,
        "reasons": [],
    }


def test_keys_are_ranked_by_level_score_and_id() -> None:
    """The order is total, so two runs write the same bytes."""
    book = Tracks()
    for key, score, level in [("b", 0.5, Level.CLEAR), ("a", 0.5, Level.CLEAR), ("c", 0.4, Level.SUSPECT)]:
        book.of(key).said(_verdict(key, 1, score, level))
    assert [track.key_id for track in book.ranked()] == ["c", "a", "b"]


def test_a_timeline_is_thinned_but_keeps_changes_of_level() -> None:
    """However many verdicts, the points stay bounded, in order, and every change of level is among them."""
    track = Tracks().of("k")
    for at in range(10_000):
        track.said(_verdict("k", at, 0.5, Level.SUSPECT if at == 5_001 else Level.CLEAR))
    assert len(track.points) <= tracks.MAX_POINTS + 1
    assert [point.at_us for point in track.points] == sorted(point.at_us for point in track.points)
    assert any(point.at_us == 5_001 and point.level is Level.SUSPECT for point in track.points)


def test_the_files_have_one_json_line_per_key_and_no_campaign_where_none_was_found(tmp_path: Path) -> None:
    """Times are unix seconds; a log without a campaign has an empty list."""
    book = Tracks()
    book.of("k").said(_verdict("k", 1_500_000, 0.9, Level.CONFIRMED, why="because"))
    verdicts.write_campaigns(tmp_path, [])
    lines = verdicts.write_verdicts(tmp_path, book.ranked()).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"key": "k", "score": 0.9, "level": "confirmed", "first_ts": 1.5, "campaign": None, "reasons": ["because"]}
    ]
    assert (tmp_path / "campaigns.jsonl").read_bytes() == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["campaigns.jsonl", "verdicts.jsonl"]
