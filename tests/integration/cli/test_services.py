"""The long-running commands as processes: they serve, share their state, stop cleanly, and leave nothing running."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.settings import StateSettings
from app.simulate.model_api import ModelApi
from app.simulate.rig import LoopThread
from app.state.server import StateServer

TOKEN = "a token for tests of the program"


@pytest.fixture
def start(start_afresh: Any) -> Any:
    """Here each is a process as an operator starts it: these tests are about processes."""
    return start_afresh


def _eventually(holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def _children(pid: int) -> list[int]:
    """Processes below one, of any depth."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found, layer = [], [pid]
    while layer:
        layer = [child for child, parent in pairs if parent in layer]
        found += layer
    return found


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in _state(pid)]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_forwards_and_stops(start: Any, chat: Any, model_api: str, number: int) -> None:
    """A gateway alone answers through the upstream, and a signal ends it with status 0 and without its state server."""
    program = start("serve", "--upstream", model_api)
    address = program.addresses()["gateway"]
    assert chat(address, "sk-one") == 200
    below = _children(program.process.pid)
    assert below
    assert program.stop(number) == 0
    assert not _alive(below)
    assert "Traceback" not in program.said


def test_gateway_worker_and_admin_of_one_folder_work_together(
    start: Any, run: Any, chat: Any, fetch: Any, model_api: str
) -> None:
    """Commands that share a data folder share one embedded state server: what one forwards, the others judge and show."""
    gateway = start("serve", "--upstream", model_api)
    worker = start("worker")
    admin = start("admin")
    url = gateway.addresses()["gateway"]
    for number in range(12):
        assert chat(url, f"sk-{number % 2}") == 200
    worker.addresses()
    listed = _eventually(lambda: [line.split("\t") for line in run("keys", "list").stdout.splitlines() if "\t" in line])
    keys = _eventually(lambda: json.loads(run("keys", "list", "--json").stdout) if len(listed) else None)
    shown = json.loads(fetch(f"{admin.addresses()['admin']}/v1/keys", TOKEN)[1])["keys"]
    assert {key["key_id"] for key in shown} == {key["key_id"] for key in keys}
    assert len(keys) == 2
    assert "clear" in run("keys", "list", "--level", "clear").stdout
    one = run("keys", "show", keys[0]["key_id"][:12])
    assert one.returncode == 0
    assert keys[0]["key_id"] in one.stdout
    assert json.loads(run("keys", "show", keys[0]["key_id"], "--json").stdout)["key_id"] == keys[0]["key_id"]
    assert run("keys", "show", "ffffffffff").returncode == 1
    other = run("keys", "list", "--set", "state.partitions=32")
    assert other.returncode == 2
    assert other.stderr.startswith("stillwatch: state.partitions is 32 but the state was made with 16")
    for program in (admin, worker, gateway):
        assert program.stop() == 0
    checked = run("archive", "check")
    assert checked.returncode == 0, checked.stderr
    assert "12 exchanges" in checked.stdout
    files = run("archive", "list").stdout.splitlines()
    assert len(files) == len(json.loads(run("archive", "list", "--json").stdout)) > 0


def test_all_runs_everything_in_one_tree(start: Any, chat: Any, fetch: Any, model_api: str) -> None:
    """`all` serves, judges and shows; a signal stops the tree in order and leaves no process behind."""
    program = start("all", "--upstream", model_api)
    found = program.addresses()
    assert set(found) == {"gateway", "gateway metrics", "worker metrics", "admin", "admin metrics"}
    assert chat(found["gateway"], "sk-one") == 200
    _eventually(lambda: json.loads(fetch(f"{found['admin']}/v1/keys", TOKEN)[1])["keys"])
    for name in ("gateway metrics", "worker metrics", "admin metrics"):
        assert b"stillwatch_build_info" in fetch(found[name])[1]
    below = _children(program.process.pid)
    assert len(below) >= 4
    assert program.stop() == 0
    assert not _alive(below)
    assert "Traceback" not in program.said


def test_all_ends_when_a_part_of_it_ends(start: Any, model_api: str) -> None:
    """A supervisor must see that something is missing: a dead worker takes the rest down, with a sentence and status 1."""
    program = start("all", "--upstream", model_api)
    program.addresses()
    below = _children(program.process.pid)
    ours = [pid for pid in below if b"app.processes" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(ours) == 3
    subprocess.run(["kill", "-9", str(ours[1])], check=True)
    assert program.process.wait(30) == 1
    assert "the worker process ended with status -9" in program.said
    assert not _alive(below)


def test_children_end_with_a_killed_parent(start: Any, model_api: str) -> None:
    """Nobody has to look for orphans: when the parent is killed, its processes and its state server end by themselves."""
    program = start("all", "--upstream", model_api)
    program.addresses()
    below = _children(program.process.pid)
    program.stop(signal.SIGKILL)
    _eventually(lambda: not _alive(below))


def test_an_upstream_that_is_away_is_a_remark_or_a_refusal(start: Any, run: Any) -> None:
    """A model server may start later, so the gateway starts and says so once; --require-upstream makes it an error."""
    refused = run("serve", "--upstream", "http://127.0.0.1:9", "--require-upstream")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "gateway.upstream http://127.0.0.1:9: the upstream cannot be reached" in line
    program = start("serve", "--upstream", "http://127.0.0.1:9")
    program.addresses()
    assert program.said.count("warning: gateway.upstream") == 1


def test_an_upstream_that_goes_away_is_told_in_the_log(start: Any, chat: Any) -> None:
    """One line however many requests fail, one when it is back; neither says anything of a client."""
    thread = LoopThread()
    program = start("serve", "--upstream", thread.serve(ModelApi()))
    address = program.addresses()["gateway"]
    assert chat(address, "sk-one") == 200
    thread.stop()
    _eventually(lambda: chat(address, "sk-one") != 200 and "WARNING gateway app.gateway.presence" in program.said)
    for _ in range(5):
        assert chat(address, "sk-one") != 200
    assert program.said.count("gateway.upstream: ") == 1
    assert "sk-one" not in program.said


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("serve", "gateway.port"),
        ("serve", "gateway.metrics_port"),
        ("all", "gateway.port"),
        ("all", "admin.port"),
        ("admin", "admin.port"),
        ("worker", "worker.metrics_port"),
    ],
)
def test_a_taken_port_is_one_sentence(
    run: Any, environ: dict[str, str], model_api: str, command: str, setting: str
) -> None:
    """The setting and the port are named, whichever process wanted it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        data = Path(environ["STILLWATCH_STATE__DATA_DIR"])
        more = {"STILLWATCH_GATEWAY__UPSTREAM": model_api} if command in ("serve", "all") else {}
        found = run(command, "--set", f"{setting}={port}", **more)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    (line,) = found.stderr.splitlines()
    assert line == f"stillwatch: {setting}: cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert not data.exists()  # no state server was started for it either


def test_everything_waits_for_a_state_server_that_is_away(
    start: Any, chat: Any, fetch: Any, model_api: str, tmp_path: Path
) -> None:
    """`all` starts without its configured server, the worker says so once, and all work as soon as the server is there."""
    server = StateServer(StateSettings(data_dir=tmp_path / "elsewhere"))
    program = start("all", "--upstream", model_api, STILLWATCH_REDIS_URL=server.url)
    found = program.addresses()
    assert chat(found["gateway"], "sk-one") == 200  # by limits.on_state_loss
    assert program.said.count("the worker waits for it") == 1
    for process in ("gateway", "worker"):
        assert re.search(rf"^\S+ WARNING {process} app\.", program.said, re.MULTILINE)
    server.open()
    try:
        _eventually(lambda: json.loads(fetch(f"{found['admin']}/v1/keys", TOKEN)[1] or b"{}").get("keys"))
        assert program.stop() == 0
    finally:
        server.close()
    assert program.said.count("the worker begins") == 1
    assert program.said.count("the worker waits") == 1
    assert "Traceback" not in program.said


def test_a_waiting_worker_stops_when_it_is_told(start: Any) -> None:
    """Before the server was ever there."""
    program = start("worker", "--set", "state.redis_url=redis://127.0.0.1:9/0")
    program.addresses()
    assert program.stop() == 0
    assert "Traceback" not in program.said


def test_a_replay_of_too_little_is_one_sentence(run: Any, tmp_path: Path) -> None:
    """A log that is no log, or holds too little to learn from, is refused with the rule."""
    log = tmp_path / "log.jsonl"
    log.write_text("not json\n" * 300)
    found = run("replay", str(log), "--out", "out")
    assert found.returncode == 1
    line = found.stderr.splitlines()[-1]
    assert line.startswith("stillwatch: ")
    assert "Traceback" not in found.stderr
