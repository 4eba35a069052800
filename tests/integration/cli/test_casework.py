"""The commands by which people explain and decide, against a running admin process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from app import cli

KEY = "0123456789abcdef" * 2
WORDS = "CANARY: we run evaluations.\nPlease look again."
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(start: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in this process, beside a running admin: (status, output, errors); with another token or input."""
    url = start("admin").addresses()["admin"]
    for name, value in environ.items():
        if name.startswith("STILLWATCH_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", url)

    def say(*arguments: str, token: str = "", typed: str = "") -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            if token:
                patch.setenv("STILLWATCH_ADMIN__TOKEN", token)
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
            capfd.readouterr()
            status = cli.main(list(arguments))
            said = capfd.readouterr()
        return status, said.out, said.err

    return say


def _json(answer: tuple[int, str, str]) -> Any:
    assert answer[0] == 0, answer
    return json.loads(answer[1])


def test_a_case_from_order_to_label(say: Say) -> None:
    """An order's statement, an appeal filed, shown and decided by somebody else, and its label on its way to a replay."""
    assert say("accounts", "set", KEY, "--org", "acme")[0] == 0
    why = ("--reason", "seen in the campaign of November")
    given = ("orders", "give", "suspend", "-k", KEY, "--for", "2h", "--code", "extraction", *why, "--yes", "--json")
    ref = _json(say(*given))["orders"][0]["ref"]
    status, page, _ = say("reasons", ref)
    assert (status, page.startswith(f"# Statement of reasons {ref}")) == (0, True)
    assert "Internal" not in page
    assert "## Internal" in say("reasons", ref, "--audience", "internal")[1]
    assert _json(say("reasons", ref, "--format", "json"))["measure"] == "Requests with this key are refused."
    assert say("reasons", "sw-aaaaaaaaaaaaa")[0] == 1
    status, line, _ = say("appeals", "file", ref, "--contact", "case 77", typed=WORDS)
    assert status == 0, line
    appeal = line.split(":")[0]
    listed = say("appeals", "list", "--status", "open")[1]
    assert (appeal in listed, "CANARY" in listed) == (True, False)
    shown = say("appeals", "show", appeal)[1]
    assert (WORDS in shown, "case 77" in shown, "ordered by bootstrap" in shown) == (True, True, True)
    decide = ("appeals", "decide", appeal, "overturned", "--note", "a public benchmark", "--release", "end")
    assert say(*decide)[0] == 1  # who gave the order
    made = _json(say("tokens", "make", "Ann", "--role", "analyst", "--json"))
    status, line, problem = say(*decide, token=made["token"])
    assert (status, line) == (
        0,
        f"{appeal}: overturned; the key is labelled benign; the order {ref} has ended for good\n",
    ), problem
    assert _json(say("orders", "list", "--json")) == []
    more = ("--since", "2026-09-01T00:00", "--until", "2026-09-21T00:00", "--reason", "found in a published set")
    assert say("labels", "add", "f" * 32, "abusive", *more)[0] == 0
    status, exported, count = say("labels", "export")
    assert (status, count) == (0, "2 labels\n")
    assert [(one["key_id"], one["label"]) for one in map(json.loads, exported.splitlines())] == [
        (KEY, "benign"),
        ("f" * 32, "abusive"),
    ]
    assert "benign" in say("labels", "list", "--key", KEY)[1]
    assert say("keys", "flags", KEY)[1] == "This key has no flag on record.\n"
    assert say("keys", "events", KEY)[1] == "No exchange of this key is kept.\n"
    assert say("keys", "events", "abc")[0] == 1
    assert say("keys", "search", "--org", "acme")[1] == "No key fits.\n"
    assert say("keys", "search", "--min-score", "0.5", "--action", "dance")[0] == 2
