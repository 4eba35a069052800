"""`stillwatch keys` beside running services: what is really done about a key, lifting it, and a server that hangs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from app.settings import StateSettings
from app.state.server import StateServer


def _listed(run: Any, exchanges: int) -> str:
    """Id of the only key, once it is judged."""
    until = time.monotonic() + 30
    while True:
        keys = json.loads(run("keys", "list", "--json").stdout or "[]")
        if keys and (keys[0]["level"] != "unjudged" or exchanges < 5):
            return str(keys[0]["key_id"])
        assert time.monotonic() < until


def _same_with_a_token(run: Any, tmp_path: Path, key_id: str, url: str) -> None:
    """A person with an address and a token, and no state, is told the same; without the right, nothing."""
    token = run("tokens", "make", "ann", "--role", "analyst", "--admin-url", url).stdout.strip()
    person = {"STILLWATCH_ADMIN_URL": url, "STILLWATCH_ADMIN__TOKEN": token}
    elsewhere = {**person, "STILLWATCH_STATE__DATA_DIR": str(tmp_path / "no-state")}
    for command in (
        ["list"],
        ["list", "--json"],
        ["list", "--level", "clear", "--prefix", key_id[:4]],
        ["search", key_id[:4], "--json"],
        ["search", "--org", "nobody"],
        ["show", key_id[:8]],
        ["show", key_id, "--json"],
    ):
        asked, read = run("keys", *command, **elsewhere), run("keys", *command)
        assert (asked.returncode, asked.stderr) == (0, ""), command
        assert asked.stdout == read.stdout, command
    assert run("keys", "show", "0" * 9, **elsewhere).returncode == 1
    nobody = {**elsewhere, "STILLWATCH_ADMIN__TOKEN": "a token that nobody was given"}
    for command in (["list"], ["search"], ["show", key_id]):
        refused = run("keys", *command, **nobody)
        assert (refused.returncode, refused.stdout) == (2, ""), command
    refused = run("keys", "list", "--prefix", "xyz", **elsewhere)
    assert (refused.returncode, "--q" in refused.stderr, "ID" in refused.stderr) == (2, False, True)


def test_a_reader_with_other_settings_says_what_the_gateway_does(
    start: Any, run: Any, chat: Any, model_api: str, tmp_path: Path
) -> None:
    """The gateway enforces and the reader's setting says shadow: the gateway counts; lifting shows in page and timeline."""
    gateway = start("serve", "--upstream", model_api, "--set", "enforcement.mode=enforce")
    worker = start("worker")
    url = gateway.addresses()["gateway"]
    assert chat(url, "sk-one") == 200
    worker.addresses()
    key_id = _listed(run, 1)
    assert json.loads(run("keys", "list", "--json").stdout)[0]["level"] == "unjudged"
    assert "unjudged" in run("keys", "show", key_id).stdout
    for _ in range(5):
        assert chat(url, "sk-one") == 200
    assert _listed(run, 6) == key_id
    shown = json.loads(run("keys", "show", key_id, "--json").stdout)
    assert (shown["action"]["mode"], shown["hold"], shown["level"]) == ("enforce", None, "clear")
    admin = ("--admin-url", start("admin").addresses()["admin"])
    lifted = run("keys", "lift", key_id[:8], "--reason", "agreed [on] the phone", "--hours", "3", *admin)
    assert lifted.returncode == 0, lifted.stderr
    assert lifted.stdout.startswith(f"{key_id}: nothing is done about it until ")
    said = run("keys", "show", key_id).stdout
    assert "action: none, lifted until " in said
    assert said.count("agreed [on] the phone") == 2
    for wrong in (["--reason", "x", "--hours", "0"], ["--reason", " "], []):
        assert run("keys", "lift", key_id, *wrong, *admin).returncode == 2
    assert run("keys", "lift", "0" * 9, "--reason", "no such key here", *admin).returncode == 1
    _same_with_a_token(run, tmp_path, key_id, admin[1])
    told = json.loads(run("audit", "list", "--json", *admin).stdout)
    assert [(record["action"], record["subject"]) for record in told if "lift" in record["action"]] == [
        ("key.lift", f"key:{key_id}")
    ]
    assert gateway.stop() == 0
    assert json.loads(run("keys", "show", key_id, "--json").stdout)["action"]["mode"] == "unknown"


@pytest.mark.parametrize("command", [["list"], ["show", "0a"]], ids=" ".join)
def test_a_state_server_that_hangs_is_one_sentence(run: Any, tmp_path: Path, command: list[str]) -> None:
    """Within seconds, with status 1, and without a word of the server's log."""
    server = StateServer(StateSettings(data_dir=tmp_path / "data")).open()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        answer = run("keys", *command)
        lasted = time.monotonic() - started
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.close()
    assert answer.returncode == 1
    assert answer.stderr == "stillwatch: state.data_dir: the state server did not answer within 3.5 s\n"
    assert lasted < 15
