"""The table of the demonstration on screens of usual widths, and on a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from app.demo import cast, screen, show
from app.demo.findings import Finding
from app.errors import ConfigError, StillwatchError
from app.simulate.traffic.player import Tally

REASON = "The share of exchanges that ask for the reasoning to be written out is 1.00; no comparable key is as high."
HEADS = ("planted as", "key", "level", "score", "requests", "action")
WIDER = ("limited", "leaked")


def _findings() -> list[Finding]:
    """All of the cast, with the longest values that occur."""
    found = []
    for client in cast.live(1):
        level, action = ("confirmed", "throttle") if client.kind.attack else ("warming up", "observe")
        tally = Tally(sent=12_345, answered=12_000, limited=345)
        found.append(Finding(client, "0123456789abcdef", level, 0.998, 1234, action, (REASON, "Two.", "Three."), tally))
    return found


@pytest.fixture
def shown() -> Callable[..., list[str]]:
    """Lines of the final table."""

    def shown(width: int, findings: list[Finding], *, terminal: bool = True) -> list[str]:
        file = io.StringIO()
        view = Console(file=file, width=width, highlight=False, force_terminal=terminal, color_system=None)
        screen.result(view, findings)
        return file.getvalue().splitlines()

    return shown


@pytest.mark.parametrize("width", [80, 120, 160])
def test_every_row_is_whole(shown: Callable[..., list[str]], width: int) -> None:
    """Nothing is cut and no line is longer than the screen; a narrow one does without two columns."""
    findings = _findings()
    lines = shown(width, findings)
    text = "\n".join(lines)
    assert "…" not in text
    assert max(map(len, lines)) <= width
    head = next(line for line in lines if "planted as" in line)
    assert all(name in head for name in HEADS)
    assert [name in head for name in WIDER] == [width >= screen.NARROW_CHARS] * 2
    for found in findings:
        (row,) = [line for line in lines if line.strip().startswith(f"{found.client.name} ")]
        assert all(cell in row for cell in ("01234567", found.level, "0.998", "12,345", found.action))


@pytest.mark.parametrize("width", [80, 120, 160])
def test_two_reasons_are_shown_on_any_width(shown: Callable[..., list[str]], width: int) -> None:
    """In the table where there is room, else below it, whole; a key that is not judged has none, and markup is text."""
    findings = _findings()
    findings[-1] = Finding(
        findings[-1].client,
        "0123456789abcdef",
        "suspect",
        0.9,
        0,
        "observe",
        ("One [bold]reason[/] .", "Two.", "3."),
        Tally(),
    )
    lines = shown(width, findings)
    text = " ".join(" ".join(lines).split())
    attackers = sum(found.client.kind.attack for found in findings)
    assert text.count("Two.") == attackers
    assert "Three." not in text
    assert "One [bold]reason[/] ." in text
    if width < screen.WIDE_CHARS:
        assert text.count(REASON) == attackers - 1


@pytest.mark.parametrize("width", [80, 160])
def test_a_pipe_gets_no_filling(shown: Callable[..., list[str]], width: int) -> None:
    """No line ends in spaces."""
    assert not [line for line in shown(width, _findings(), terminal=False) if line != line.rstrip()]


def test_a_low_screen_shows_the_attackers() -> None:
    """Where the live table has no room for all rows, honest keys make room for those that are to be caught."""
    file = io.StringIO()
    view = Console(file=file, width=80, height=24, highlight=False, force_terminal=True, color_system=None)
    findings = _findings()
    with Live(console=view, auto_refresh=False, transient=True) as live:
        screen._Live(live).show(findings, 12.0)
    text = file.getvalue()
    assert all(found.client.name in text for found in findings if found.client.kind.attack)
    assert "..." not in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("error", "stays"),
    [(None, False), (StillwatchError("broken"), True), (ConfigError("wrong"), False), (KeyboardInterrupt(), False)],
)
def test_the_folder_stays_only_after_a_failure(
    error: BaseException | None, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the reason then, and where it is, is said; else nothing is left behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    view = Console(file=io.StringIO(), width=40)
    with suppress(StillwatchError, KeyboardInterrupt), show._folder(None, view) as (folder, _):
        (folder / "processes.log").touch()
        if error:
            raise error
    said = view.file.getvalue()  # type: ignore[attr-defined]
    assert folder.exists() is stays
    assert (str(folder) in said) is stays


def test_the_folder_stays_when_the_demonstration_did_not_show_what_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missed attacker is no error of the program, and yet somebody will want to see why."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with show._folder(None, Console(file=io.StringIO())) as (folder, leave):
        (folder / "file").touch()
        leave()
    assert folder.exists()
