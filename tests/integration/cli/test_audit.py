"""`stillwatch tokens` and `stillwatch audit` beside a running admin API, with the token that is in the environment."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef" * 2


@pytest.fixture
def admin(start: Any, environ: dict[str, str]) -> str:
    """Address of a running admin API."""
    url = start("admin").addresses()["admin"]
    environ["STILLWATCH_ADMIN_URL"] = url
    return str(url)


def _change(url: str, token: str, plan: str) -> None:
    request = urllib.request.Request(
        f"{url}/v1/accounts/{KEY}",
        json.dumps({"plan": plan}).encode(),
        {"authorization": f"Bearer {token}", "content-type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def test_a_token_from_its_making_to_its_end(admin: str, run: Any) -> None:
    """Made and printed alone on standard output, listed without its secret, used under its role, revoked, refused."""
    made = run("tokens", "make", "night shift", "--role", "viewer", "--days", "7")
    token = made.stdout.strip()
    assert re.fullmatch(r"sw_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", token)
    assert token not in made.stderr
    assert token[3:11] in made.stderr
    listed = run("tokens", "list").stdout
    assert listed.split("\t")[:3] == [token[3:11], "viewer", "active"]
    assert token not in listed
    assert json.loads(run("tokens", "list", "--json").stdout)[0]["name"] == "night shift"
    mine = {"STILLWATCH_ADMIN__TOKEN": token}
    refused = run("tokens", "list", **mine)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The role viewer does not have the permission tokens.read." in refused.stderr
    assert run("tokens", "revoke", token[3:11]).returncode == 0
    assert run("tokens", "revoke", token[3:11]).returncode == 1
    over = run("tokens", "list", **mine)
    assert over.returncode == 2
    assert "does not take it" in over.stderr
    assert run("tokens", "make", "x" * 65, "--role", "viewer").returncode == 2


def test_the_log_from_its_records_to_a_cut_end(admin: str, run: Any, environ: dict[str, str], tmp_path: Path) -> None:
    """Listed, verified live, exported, verified as a file with a noted head; a changed or cut file is status 1."""
    for number in range(5):
        _change(admin, environ["STILLWATCH_ADMIN__TOKEN"], f"p{number}")
    rows = [line.split("\t") for line in run("audit", "list", "-n", "3").stdout.splitlines()]
    assert [row[0] for row in rows] == ["5", "4", "3"]
    assert rows[0][2:7] == ["bootstrap", "admin", "account.put", f"key:{KEY}", "accepted"]
    assert len(json.loads(run("audit", "list", "--json").stdout)) == 5
    live = run("audit", "verify")
    assert live.returncode == 0
    assert "without --head" in live.stderr
    head = live.stdout.split()[-1]
    assert live.stdout.startswith("5 records are whole and in order; head 5-")
    assert run("audit", "verify", "--head", head).returncode == 0
    exported = run("audit", "export", "log.jsonl")
    assert exported.returncode == 0
    assert "5 records written" in exported.stderr
    file = tmp_path / "log.jsonl"
    assert file.stat().st_mode & 0o077 == 0
    assert run("audit", "export", "log.jsonl").returncode == 1
    assert run("audit", "export").stdout.encode() == file.read_bytes()
    good = run("audit", "verify", "--file", "log.jsonl", "--head", head)
    assert (good.returncode, good.stdout) == (0, live.stdout)
    lines = file.read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:-1]))
    assert run("audit", "verify", "--file", "cut.jsonl").returncode == 0
    cut = run("audit", "verify", "--file", "cut.jsonl", "--head", head)
    assert cut.returncode == 1
    assert "its end was cut off" in cut.stderr
    (tmp_path / "changed.jsonl").write_bytes(b"".join(lines).replace(b'"p3"', b'"p4"', 1))
    changed = run("audit", "verify", "--file", "changed.jsonl")
    assert changed.returncode == 1
    assert "line 5 (after record 3) was changed" in changed.stderr
    assert run("audit", "verify", "--head", "nonsense").returncode == 1
    assert run("audit", "verify", "--file", "nowhere.jsonl").returncode == 1


def test_an_auditor_reads_all_and_changes_nothing(admin: str, run: Any) -> None:
    """With an auditor's token list, verify and export work, and making a token is refused."""
    token = run("tokens", "make", "the auditor", "--role", "auditor").stdout.strip()
    mine = {"STILLWATCH_ADMIN__TOKEN": token}
    assert run("audit", "list", **mine).returncode == 0
    assert run("audit", "verify", **mine).returncode == 0
    assert run("audit", "export", **mine).stdout.startswith('{"anchor":"0"}\n{"digest":"')
    assert run("tokens", "list", **mine).returncode == 0
    refused = run("tokens", "make", "x", "--role", "admin", **mine)
    assert refused.returncode == 1
    assert "tokens.write" in refused.stderr


def test_an_api_that_is_not_there_is_one_sentence(run: Any) -> None:
    """Nothing listens at the address: status 1 and one sentence that says what to look at, also for a streamed answer."""
    for command in (["tokens", "list"], ["audit", "list"], ["audit", "verify"], ["audit", "export"]):
        found = run(*command, "--admin-url", "http://127.0.0.1:9")
        assert found.returncode == 1
        assert len(found.stderr.strip().splitlines()) == 1
        assert "cannot be reached" in found.stderr
