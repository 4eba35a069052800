"""What is compared: the upstream alone, nginx in front of it, and our gateway with more and more switched on.

Everything is one process with one worker on loopback. The upstream of plain answers is nginx with a fixed chat completion
of about 1 KB; the upstream of streams is `benchmarks.stream_upstream`. All proxies run at the same time, and idle unless
they are measured, so that rounds can go over them in turn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from app.settings import StateSettings
from app.state.server import StateServer
from benchmarks.machine import Child, Cores, free_port, program

GATEWAYS = ("gateway", "+ limits", "+ limits + log")
BASELINE = "nginx proxy"
PEPPER = "a pepper for benchmarks alone"

ANSWER = json.dumps(
    {
        "id": "chatcmpl-benchmark0000000000000000",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "still-large-2",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Water boils at a lower temperature on a mountain. " * 14,
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 310, "completion_tokens": 154, "total_tokens": 464},
        "system_fingerprint": "fp_benchmark",
    }
)

_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_timeout 3600; keepalive_requests 1000000000; client_max_body_size 16m;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path {folder}/{name}-f;
  uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
  {http}
}}
"""
_UPSTREAM = """
  server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;
    location / {{ return 200 '{answer}'; }} }}
"""
_PROXY = """
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; {more} }} }}
"""
LIMITS = """
[limits.plans.default.key]
requests_per_min = 1e9
input_tokens_per_min = 1e12
output_tokens_per_min = 1e12
"""
"""The three budgets that model providers publish, charged by every request and never reached."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to measure. `pid` is None for the upstream alone."""

    name: str
    port: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class Targets:
    """All of them, in the order of the table."""

    plain: tuple[Target, ...]
    streams: tuple[Target, ...]
    state_url: str

    def forget(self) -> None:
        """Empty the event streams and budgets between measurements, so that the state server does not grow."""
        with redis.Redis.from_url(self.state_url) as client:
            client.flushall()


@contextmanager
def targets(cores: Cores, folder: Path, chunks: int, interval_ms: float) -> Iterator[Targets]:
    """Start everything.

    Args:
        cores: where.
        folder: for configurations and state; emptied by the caller.
        chunks: of a streamed answer.
        interval_ms: between two of them.

    Raises:
        CannotMeasure: a program is missing or does not start.
        ConfigError: the state server does not start.
    """
    with ExitStack() as stack:
        state = StateServer(StateSettings(data_dir=folder))
        state.open()
        stack.callback(state.close)
        upstream, streamer = free_port(), free_port()
        stack.enter_context(upstream_of_answers(folder, upstream, cores)).serves(upstream)
        command = [sys.executable, "-m", "benchmarks.stream_upstream", str(streamer), str(chunks), str(interval_ms)]
        stack.enter_context(Child(command, cores.rest)).serves(streamer)
        both = []
        for name, port in (("plain", upstream), ("streams", streamer)):
            found = [Target("direct", port, None)]
            listen = free_port()
            more = "proxy_buffering off;" if name == "streams" else ""
            proxy = _nginx(folder, f"proxy-{name}", _PROXY.format(port=listen, upstream=port, more=more), cores.proxy)
            found.append(Target(BASELINE, listen, stack.enter_context(proxy).serves(listen).pid))
            for number, gateway in enumerate(GATEWAYS):
                listen = free_port()
                environ = environ_of(folder / f"{name}{number}", state.url, limits=number >= 1, log=number >= 2)
                child = stack.enter_context(serve(environ, port, listen, cores, limits=number > 0, folder=folder))
                found.append(Target(gateway, listen, child.serves(listen).pid))
            both.append(tuple(found))
        yield Targets(both[0], both[1], state.url)


def serve(environ: dict[str, str], upstream: int, port: int, cores: Cores, *, limits: bool, folder: Path) -> Child:
    """`stillwatch serve` as an operator starts it."""
    config = folder / "limits.toml"
    config.write_text(LIMITS)
    command = [sys.executable, "-m", "app.cli", "serve", "--upstream", f"http://127.0.0.1:{upstream}", "--port", str(port)]
    return Child([*command, *(["--config", str(config)] if limits else [])], cores.proxy, environ)


def upstream_of_answers(folder: Path, port: int, cores: Cores) -> Child:
    """nginx that answers everything with the same chat completion."""
    return _nginx(folder, "upstream", _UPSTREAM.format(port=port, answer=ANSWER), cores.rest)


def environ_of(data_dir: Path, state_url: str, *, limits: bool, log: bool) -> dict[str, str]:
    """Environment of a gateway."""
    return {
        "STILLWATCH_PEPPER": PEPPER,
        "STILLWATCH_REDIS_URL": state_url,
        "STILLWATCH_STATE__DATA_DIR": str(data_dir),
        "STILLWATCH_GATEWAY__METRICS_PORT": "0",
        "STILLWATCH_GATEWAY__ENFORCE_LIMITS": str(limits).lower(),
        "STILLWATCH_GATEWAY__LOG_EVENTS": str(log).lower(),
        "STILLWATCH_LOG__LEVEL": "ERROR",
    }


def _nginx(folder: Path, name: str, http: str, cores: frozenset[int]) -> Child:
    path = folder / f"{name}.conf"
    path.write_text(_NGINX.format(folder=folder, name=name, http=http))
    return Child([program("nginx"), "-p", folder, "-c", path], cores)
