"""The response ladder through a gateway with the real limiter: what goes out on the wire, byte for byte."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from app.settings import LADDER, ActionName
from app.telemetry import metrics

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
ASK: dict[str, Any] = {"model": "still-small-2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
POLICY = {
    "mode": "enforce",
    "automatic_up_to": "suspend",
    "step_up_url": "https://provider.example/verify",
    "appeal_url": "https://provider.example/appeal",
}
BLOCKS: tuple[ActionName, ...] = ("step_up", "suspend")


def request(key: str, path: str = CHAT, *lines: str, **body: Any) -> bytes:
    """One request on the wire; a body of its own, or ASK."""
    data = orjson.dumps(body or ASK)
    head = [f"POST {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(data)}"]).encode() + b"\r\n\r\n" + data


def plan(**rule: Any) -> dict[str, Any]:
    """Settings whose default plan has this rule for each key."""
    return {"limits": {"plans": {"default": {"key": rule}}, "default_output_tokens": 100}}


def counted(action: str, effect: str) -> float:
    """Requests touched by an action so far, in this process."""
    for metric in metrics.REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == "stillwatch_actions_total" and sample.labels == {"action": action, "effect": effect}:
                return sample.value
    raise AssertionError("no such series")


def without_numbers(raw: bytes) -> bytes:
    """An answer with every number, and every id and time made of them, as one sign."""
    raw = re.sub(rb"\b[0-9a-f]{28}\b", b"ID", raw)
    raw = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"TIME", raw)
    return re.sub(rb"(\d+(\.\d+)?(h|ms|m|s)?)+", b"#", raw)


# Throttled is limited


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    ("full", "share", "left"),
    [
        ({"requests_per_min": 8}, 0.25, {"requests_per_min": 2}),
        (
            {"output_tokens_per_min": 400, "requests_per_min": 800},
            0.25,
            {"output_tokens_per_min": 100, "requests_per_min": 200},
        ),
        ({"tokens_per_day": 200, "requests_per_min": 800}, 0.5, {"tokens_per_day": 100, "requests_per_min": 400}),
        ({}, 0.5, {"requests_per_min": 2}),
    ],
    ids=["requests", "output_tokens", "day", "ceiling"],
)
def test_a_throttled_answer_is_a_limited_one(
    full: dict[str, Any],
    share: float,
    left: dict[str, Any],
    path: str,
    accept: str,
    limited: Any,
    redis_db: str,
    raw: Any,
    key: str,
    put: Any,
) -> None:
    """A verdict's refusals, and what passes before them, differ from a smaller plan's in numbers only, byte for byte."""
    throttled = limited(redis_db, {**plan(**full), "enforcement": {"mode": "enforce"}})
    planned = limited(redis_db, plan(**left))
    other = key + "-other"
    put(throttled.key_id(key), "throttle", factor=share, requests_per_min=2)

    def answers(gateway: Any, credential: str) -> list[bytes]:
        """Head of the first answer, and the whole of the first refusal."""
        found: list[bytes] = []
        for _ in range(12):
            wire = raw(gateway.url, request(credential, path, f"Accept: {accept}"))
            head = wire.raw.partition(b"\r\n\r\n")[0]
            if wire.reply.status != 200:
                return [*found, without_numbers(wire.raw)]
            found = found or [without_numbers(re.sub(rb"\r\n(x-)?request-id: [^\r]*", b"", head))]
        raise AssertionError("nothing was refused")

    mine, theirs = answers(throttled, key), answers(planned, other)
    assert mine == theirs
    assert mine[0].startswith(b"HTTP/# # OK")
    assert b"limit" in mine[1] or b"quota" in mine[1]
    assert raw(throttled.url, request(key, path)).reply.status == 429


# Blocked


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/models", "/v1/embeddings"])
@pytest.mark.parametrize("action", BLOCKS)
def test_a_block_says_what_to_do_and_under_which_reference(
    action: ActionName, path: str, limited: Any, redis_db: str, raw: Any, key: str, put: Any, events_of: Any
) -> None:
    """403 in the dialect's words, not to be retried, with the address and the reference, and nothing about budgets."""
    gateway = limited(redis_db, {**plan(requests_per_min=5), "enforcement": POLICY})
    put(gateway.key_id(key), action)
    reply = raw(gateway.url, request(key, path)).reply
    assert reply.status == 403
    names = [name for name, _ in reply.headers]
    assert not [name for name in names if "ratelimit" in name or "retry-after" in name]
    assert reply.header("x-should-retry") == "false"
    where = f"https://provider.example/{'verify' if action == 'step_up' else 'appeal'}"
    error = reply.json["error"]
    assert where in error["message"]
    assert error["message"].endswith("Reference: sw-a.")
    assert not re.search("suspect|verdict|detect|distil|score|abus|level", str(reply.json), re.IGNORECASE)
    if path == MESSAGES:
        wanted: dict[str, Any] = {"type": "permission_error", "message": error["message"]}
        if action == "suspend":
            wanted["details"] = {"error_code": "organization_on_hold", "appeal_url": where}
        assert reply.json == {"type": "error", "error": wanted, "request_id": reply.header("request-id")}
    else:
        code = "access_suspended" if action == "suspend" else "verification_required"
        assert error == {"message": error["message"], "type": "request_forbidden", "param": None, "code": code}
    (event,) = events_of(gateway.key_id(key))
    assert (event.decision, event.action, event.status, event.outcome) == ("blocked", action, 403, "refused")


def test_both_blocks_have_the_same_headers(limited: Any, redis_db: str, raw: Any, key: str, put: Any) -> None:
    """Whoever is to be verified and whoever is suspended get the same headers in the same order."""
    gateway = limited(redis_db, {**plan(requests_per_min=5), "enforcement": POLICY})
    seen = []
    for action in BLOCKS:
        put(gateway.key_id(key), action)
        seen.append([without_numbers(name.encode()) for name, _ in raw(gateway.url, request(key)).reply.headers])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("action", BLOCKS)
def test_without_an_address_the_sentence_says_who_to_ask(
    action: ActionName, limited: Any, redis_db: str, raw: Any, key: str, put: Any
) -> None:
    """A person may block before the provider has configured any address; then there is none in the answer either."""
    gateway = limited(redis_db, plan(requests_per_min=5))
    put(gateway.key_id(key), action, by="person")
    error = raw(gateway.url, request(key, MESSAGES)).reply.json["error"]
    assert "contact us" in error["message"]
    assert error.get("details") == ({"error_code": "organization_on_hold"} if action == "suspend" else None)


def test_what_would_have_been_is_counted_and_logged(
    limited: Any, redis_db: str, raw: Any, key: str, put: Any, events_of: Any
) -> None:
    """In shadow the answer is the plain one, with the client's own bytes forwarded, and event and metric say the rest."""
    gateway = limited(redis_db, {**plan(requests_per_min=100), "enforcement": {**POLICY, "mode": "shadow"}})
    for number, action in enumerate(LADDER[1:], 1):
        before = counted(action, "shadow")
        put(gateway.key_id(key), action)
        assert raw(gateway.url, request(key, **ASK, n=2)).reply.status == 200
        event = events_of(gateway.key_id(key), number)[-1]
        assert (event.decision, event.action, event.n) == ("allow", f"would_{action}", 2)
        assert counted(action, "shadow") == before + 1
    put(gateway.key_id(key), "cap", factor=0.01)
    assert raw(gateway.url, request(key)).reply.status == 200
    assert events_of(gateway.key_id(key), 5)[-1].action == "would_refuse"


# Asked by a proxy


@pytest.mark.parametrize("action", BLOCKS)
def test_a_proxy_is_told_of_blocks(action: ActionName, limited: Any, redis_db: str, raw: Any, key: str, put: Any) -> None:
    """For nginx a block is a 403 with status and body in headers; for others it is the client's answer."""
    gateway = limited(redis_db, {**plan(requests_per_min=5), "enforcement": POLICY})
    put(gateway.key_id(key), action)
    question = f"GET /authz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    original = "X-Original-Method: POST\r\nX-Original-URI: /v1/messages\r\n\r\n"
    reply = raw(gateway.url, (question + original).encode()).reply
    assert (reply.status, reply.header("x-gw-status"), reply.header("x-should-retry")) == (403, "403", "false")
    assert orjson.loads(reply.header("x-gw-body"))["error"]["type"] == "permission_error"
    direct = raw(gateway.url, (question.replace("/authz", "/authz?style=direct") + original).encode()).reply
    assert without_numbers(direct.body) == without_numbers(raw(gateway.url, request(key, MESSAGES)).reply.body)


def test_a_proxy_is_told_of_throttles_as_of_limits(limited: Any, redis_db: str, raw: Any, key: str, put: Any) -> None:
    """A capped key is throttled there, and refused as a limited one is."""
    gateway = limited(redis_db, {**plan(requests_per_min=8), "enforcement": POLICY})
    put(gateway.key_id(key), "cap", factor=0.25)
    question = f"GET /authz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nX-Original-URI: {CHAT}\r\n\r\n".encode()
    replies = [raw(gateway.url, question).reply for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 403]
    assert (replies[2].header("x-gw-status"), replies[2].header("retry-after")) != ("", "")
    assert orjson.loads(replies[2].header("x-gw-body"))["error"]["code"] == "rate_limit_exceeded"
