"""Decisions for a proxy that forwards by itself: nginx plainly, Traefik, Caddy and Envoy directly; and the real nginx."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import redis
from anthropic import Anthropic
from openai import OpenAI

from app.enforcement.policy import encode_verdict
from app.limits.limiter import Ask, Budget, Decision
from app.settings import ActionName, ActionRule
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level

RECIPE = Path(__file__).parents[3] / "deploy/nginx/authz.conf"
ASK: Any = [{"role": "user", "content": "hi"}]


class Judge:
    """A limiter that admits every key but those that are named, and remembers what it was asked and told."""

    def __init__(self) -> None:
        self.refusals: dict[str, Decision] = {}
        self.asks: list[Ask] = []
        self.settled: list[dict[str, Any]] = []

    async def decide(self, ask: Ask) -> Decision:
        """Admit or refuse."""
        self.asks.append(ask)
        budgets = (Budget("requests", "key", 60, 12, 5000, 60),)
        return self.refusals.get(ask.key_id) or Decision(True, budgets=budgets, reservation=ask.key_id)

    def settle(self, reservation: Any, **told: Any) -> None:
        """Remember."""
        self.settled.append({"reservation": reservation, **told})


@pytest.fixture(scope="module")
def judge() -> Judge:
    """The limiter of this module's gateway."""
    return Judge()


@pytest.fixture(scope="module")
def judged(rig: Any, judge: Judge) -> Any:
    """A gateway with that limiter."""
    return rig.gateway(limiter=judge)


@pytest.fixture
def spent(judged: Any, judge: Judge, key: str) -> str:
    """A credential that is out of requests for a second and a half."""
    budgets = (Budget("requests", "key", 60, 0, 60_000, 60),)
    judge.refusals[judged.key_id(key)] = Decision(False, "requests", "key", 1500, budgets=budgets)
    return key


def ask(key: str, *lines: str, target: str = "/authz", method: str = "GET") -> bytes:
    """A question as a proxy sends it."""
    head = [f"{method} {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


CHAT = ("X-Original-Method: POST", "X-Original-URI: /v1/chat/completions?a=b")


def test_admitted_is_an_empty_200_and_leaves_nothing_reserved(judged: Any, judge: Judge, raw: Any, key: str) -> None:
    """An admitted request is a 200 without body that carries the rate headers; the reservation ends with the answer."""
    reply = raw(judged.url, ask(key, *CHAT)).reply
    assert (reply.status, reply.body) == (200, b"")
    assert reply.header("ratelimit") == '"requests";r=12;t=5'
    assert judge.asks[-1].key_id == judged.key_id(key)
    assert judge.settled[-1] == {
        "reservation": judged.key_id(key), "input_tokens": 0, "output_tokens": 0, "event": None,
    }  # fmt: skip


def test_plain_refusal_travels_in_headers(judged: Any, raw: Any, spent: str) -> None:
    """For nginx a refusal is a 403 whose real status, one-line body and wait are headers."""
    reply = raw(judged.url, ask(spent, *CHAT)).reply
    assert reply.status == 403
    assert (reply.header("x-gw-status"), reply.header("retry-after"), reply.header("retry-after-ms")) == (
        "429",
        "2",
        "1500",
    )
    assert reply.header("x-gw-body").encode() == reply.body
    assert reply.json["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("target", "lines", "anthropic"),
    [
        ("/authz?style=direct", ("X-Forwarded-Method: POST", "X-Forwarded-Uri: /v1/chat/completions"), False),
        ("/authz?style=direct", ("X-Forwarded-Method: POST", "X-Forwarded-Uri: /v1/messages?beta=true"), True),
        ("/authz?style=direct", ("X-Forwarded-Method: POST", "X-Forwarded-Uri: /v1/%6dessages"), True),
        ("/authz/v1/messages", (), True),
    ],
    ids=["openai", "anthropic", "encoded_path", "envoy"],
)
def test_direct_refusal_is_the_clients_answer(
    target: str, lines: Any, anthropic: bool, judged: Any, raw: Any, spent: str
) -> None:
    """For proxies that pass our answer on, a refusal is the 429 of the dialect that the original request speaks."""
    reply = raw(judged.url, ask(spent, *lines, target=target, method="POST" if "v1" in target else "GET")).reply
    assert reply.status == 429
    assert reply.header("retry-after") == "2"
    if anthropic:
        assert reply.json["type"] == "error"
        assert reply.json["error"]["type"] == "rate_limit_error"
        assert reply.header("request-id") == reply.json["request_id"]
    else:
        assert reply.json["error"]["type"] == "requests"


def test_rules_of_the_head_hold_here_too(judged: Any, judge: Judge, raw: Any, key: str) -> None:
    """A question about a request with a dot segment or two credentials is refused without being charged."""
    before = len(judge.asks)
    direct = "/authz?style=direct"
    assert raw(judged.url, ask(key, "X-Original-URI: /v1/%2e%2e/admin", target=direct)).reply.status == 400
    assert raw(judged.url, ask(key, "Authorization: Bearer b", *CHAT, target=direct)).reply.status == 400
    assert len(judge.asks) == before


def test_unknown_keys_are_401_for_every_proxy(rig: Any, raw: Any, key: str) -> None:
    """A denied credential is a 401 in both styles, because nginx understands that one."""
    strict = rig.gateway(sections={"identity": {"unknown_keys": "deny"}})
    for target in ("/authz", "/authz?style=direct"):
        reply = raw(strict.url, ask(key, *CHAT, target=target)).reply
        assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")


# The real nginx


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], str]]:
    """Starts nginx with the recipe in front of given addresses; returns its own."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed; apt-get install nginx-light")
        pytest.skip("nginx is not installed; apt-get install nginx-light")
    running: list[subprocess.Popen[bytes]] = []

    def start(decider: str, model: str) -> str:
        folder = tmp_path_factory.mktemp("nginx")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        recipe = RECIPE.read_text()
        assert "listen 8443;" in recipe
        (folder / "authz.conf").write_text(recipe.replace("listen 8443;", f"listen 127.0.0.1:{port};"))
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"""{user} daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 128; }}
            http {{
                access_log off; {temporary}
                upstream stillwatch {{ server {decider.removeprefix("http://")}; keepalive 8; }}
                upstream model_api {{ server {model.removeprefix("http://")}; keepalive 8; }}
                include {folder}/authz.conf;
            }}"""
        )
        command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                if running[-1].poll() is not None:
                    break
                time.sleep(0.02)
        raise AssertionError((folder / "error.log").read_text())

    yield start
    for process in running:
        process.terminate()
        process.wait(5)


@pytest.fixture(scope="module")
def front(nginx: Any, judged: Any, rig: Any) -> str:
    """nginx that asks the judged gateway and forwards to the simulated API."""
    return str(nginx(judged.url, rig.api_url))


def test_nginx_forwards_what_is_admitted(front: str, judged: Any, judge: Judge, key: str) -> None:
    """Through nginx a completion and a stream arrive, and each was one question with the original route."""
    with OpenAI(base_url=front + "/v1", api_key=key, max_retries=0) as client:
        assert client.chat.completions.create(model="still-small-2", messages=ASK).id
        assert list(client.chat.completions.create(model="still-small-2", messages=ASK, stream=True))
    assert len([asked for asked in judge.asks if asked.key_id == judged.key_id(key)]) == 2


def test_nginx_keeps_our_429_and_its_body(front: str, spent: str, raw: Any) -> None:
    """A refusal behind nginx is the 429 that the SDK expects, with its wait and its JSON body."""
    with (
        OpenAI(base_url=front + "/v1", api_key=spent, max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="still-small-2", messages=ASK)
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")
    assert headers["content-type"] == "application/json"
    assert headers["ratelimit"] == '"requests";r=0;t=60'
    assert headers["x-request-id"]
    assert "x-gw-body" not in headers


def test_nginx_lets_no_client_forge_a_decision(front: str, spent: str, raw: Any) -> None:
    """Headers like ours in a request change nothing about its refusal."""
    forged = ask(spent, "X-Gw-Status: 200", "X-Gw-Body: {}", "X-Original-URI: /health", target="/v1/models")
    assert raw(front, forged).reply.status == 429


def test_nginx_with_the_real_limiter(nginx: Any, limited: Any, rig: Any, redis_db: str, key: str) -> None:
    """Behind nginx a key passes as often as its plan allows, and then an SDK is told when to come back."""
    rule = {"limits": {"plans": {"default": {"key": {"requests_per_min": 2}}}}}
    front = nginx(limited(redis_db, rule).url, rig.api_url)
    with Anthropic(base_url=front, api_key=key, max_retries=0) as client:
        for _ in range(2):
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    error: Any = caught.value
    assert error.type == "rate_limit_error"
    assert error.request_id == error.body["request_id"]
    assert 28 <= int(error.response.headers["retry-after"]) <= 30


@pytest.mark.parametrize("action", ["step_up", "suspend"])
def test_nginx_keeps_our_403(action: ActionName, nginx: Any, limited: Any, rig: Any, redis_db: str, key: str) -> None:
    """A blocked key behind nginx is told so in its dialect, with the address and the reference, and is not retried."""
    policy = {"step_up_url": "https://a.example/verify", "appeal_url": "https://a.example/appeal"}
    gateway = limited(redis_db, {"enforcement": policy})
    rule = ActionRule(action=action)
    text = encode_verdict(Level.SUSPECT, rule, time.time_ns() // 1000, by="person", ref="sw-a")
    key_id = gateway.key_id(key)
    with redis.Redis.from_url(redis_db) as client:
        client.set(PartitionKeys(partition_of(key_id, 16)).verdict(key_id), text, ex=60)
    front = nginx(gateway.url, rig.api_url)
    before = rig.api.served
    with (
        Anthropic(base_url=front, api_key=key, max_retries=2) as claude,
        pytest.raises(anthropic.PermissionDeniedError) as caught,
    ):
        claude.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    error: Any = caught.value
    assert error.error_code == ("organization_on_hold" if action == "suspend" else None)
    assert error.response.headers["x-should-retry"] == "false"
    with OpenAI(base_url=front + "/v1", api_key=key) as gpt, pytest.raises(openai.PermissionDeniedError) as refused:
        gpt.chat.completions.create(model="still-small-2", messages=ASK)
    assert refused.value.code == ("access_suspended" if action == "suspend" else "verification_required")
    for message in (error.message, refused.value.message):
        assert "https://a.example/" in message
        assert "Reference: sw-a." in message
    assert rig.api.served == before


def test_nginx_keeps_our_401(nginx: Any, rig: Any, raw: Any, key: str) -> None:
    """A denied credential behind nginx is a 401 with our body."""
    strict = rig.gateway(sections={"identity": {"unknown_keys": "deny"}})
    reply = raw(nginx(strict.url, rig.api_url), ask(key, target="/v1/models")).reply
    assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")


def test_nginx_says_503_when_nobody_decides(nginx: Any, rig: Any, raw: Any, key: str) -> None:
    """With the decision service down, the client hears a 503 in the API's form, and nothing is forwarded."""
    before = rig.api.served
    reply = raw(nginx("http://127.0.0.1:1", rig.api_url), ask(key, target="/v1/models")).reply
    assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
    assert rig.api.served == before


def test_nginx_keeps_the_errors_of_the_model_api(nginx: Any, front: str, judged: Any, raw: Any, key: str) -> None:
    """A model API that is down stays nginx's own 502, and its own 500, 401 and 403 pass with their bodies."""
    assert raw(nginx(judged.url, "http://127.0.0.1:1"), ask(key, target="/v1/models")).reply.status == 502
    for status in (500, 401, 403, 429):
        reply = raw(front, ask(key, f"X-Sim-Status: {status}", target="/v1/models")).reply
        assert (reply.status, str(status) in reply.json["error"]["message"]) == (status, True)
