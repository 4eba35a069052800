"""The report an analyst reads, and its pictures."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from app.offline import report
from app.offline.records import BadLines
from app.offline.replay import Run
from app.offline.tracks import Track, Tracks
from detectors.catalogue import CATALOGUE
from detectors.contract import Level, Reason, Status, Verdict
from detectors.event import Event
from detectors.looks import Dated

START_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


def _tracks(keys: int = 40, flagged: int = 16, name: str = "k_{:018x}") -> list[Track]:
    dice = random.Random(3)
    book = Tracks()
    for number in range(keys):
        key = name.format(number * 0x9E3779B97F4A7C15 % 16**18)
        track = book.of(key)
        bad = number < flagged
        for hour in range(48):
            at_us = START_US + hour * HOUR_US
            for _ in range(dice.randrange(40 if bad else 4)):
                track.saw(Event(event_id="", at_us=at_us, key_id=key, org_id="o", plan=("payg", "team")[number % 2]), True)
            score = min(1.0, 0.05 * hour + dice.random() * 0.1) if bad else dice.random() ** 4 * 0.8
            level = Level.CONFIRMED if score > 0.97 and bad else Level.SUSPECT if score > 0.9 else Level.CLEAR
            reasons = tuple(
                Reason(feature.name, 1.0, 99.0, "high", 0.5, f"{feature.name} is far above that of its peers.")
                for feature in dice.sample(CATALOGUE, 2)
            )
            track.said(Verdict(key, "key", Status.JUDGED, score, level, at_us, at_us, None, reasons, (), 7, 9, False, "m"))
    return book.ranked()


def _page(ranked: list[Track], notes: tuple[str, ...] = ()) -> report.Page:
    run = Run("log|of _things_.jsonl", START_US, START_US + 48 * HOUR_US, START_US, "abc123", True, 5000, 100)
    return report.Page(run, ranked, BadLines(0.01), notes)


def test_a_report_has_its_parts_and_every_picture_it_shows(tmp_path: Path) -> None:
    """Scores, timelines and deciding features are there; each picture that is referred to is a PNG of a readable size."""
    text = report.write(tmp_path, _page(_tracks())).read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == ["Scores and levels", "Flagged keys", "What decided", "Reasons", "Input", "How to read this"]
    pictures = re.findall(r"!\[[^]]+\]\((\S+)\)", text)
    assert pictures == ["scores.png", "levels.png", "timelines.png", "features.png"]
    for name in pictures:
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        assert 600 <= width <= 2000
        assert 150 <= height <= 3000


def test_the_same_tracks_give_the_same_bytes(tmp_path: Path) -> None:
    """Text and pictures hold no date and no version of a library."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        report.write(tmp_path / name, _page(_tracks(flagged=3)))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_nothing_flagged_and_nothing_judged_are_reports_too(tmp_path: Path) -> None:
    """A calm log has no flagged keys and no pictures of them; a log of a few requests says that it showed too little."""
    text = report.write(tmp_path, _page(_tracks(flagged=0))).read_text()
    assert "**0** keys" in text
    assert "timelines.png" not in text
    strangers = Tracks()
    strangers.of("k").saw(Event(event_id="", at_us=START_US, key_id="k"), True)
    text = report.write(tmp_path, _page(strangers.ranked())).read_text()
    assert "1 of them showed too little to be judged" in text
    assert ".png" not in text


@pytest.mark.parametrize("name", ["$x_{{{}}}$", "a|b`{}", "<b>{}</b>", "[x](y){}", "_{}_*z*\n# T", "钥匙{}"])
def test_names_from_the_log_cannot_break_the_page(name: str, tmp_path: Path) -> None:
    """Whatever a key is called: no table is broken, no tag or heading begins, and the pictures are drawn."""
    text = report.write(tmp_path, _page(_tracks(keys=4, flagged=2, name=name), ("note of <b>|",))).read_text()
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len([row for row in rows if len(re.findall(r"(?<!\\)\|", row)) == 10]) == 2
    assert not re.search(r"(?<![\\`])<b>", re.sub(r"`[^`]*`", "", text))


def test_many_plans_become_others(tmp_path: Path) -> None:
    """A log with a plan per customer shows the largest ones and one line for the rest."""
    ranked = _tracks(flagged=1)
    for number, track in enumerate(ranked):
        track.plan = f"plan-{number}"
    text = report.write(tmp_path, _page(ranked)).read_text()
    assert "| others |" in text


def test_notes_and_bad_lines_are_told(tmp_path: Path) -> None:
    """What was wrong with the input stands in the report, with the first lines and their rules."""
    page = _page(_tracks(keys=3, flagged=0), ("1 of 9 lines could not be used",))
    page.bad.total = 9
    page.bad.add(4, "$.ts is missing")
    text = report.write(tmp_path, page).read_text()
    assert "- 1 of 9 lines could not be used" in text
    assert "- line 4: $.ts is missing" in text


def test_looks_are_told_with_whom_they_call(tmp_path: Path) -> None:
    """What was frozen at each look, and the keys of the newest; that the model is old; nothing without a look."""
    page = _page(_tracks(flagged=0))
    assert "Looks at the whole fleet" not in report.write(tmp_path, page).read_text()
    page.run.looks = [
        Dated(1, START_US, {"weekend_share": 0}, True, 150, 300, 0, 0.0),
        Dated(2, START_US + 24 * HOUR_US, {}, False, 160, 310, 2, 0.001),
    ]
    page.run.called = [("k|1", 0.0001), ("k2", 0.001)]
    text = report.write(tmp_path, page).read_text()
    assert "| 150 | `weekend_share`; more moved than may be frozen | 300 | 0 |" in text
    assert "| `k¦1` | 0.0001 |" in text
    assert "The model is of other days" not in text
    page.run.looks.pop()
    assert "The model is of other days" in report.write(tmp_path, page).read_text()
