"""What the deployment files describe, run by hand: the same commands, environments, configurations and health checks."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

ROOT = Path(__file__).resolve().parents[3]


def _until(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_the_processes_of_a_deployment_work_together(make_site: Any, kind: str) -> None:
    """As the files have them, traffic is answered, judged and shown, each health check holds, and all end with status 0."""
    site = make_site(kind)
    started = site.start_all()
    for number in range(12):
        assert site.chat(f"sk-deploy-{number % 3}") == 200
    stream = urllib.request.Request(
        f"http://127.0.0.1:{site.ports[8080]}/v1/chat/completions",
        json.dumps({"model": "still-small-2", "stream": True, "messages": [{"role": "user", "content": "Hi."}]}).encode(),
        {"authorization": "Bearer sk-deploy-0"},
    )
    with urllib.request.urlopen(stream, timeout=20) as answer:
        assert answer.read().rstrip().endswith(b"data: [DONE]")
    _until(lambda: len(site.admin("/v1/keys")["keys"]) == 3)
    health = site.admin("/v1/health")
    assert health["workers"] == 1
    for process in started:
        assert site.check(process.name) == [0] * len(site.specs[process.name].checks)
    assert site.counted(9101, "stillwatch_failure_mode_total") == 0
    _until(lambda: site.counted(9102, "stillwatch_state_memory_bytes") > 0)  # the worker's user may ask for it
    assert site.counted(9102, "stillwatch_state_memory_limit_bytes") == 1024**3
    # Nobody was refused a command or a key by the server.
    assert _denied(site) == []
    for process in reversed(started):
        assert process.stop() == 0, process.said
    assert list((site.folder / "volumes" / "archive").rglob("*.parquet"))
    for process in started:
        assert "Traceback" not in process.said, process.said


def _denied(site: Any) -> list[str]:
    """What the server's log of refusals holds, as "user reason object"; read as a user that only this test has."""
    with redis.Redis(port=site.ports[6379], username="tester", password="tester", decode_responses=True) as client:
        told = [f"{entry['username']} {entry['reason']} {entry['object']}" for entry in client.acl_log()]
        return [line for line in told if "client|setinfo" not in line]  # by the client of this test


_SECRETS = ["HGETALL sw:{adm}:tokens", "XADD sw:{adm}:audit * a b"]
_SERVER = ["FLUSHALL", "KEYS *", "CONFIG SET maxmemory 1", "ACL SETUSER x on", "SHUTDOWN", "SCRIPT FLUSH", "GET other"]
_NOT_THE_GATEWAYS = ["GET sw:{p0001}:fk:x", "SET sw:{p0001}:h:x 1", "DEL sw:{p0001}:cur", "SET sw:{ctl}:doc 1"]
DENIED = {
    "gateway": [*_SERVER, *_SECRETS, *_NOT_THE_GATEWAYS],
    "worker": [*_SERVER, *_SECRETS],
    "admin": [*_SERVER, "FLUSHDB", "MONITOR", "REPLICAOF a 1"],
    "probe": [*_SERVER, "GET sw:{meta}", "INFO", "CLIENT LIST"],
}


def test_each_user_of_the_state_server_may_do_its_own_work_only(site: Any) -> None:
    """Stolen credentials of one process open neither another one's keys nor the server; without any, nothing is open."""
    site.start("valkey")
    for user, commands in DENIED.items():
        with site.client(user) as client:
            assert client.execute_command("PING")
            for command in commands:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command.split())
    with redis.Redis(port=site.ports[6379], retry=None) as nobody, pytest.raises(redis.exceptions.AuthenticationError):
        nobody.ping()
    with (
        redis.Redis(port=site.ports[6379], username="gateway", password="guess", retry=None) as guesser,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        guesser.ping()


def test_the_state_server_keeps_what_our_lives_of_keys_assume(site: Any) -> None:
    """The server that runs from the shipped file evicts nothing, writes its log every second, and tells no password."""
    process = site.start("valkey")
    with redis.Redis(port=site.ports[6379], username="tester", password="tester", decode_responses=True) as client:
        told = client.config_get()
        assert told["maxmemory-policy"] == "noeviction"
        assert int(told["maxmemory"]) == 1024**3
        assert (told["appendonly"], told["appendfsync"], told["save"]) == ("yes", "everysec", "")
        users = " ".join(client.acl_list())
    for name in ("gateway", "worker", "admin", "probe"):
        assert site.secret(f"valkey_{name}") not in users + process.said
    site.start("gateway")
    assert site.chat("sk-a") == 200
    assert process.stop() == 0


def test_secrets_are_made_once_and_differ(site: Any) -> None:
    """Running the script again changes nothing; no two secrets are alike, and none is short."""
    names = sorted(path.name for path in site.secrets.iterdir())
    before = {name: site.secret(name) for name in names}
    script = ["sh", "deploy/secrets.sh", str(site.secrets), "elsewhere:1"]
    assert subprocess.run(script, check=True, capture_output=True, cwd=ROOT).stdout == b""
    assert {name: site.secret(name) for name in names} == before
    assert len(set(before.values())) == len(before)
    assert all(len(value) >= 64 for value in before.values())
    assert site.secrets.stat().st_mode & 0o077 == 0
