"""Progress of a long job."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.offline import progress


def test_nobody_watching_is_nothing_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a console there is no output at all."""
    with progress.meter(None) as meter:
        meter.stage("History")
        meter.at(0.5, 10)
    assert capsys.readouterr() == ("", "")


def test_a_file_gets_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line per stage at once; share, count, rate and time left no more often than stated."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    written = io.StringIO()
    with progress.meter(Console(file=written, width=200)) as meter:
        meter.stage("History")
        for second in range(31):
            now = 100.0 + second
            meter.at(second / 60, second * 1000)
    lines = written.getvalue().splitlines()
    assert lines == [
        "History",
        "History: 25%, 15,000 events, now 1,000/s, about 45 s left",
        "History: 50%, 30,000 events, now 1,000/s, about 30 s left",
    ]


def test_a_later_stage_is_measured_from_its_own_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share and count go on from the stage before; rate and time left are those of the stage."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    written = io.StringIO()
    with progress.meter(Console(file=written, width=200)) as meter:
        meter.stage("History")
        meter.at(0.4, 9000)
        meter.stage("Judging", 0.4, 9000)
        for second in range(16):
            now = 100.0 + second
            meter.at(0.4 + (1 + second) / 100, 10_000 + second * 1000)
    assert written.getvalue().splitlines()[2] == "Judging: 56%, 25,000 events, now 1,067/s, about 41 s left"


def test_a_terminal_gets_a_bar_for_each_stage() -> None:
    """Both stages are drawn, with count and rate; a finished stage ends full."""
    written = io.StringIO()
    with progress.meter(Console(file=written, force_terminal=True, width=120)) as meter:
        meter.stage("History")
        meter.at(0.4, 4000)
        meter.stage("Judging", 0.4, 4000)
        meter.at(0.9, 9000)
    shown = written.getvalue()
    for part in ("History", "Judging", "4,000 events", "100 %"):
        assert part in shown


@pytest.mark.parametrize("width", [80, 120])
def test_a_line_is_whole_on_a_usual_screen(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count, rate and time left of a large log are not cut."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    written = io.StringIO()
    with progress.meter(Console(file=written, force_terminal=True, width=width, color_system=None)) as meter:
        meter.stage("Finding the time span")
        now = 110.0
        meter.at(0.4, 1_234_567)
    shown = written.getvalue()
    assert "1,234,567 events, now 123,457/s" in shown
    assert "…" not in shown
    assert any(":" in line.split("/s")[-1] for line in shown.splitlines() if "/s" in line)
