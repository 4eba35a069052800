"""Help is complete: every command and option says what it does, with an example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from app.cli import main
from app.cli.program import program


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _commands(child, (*path, name))


ALL = list(_commands(typer.main.get_command(program)))


def test_every_command_of_the_service_is_there() -> None:
    """The commands an operator was promised exist."""
    names = {" ".join(path) for path, _ in ALL}
    assert names == {
        "demo", "serve", "worker", "admin", "all", "replay", "link",
        "calibrate", "train", "evaluate", "promote", "report model",
        "id", "version", "held",
        "keys search", "keys events", "keys flags", "reasons", "labels add", "labels list", "labels export",
        "appeals file", "appeals list", "appeals show", "appeals decide",
        "keys list", "keys show", "keys lift", "archive list", "archive check", "config check", "config show",
        "tokens make", "tokens list", "tokens revoke", "erase", "audit list", "audit verify", "audit export",
        "orders list", "orders show", "orders preview", "orders give", "orders undo",
        "proposals list", "proposals show", "proposals approve", "proposals refuse",
        "policy show", "policy preview", "policy set", "policy reset", "report would-have", "report looks",
        "plans list", "plans show", "plans set", "plans delete", "allow list", "allow add", "allow remove",
        "kill status", "kill on", "kill off",
        "campaigns list", "campaigns show", "campaigns members", "campaigns act", "campaigns undo", "campaigns confirm",
        "campaigns lift",
        "accounts list", "accounts show", "accounts set", "accounts delete", "accounts import",
        "intel publish", "intel publications list", "intel publications show",
        "intel approve", "intel refuse", "intel retract",
        "intel example", "intel peers", "intel pull", "intel verify", "intel export", "intel keygen",
        "intel indicators", "intel reporters", "intel agree", "intel disagree", "intel match",
        "intel intersect offer", "intel intersect answer", "intel intersect cardinality", "intel intersect offer-members",
        "intel intersect reveal", "intel intersect runs",
        "watermark tag", "watermark scan", "watermark attribute", "watermark verify",
        "watermark served", "watermark student", "watermark example", "watermark engine", "watermark tenants",
        "watermark investigations start", "watermark investigations upload", "watermark investigations tenants",
        "watermark investigations run", "watermark investigations list", "watermark investigations show",
        "watermark investigations report", "watermark investigations erase",
    }  # fmt: skip


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_help_of_a_command_is_complete(
    path: tuple[str, ...], command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a description, an example that starts with its own name, and a sentence on each option, shown as written."""
    monkeypatch.setenv("COLUMNS", "400")
    assert main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert " ".join(path) in text
    assert not re.search(r"<(bool|str|int|float)\b", text)
    if path != ("version",):
        assert f"stillwatch {' '.join(path)}" in (command.help or "")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} has no help"
        assert parameter.help in text


def test_no_command_prints_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Called with nothing, the program shows what it can do, with the status of a usage error."""
    assert main([]) == 2
    assert "Usage: stillwatch" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Both spellings print the same version."""
    assert main(["version"]) == main(["--version"]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second
