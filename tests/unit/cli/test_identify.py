"""The key id of a credential is the one that the gateway gives it, and the credential is nowhere repeated."""

from __future__ import annotations

import getpass
import io
import sys

import pytest

from app.cli import main
from app.gateway.identity import Hasher

PEPPER = "a pepper that nobody may see"
CREDENTIAL = "sk-demo-0123456789"


class _Input(io.TextIOWrapper):
    def __init__(self, content: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _pepper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILLWATCH_CONFIG", raising=False)
    monkeypatch.setenv("STILLWATCH_PEPPER", PEPPER)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_credential_on_a_pipe(end: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However its line ends."""
    monkeypatch.setattr(sys, "stdin", _Input(f"{CREDENTIAL}{end}".encode()))
    assert main(["id"]) == 0
    assert capsys.readouterr() == (f"{Hasher(PEPPER).key(CREDENTIAL)}\n", "")


def test_a_credential_at_a_terminal_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for as a password is."""
    monkeypatch.setattr(sys, "stdin", _Input(b"", terminal=True))
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: CREDENTIAL)
    assert main(["id"]) == 0
    assert capsys.readouterr().out == f"{Hasher(PEPPER).key(CREDENTIAL)}\n"


@pytest.mark.parametrize("content", ["", "\n", f"Bearer {CREDENTIAL}", f"{CREDENTIAL}\nsk-other", "k" * 5000])
def test_what_is_no_credential_is_refused_without_repeating_it(
    content: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, several lines, or a whole header value would give the id of a key that nobody has."""
    monkeypatch.setattr(sys, "stdin", _Input(content.encode()))
    assert main(["id"]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert "credential" in found.err
    assert CREDENTIAL not in found.err
