"""A capped key through a gateway with the real limiter: what is forwarded, and what is shown of the answer."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

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


@pytest.fixture
def forwarded(rig: Any, key: str) -> Callable[[], bytes]:
    """The body of this test's last call that reached the model."""

    def find() -> bytes:
        calls = [call for call in rig.api.calls if key in call.headers.get("authorization", "")]
        body: bytes = calls[-1].body
        return body

    return find


def test_a_capped_request_is_forwarded_without_what_it_may_not_use(
    limited: Any, redis_db: str, raw: Any, key: str, forwarded: Any, put: Any, events_of: Any
) -> None:
    """The model never hears of it; the event has what the client asked for, and the answer one choice without logprobs."""
    gateway = limited(redis_db, {**plan(), "enforcement": POLICY})
    before = counted("cap", "enforced")
    put(gateway.key_id(key), "cap", requests_per_min=None)
    reply = raw(gateway.url, request(key, **ASK, n=3, logprobs=True, top_logprobs=4, logit_bias={"5": 1})).reply
    assert orjson.loads(forwarded()) == {**ASK, "n": 1}
    assert [choice["logprobs"] for choice in reply.json["choices"]] == [None]
    event = events_of(gateway.key_id(key))[-1]
    assert (event.n, event.top_logprobs, event.logit_bias_size, event.action) == (3, 4, 1, "cap")
    assert event.decision == "throttled"
    assert counted("cap", "enforced") == before + 1


def test_a_capped_request_that_uses_nothing_of_it_keeps_its_bytes(
    limited: Any, redis_db: str, raw: Any, key: str, forwarded: Any, put: Any
) -> None:
    """The body is only written anew where something was taken out of it."""
    gateway = limited(redis_db, {**plan(), "enforcement": POLICY})
    put(gateway.key_id(key), "cap", requests_per_min=None)
    data = b'{"messages": [ {"role":"user","content":"\\u0068i"} ],\n "model":"still-small-2" }'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(data)}\r\n\r\n"
    assert raw(gateway.url, head.encode() + data).reply.status == 200
    assert forwarded() == data


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", ["enabled", "disabled"])
def test_a_capped_answer_has_no_thinking(
    thinking: str, stream: bool, limited: Any, redis_db: str, raw: Any, key: str, put: Any
) -> None:
    """What the model thought is not in the answer, whole or streamed, and its length is that of what is sent."""
    gateway = limited(redis_db, {**plan(), "enforcement": POLICY})
    config = {"type": thinking, "budget_tokens": 2000} if thinking == "enabled" else {"type": thinking}
    body = {**ASK, "model": "claude-still-4", "stream": stream, "thinking": config, "max_tokens": 4000}
    plain = raw(gateway.url, request(key, MESSAGES, **body)).reply
    put(gateway.key_id(key), "cap", requests_per_min=None)
    reply = raw(gateway.url, request(key, MESSAGES, **body)).reply
    assert (b'"thinking_delta"' in plain.body or b'"signature"' in plain.body) == (thinking == "enabled")
    assert (b'"signature"' in reply.body) == (thinking == "enabled")
    assert b'"thinking_delta"' not in reply.body
    assert re.findall(rb'"thinking":"[^"]+"', reply.body) == []
    if not stream:
        assert int(reply.header("content-length")) == len(reply.body)


SECRET = b"because seven is prime"
THOUGHT = b'{"choices":[{"message":{"content":"7","reasoning":"%b"}}],"usage":{"completion_tokens":9}}' % SECRET
RESPONSE = (
    b'{"object":"response","output":[{"type":"reasoning","id":"rs_1","summary":[],"content":[{"text":"%b"}]}]}' % SECRET
)


class Odd:
    """A model server that answers in ways of its own, as the last part of the path or the user says."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One answer, in pieces and without a declared length."""
        raw = b""
        while True:
            message = await receive()
            raw += message.get("body", b"")
            if not message.get("more_body"):
                break
        body = orjson.loads(raw) if raw else {}
        how = body.get("user", "")
        status, data, headers = 200, THOUGHT, [(b"content-type", b"application/json; charset=utf-8")]
        if scope["method"] == "GET":
            data = RESPONSE if "responses" in scope["path"] else data
        elif how == "error":
            status, data = 422, b'{"error":{"message":"the reasoning is wrong"}}'
        elif how == "text":
            headers = [(b"content-type", b"text/plain")]
        elif how == "zipped":
            headers.append((b"content-encoding", b"gzip"))
            data = gzip.compress(data)
        elif how == "long":
            data = THOUGHT[:-1] + b',"more":"%b"}' % (b"x" * 200_000)
        elif how == "stream":
            headers = [(b"content-type", b"text/event-stream")]
            chunks = [{"delta": {"reasoning": SECRET.decode()}}, {"delta": {"content": "7"}, "finish_reason": "stop"}]
            data = b"".join(b"data: %b\n\n" % orjson.dumps({"choices": [chunk]}) for chunk in chunks)
            if body.get("stream_options"):
                data += b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
            data += b"data: [DONE]\n\n"
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for start in range(0, len(data), 50_000):
            await send({"type": "http.response.body", "body": data[start : start + 50_000], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def odd_url(rig: Any) -> str:
    """Address of that server."""
    url: str = rig.thread.serve(Odd())
    return url


@pytest.mark.parametrize(
    ("how", "status", "hides"),
    [("", 200, True), ("long", 200, True), ("error", 422, False), ("text", 200, False), ("zipped", 502, True)],
)
def test_capped_answers_of_other_forms(
    how: str,
    status: int,
    hides: bool,
    odd_url: str,
    rig: Any,
    limited: Any,
    redis_db: str,
    raw: Any,
    key: str,
    put: Any,
    events_of: Any,
) -> None:
    """Whole answers without a length are read to their end, errors and text pass, and what cannot be read is no answer."""
    gateway = limited(redis_db, {**plan(), "gateway": {"upstream": odd_url}, "enforcement": POLICY})
    put(gateway.key_id(key), "cap", requests_per_min=None)
    reply = raw(gateway.url, request(key, **ASK, user=how)).reply
    assert reply.status == status
    assert (SECRET in reply.body or b"reasoning is wrong" in reply.body) != hides
    if status == 200 and hides:
        assert reply.json["choices"][0]["message"] == {"content": "7", "reasoning": None}
        assert (len(reply.json.get("more", "")) == 200_000) == (how == "long")
        assert int(reply.header("content-length")) == len(reply.body)
        assert events_of(gateway.key_id(key))[-1].output_tokens == 9


def test_stored_answers_are_capped_too(odd_url: str, limited: Any, redis_db: str, raw: Any, key: str, put: Any) -> None:
    """An answer that is read again shows no more than it did, and other reading is left alone."""
    gateway = limited(redis_db, {**plan(), "gateway": {"upstream": odd_url}, "enforcement": POLICY})
    put(gateway.key_id(key), "cap", requests_per_min=None)

    def get(path: str) -> Any:
        return raw(gateway.url, f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode()).reply

    assert get("/v1/responses/resp_1").json["output"] == [{"type": "reasoning", "id": "rs_1", "summary": []}]
    assert SECRET in get("/v1/files/file_1").body


def test_a_stream_without_reasoning_and_without_the_usage_we_asked_for(
    odd_url: str, limited: Any, redis_db: str, raw: Any, key: str, put: Any, events_of: Any
) -> None:
    """What the gateway asked for itself and what the key may not see are both taken out of one stream."""
    sections = {"gateway": {"upstream": odd_url, "upstream_accepts_include_usage": True}, "enforcement": POLICY}
    gateway = limited(redis_db, {**plan(), **sections})
    put(gateway.key_id(key), "cap", requests_per_min=None)
    body = raw(gateway.url, request(key, **ASK, user="stream", stream=True, n=2)).reply.body
    assert body == b'data: {"choices":[{"delta":{"content":"7"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    event = events_of(gateway.key_id(key))[-1]
    assert (event.output_tokens, event.tokens_estimated, event.answer_chars) == (9, False, 1)
