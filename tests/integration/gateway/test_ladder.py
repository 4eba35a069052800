"""The response ladder through a gateway with the real limiter: what goes out on the wire, byte for byte."""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import redis

from app.enforcement.control import Control
from app.enforcement.policy import Action, encode_verdict, reference
from app.enforcement.rules import FixedRules, Kill
from app.settings import LADDER, ActionName, ActionRule, EnforcementSettings, Settings
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.orders import Order, Orders
from app.telemetry import metrics
from detectors.contract import Level
from detectors.event import Event, decode

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


def put(url: str, key_id: str, action: ActionName, *, by: str = "policy", **rule: Any) -> None:
    """What a worker's commit, or a person's order, leaves for `decide`."""
    at_us = time.time_ns() // 1000
    text = encode_verdict(Level.SUSPECT, ActionRule(action=action, **rule), at_us, by=by, ref="sw-a")
    with redis.Redis.from_url(url) as client:
        client.set(PartitionKeys(partition_of(key_id, 16)).verdict(key_id), text, ex=1000)


def events_of(url: str, key_id: str, count: int = 1) -> list[Event]:
    """The events of a key, once there are that many."""
    until = time.monotonic() + 5
    with redis.Redis.from_url(url) as client:
        while True:
            entries = client.xrange(PartitionKeys(partition_of(key_id, 16)).stream)
            found = [event for _, fields in entries if (event := decode(fields[b"e"])).key_id == key_id]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"{len(found)} events"
            time.sleep(0.01)


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
) -> None:
    """A verdict's refusals, and what passes before them, differ from a smaller plan's in numbers only, byte for byte."""
    throttled = limited(redis_db, {**plan(**full), "enforcement": {"mode": "enforce"}})
    planned = limited(redis_db, plan(**left))
    other = key + "-other"
    put(redis_db, throttled.key_id(key), "throttle", factor=share, requests_per_min=2)

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
    action: ActionName, path: str, limited: Any, redis_db: str, raw: Any, key: str
) -> None:
    """403 in the dialect's words, not to be retried, with the address and the reference, and nothing about budgets."""
    gateway = limited(redis_db, {**plan(requests_per_min=5), "enforcement": POLICY})
    put(redis_db, gateway.key_id(key), action)
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
    (event,) = events_of(redis_db, gateway.key_id(key))
    assert (event.decision, event.action, event.status, event.outcome) == ("blocked", action, 403, "refused")


def test_both_blocks_have_the_same_headers(limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """Whoever is to be verified and whoever is suspended get the same headers in the same order."""
    gateway = limited(redis_db, {**plan(requests_per_min=5), "enforcement": POLICY})
    seen = []
    for action in BLOCKS:
        put(redis_db, gateway.key_id(key), action)
        seen.append([without_numbers(name.encode()) for name, _ in raw(gateway.url, request(key)).reply.headers])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("action", BLOCKS)
def test_without_an_address_the_sentence_says_who_to_ask(
    action: ActionName, limited: Any, redis_db: str, raw: Any, key: str
) -> None:
    """A person may block before the provider has configured any address; then there is none in the answer either."""
    gateway = limited(redis_db, plan(requests_per_min=5))
    put(redis_db, gateway.key_id(key), action, by="person")
    error = raw(gateway.url, request(key, MESSAGES)).reply.json["error"]
    assert "contact us" in error["message"]
    assert error.get("details") == ({"error_code": "organization_on_hold"} if action == "suspend" else None)


def test_what_would_have_been_is_counted_and_logged(limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """In shadow the answer is the plain one, with the client's own bytes forwarded, and event and metric say the rest."""
    gateway = limited(redis_db, {**plan(requests_per_min=100), "enforcement": {**POLICY, "mode": "shadow"}})
    for number, action in enumerate(LADDER[1:], 1):
        before = counted(action, "shadow")
        put(redis_db, gateway.key_id(key), action)
        assert raw(gateway.url, request(key, **ASK, n=2)).reply.status == 200
        event = events_of(redis_db, gateway.key_id(key), number)[-1]
        assert (event.decision, event.action, event.n) == ("allow", f"would_{action}", 2)
        assert counted(action, "shadow") == before + 1
    put(redis_db, gateway.key_id(key), "cap", factor=0.01)
    assert raw(gateway.url, request(key)).reply.status == 200
    assert events_of(redis_db, gateway.key_id(key), 5)[-1].action == "would_refuse"


# Capped


@pytest.fixture
def forwarded(rig: Any, key: str) -> Callable[[], bytes]:
    """The body of this test's last call that reached the model."""

    def find() -> bytes:
        calls = [call for call in rig.api.calls if key in call.headers.get("authorization", "")]
        body: bytes = calls[-1].body
        return body

    return find


def test_a_capped_request_is_forwarded_without_what_it_may_not_use(
    limited: Any, redis_db: str, raw: Any, key: str, forwarded: Any
) -> None:
    """The model never hears of it; the event has what the client asked for, and the answer one choice without logprobs."""
    gateway = limited(redis_db, {**plan(), "enforcement": POLICY})
    before = counted("cap", "enforced")
    put(redis_db, gateway.key_id(key), "cap", requests_per_min=None)
    reply = raw(gateway.url, request(key, **ASK, n=3, logprobs=True, top_logprobs=4, logit_bias={"5": 1})).reply
    assert orjson.loads(forwarded()) == {**ASK, "n": 1}
    assert [choice["logprobs"] for choice in reply.json["choices"]] == [None]
    event = events_of(redis_db, gateway.key_id(key))[-1]
    assert (event.n, event.top_logprobs, event.logit_bias_size, event.action) == (3, 4, 1, "cap")
    assert event.decision == "throttled"
    assert counted("cap", "enforced") == before + 1


def test_a_capped_request_that_uses_nothing_of_it_keeps_its_bytes(
    limited: Any, redis_db: str, raw: Any, key: str, forwarded: Any
) -> None:
    """The body is only written anew where something was taken out of it."""
    gateway = limited(redis_db, {**plan(), "enforcement": POLICY})
    put(redis_db, gateway.key_id(key), "cap", requests_per_min=None)
    data = b'{"messages": [ {"role":"user","content":"\\u0068i"} ],\n "model":"still-small-2" }'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(data)}\r\n\r\n"
    assert raw(gateway.url, head.encode() + data).reply.status == 200
    assert forwarded() == data


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", ["enabled", "disabled"])
def test_a_capped_answer_has_no_thinking(
    thinking: str, stream: bool, limited: Any, redis_db: str, raw: Any, key: str
) -> None:
    """What the model thought is not in the answer, whole or streamed, and its length is that of what is sent."""
    gateway = limited(redis_db, {**plan(), "enforcement": POLICY})
    config = {"type": thinking, "budget_tokens": 2000} if thinking == "enabled" else {"type": thinking}
    body = {**ASK, "model": "claude-still-4", "stream": stream, "thinking": config, "max_tokens": 4000}
    plain = raw(gateway.url, request(key, MESSAGES, **body)).reply
    put(redis_db, gateway.key_id(key), "cap", requests_per_min=None)
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
    how: str, status: int, hides: bool, odd_url: str, rig: Any, limited: Any, redis_db: str, raw: Any, key: str
) -> None:
    """Whole answers without a length are read to their end, errors and text pass, and what cannot be read is no answer."""
    gateway = limited(redis_db, {**plan(), "gateway": {"upstream": odd_url}, "enforcement": POLICY})
    put(redis_db, gateway.key_id(key), "cap", requests_per_min=None)
    reply = raw(gateway.url, request(key, **ASK, user=how)).reply
    assert reply.status == status
    assert (SECRET in reply.body or b"reasoning is wrong" in reply.body) != hides
    if status == 200 and hides:
        assert reply.json["choices"][0]["message"] == {"content": "7", "reasoning": None}
        assert (len(reply.json.get("more", "")) == 200_000) == (how == "long")
        assert int(reply.header("content-length")) == len(reply.body)
        assert events_of(redis_db, gateway.key_id(key))[-1].output_tokens == 9


def test_stored_answers_are_capped_too(odd_url: str, limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """An answer that is read again shows no more than it did, and other reading is left alone."""
    gateway = limited(redis_db, {**plan(), "gateway": {"upstream": odd_url}, "enforcement": POLICY})
    put(redis_db, gateway.key_id(key), "cap", requests_per_min=None)

    def get(path: str) -> Any:
        return raw(gateway.url, f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode()).reply

    assert get("/v1/responses/resp_1").json["output"] == [{"type": "reasoning", "id": "rs_1", "summary": []}]
    assert SECRET in get("/v1/files/file_1").body


def test_a_stream_without_reasoning_and_without_the_usage_we_asked_for(
    odd_url: str, limited: Any, redis_db: str, raw: Any, key: str
) -> None:
    """What the gateway asked for itself and what the key may not see are both taken out of one stream."""
    sections = {"gateway": {"upstream": odd_url, "upstream_accepts_include_usage": True}, "enforcement": POLICY}
    gateway = limited(redis_db, {**plan(), **sections})
    put(redis_db, gateway.key_id(key), "cap", requests_per_min=None)
    body = raw(gateway.url, request(key, **ASK, user="stream", stream=True, n=2)).reply.body
    assert body == b'data: {"choices":[{"delta":{"content":"7"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    event = events_of(redis_db, gateway.key_id(key))[-1]
    assert (event.output_tokens, event.tokens_estimated, event.answer_chars) == (9, False, 1)


# Stopped


@pytest.fixture
def governed(rig: Any, limited: Any, redis_db: str, tmp_path: Any) -> Iterator[Any]:
    """A gateway that follows the real control plane, and `order(credential, action)` as the admin API gives orders."""
    sections = {**plan(requests_per_min=1000), "enforcement": {"appeal_url": POLICY["appeal_url"]}}
    settings = Settings.model_validate({**sections, "state": {"data_dir": str(tmp_path / "data")}})

    async def start() -> tuple[Control, Any]:
        client = background_client(redis_db, settings)
        control = Control(settings, client)
        await control.start()
        return control, client

    async def stop() -> None:
        await control.stop()
        await client.aclose()

    control, client = rig.thread.call(start())
    gateway = limited(redis_db, sections, control)

    def order(credential: str, action: ActionName) -> None:
        key_id = gateway.key_id(credential)
        since = time.time_ns() // 1000
        given = Order(
            since_us=since, until_us=since + 600_000_000, ref=reference(key_id, since), action=action, reason="test", by="a"
        )
        rig.thread.call(Orders(client).place(key_id, [partition_of(key_id, 16)], given, {"at_us": since}))

    gateway.order = order
    yield gateway
    rig.thread.call(stop())


SLOW = ("x-sim-chunks: 200", "x-sim-chunk-delay-ms: 50", "x-sim-words: 400")


@pytest.mark.parametrize("silent", [False, True], ids=["talking", "silent"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/responses"])
def test_a_suspension_ends_running_streams(
    path: str, silent: bool, governed: Any, redis_db: str, raw: Any, key: str
) -> None:
    """Within a second the stream ends with the refusal as an event, whether the model talks or not; others go on."""
    body = (
        {"model": "claude-still-4", "input": "hi", "stream": True}
        if path.endswith("responses")
        else {**ASK, "stream": True}
    )
    lines = SLOW if not silent else ("x-sim-chunks: 3", "x-sim-chunk-delay-ms: 3000", "x-sim-words: 400")
    ordered: list[float] = []

    def suspend() -> None:
        time.sleep(0.4)
        ordered.append(time.monotonic())
        governed.order(key, "suspend")

    thread = threading.Thread(target=suspend)
    began = time.monotonic()
    thread.start()
    wire = raw(governed.url, request(key, path, *lines, **body), timeout_sec=5)
    thread.join()
    assert began + wire.arrivals[-1][0] - ordered[0] < 1.0
    reply = wire.reply
    assert reply.status == 200
    last = reply.body.rstrip().rpartition(b"data: ")[2]
    error = orjson.loads(last)["error"]
    assert "https://provider.example/appeal" in error["message"]
    assert re.search(r"Reference: sw-[a-z2-7]{13}\.$", error["message"])
    if path == MESSAGES:
        assert b"event: error\n" in reply.body
        assert error["details"] == {"error_code": "organization_on_hold", "appeal_url": "https://provider.example/appeal"}
    else:
        assert error["code"] == "access_suspended"
    (event,) = events_of(redis_db, governed.key_id(key))
    assert (event.outcome, event.decision, event.action) == ("stopped", "blocked", "suspend")
    assert event.error == ("permission_error" if path == MESSAGES else "request_forbidden")
    assert (event.answer_chars > 0, event.output_tokens > 0) == (not silent, not silent)
    assert raw(governed.url, request(key, path)).reply.status == 403


def test_others_go_on_and_lesser_orders_stop_nothing(governed: Any, redis_db: str, raw: Any, key: str) -> None:
    """A step-up leaves what runs alone, and so does a suspension of somebody else; new requests are refused."""
    lines = ("x-sim-chunks: 20", "x-sim-chunk-delay-ms: 50", "x-sim-words: 100")

    def act() -> None:
        time.sleep(0.2)
        governed.order(key, "step_up")
        governed.order(key + "-other", "suspend")

    thread = threading.Thread(target=act)
    thread.start()
    reply = raw(governed.url, request(key, CHAT, *lines, **ASK, stream=True), timeout_sec=5).reply
    thread.join()
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert raw(governed.url, request(key)).reply.json["error"]["code"] == "verification_required"


@pytest.mark.parametrize("lane", ["fast", "slow"])
def test_a_whole_answer_that_has_not_begun_is_refused(lane: str, governed: Any, redis_db: str, raw: Any, key: str) -> None:
    """A request in flight is answered at once like a new one, in either lane, and its model is let go."""
    if lane == "fast":  # which takes a connection to the model that is open already
        assert raw(governed.url, request(key)).reply.status == 200
    thread = threading.Timer(0.3, governed.order, (key, "suspend"))
    thread.start()
    wire = raw(governed.url, request(key, CHAT, "x-sim-latency-ms: 4000"), timeout_sec=4)
    thread.join()
    assert wire.reply.status == 403
    assert wire.reply.json["error"]["code"] == "access_suspended"
    assert wire.seconds < 1.8
    event = events_of(redis_db, governed.key_id(key), 2 if lane == "fast" else 1)[-1]
    assert (event.outcome, event.decision, event.action, event.status) == ("refused", "blocked", "suspend", 403)


class Told(FixedRules):
    """Rules that change when a test says so."""

    def __init__(self, policy: EnforcementSettings, kill: Kill = "") -> None:
        super().__init__(policy, kill)
        self.orders: dict[str, Action] = {}
        self.listeners: list[Callable[[], None]] = []

    def order(self, key_id: str) -> Action | None:
        """This test's."""
        return self.orders.get(key_id)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """To be told."""
        self.listeners.append(changed)


@pytest.mark.parametrize("how", ["stop_streams", "kill"])
def test_streams_may_be_left_to_end(how: str, rig: Any, limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """With stop_streams off, or the kill switch on, a suspension ends no running stream."""
    rules = Told(EnforcementSettings(stop_streams=how == "kill"), "actions" if how == "kill" else "")
    gateway = limited(redis_db, plan(requests_per_min=10), rules)

    def suspend() -> None:
        until_us = time.time_ns() // 1000 + 60_000_000
        rules.orders[gateway.key_id(key)] = Action(Level.SUSPECT, "suspend", 1.0, None, until_us, "person", "sw-b")
        for changed in rules.listeners:
            rig.thread.loop.call_soon_threadsafe(changed)

    timer = threading.Timer(0.2, suspend)
    timer.start()
    lines = ("x-sim-chunks: 20", "x-sim-chunk-delay-ms: 30", "x-sim-words: 100")
    wire = raw(gateway.url, request(key, CHAT, *lines, **ASK, stream=True), timeout_sec=5)
    timer.join()
    assert wire.seconds > 0.3
    assert wire.reply.body.endswith(b"data: [DONE]\n\n")
    assert raw(gateway.url, request(key)).reply.status == (403 if how == "stop_streams" else 200)


def test_a_persons_block_counts_where_nothing_is_limited(rig: Any, raw: Any, key: str) -> None:
    """A gateway that limits nothing still refuses whom a person has blocked, and logs it; the kill switch ends that."""
    rules = Told(EnforcementSettings(appeal_url=POLICY["appeal_url"]))
    gateway = rig.gateway(sections={"gateway": {"enforce_limits": False}}, control=rules)
    assert raw(gateway.url, request(key)).reply.status == 200
    until_us = time.time_ns() // 1000 + 60_000_000
    rules.orders[gateway.key_id(key)] = Action(Level.SUSPECT, "suspend", 1.0, None, until_us, "person", "sw-b")
    reply = raw(gateway.url, request(key, MESSAGES)).reply
    assert (reply.status, reply.json["error"]["details"]["error_code"]) == (403, "organization_on_hold")
    question = f"GET /authz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    assert raw(gateway.url, question).reply.status == 403
    rules.kill = "actions"
    assert raw(gateway.url, request(key)).reply.status == 200
    first, second, third = gateway.events.of(gateway.key_id(key), 3)
    assert [event.decision for event in (first, second, third)] == ["allow", "blocked", "allow"]
    assert (second.action, second.status, second.outcome) == ("suspend", 403, "refused")


def test_policys_own_suspension_ends_what_runs(limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """Where policy may suspend by itself, the key's next request finds out, and its running streams end with it."""
    gateway = limited(redis_db, {**plan(requests_per_min=100), "enforcement": POLICY})

    def act() -> None:
        time.sleep(0.3)
        put(redis_db, gateway.key_id(key), "suspend")
        assert raw(gateway.url, request(key)).reply.status == 403

    thread = threading.Thread(target=act)
    thread.start()
    reply = raw(gateway.url, request(key, CHAT, *SLOW, **ASK, stream=True), timeout_sec=5).reply
    thread.join()
    assert orjson.loads(reply.body.rstrip().rpartition(b"data: ")[2])["error"]["code"] == "access_suspended"


# Asked by a proxy


@pytest.mark.parametrize("action", BLOCKS)
def test_a_proxy_is_told_of_blocks(action: ActionName, limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """For nginx a block is a 403 with status and body in headers; for others it is the client's answer."""
    gateway = limited(redis_db, {**plan(requests_per_min=5), "enforcement": POLICY})
    put(redis_db, gateway.key_id(key), action)
    question = f"GET /authz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    original = "X-Original-Method: POST\r\nX-Original-URI: /v1/messages\r\n\r\n"
    reply = raw(gateway.url, (question + original).encode()).reply
    assert (reply.status, reply.header("x-gw-status"), reply.header("x-should-retry")) == (403, "403", "false")
    assert orjson.loads(reply.header("x-gw-body"))["error"]["type"] == "permission_error"
    direct = raw(gateway.url, (question.replace("/authz", "/authz?style=direct") + original).encode()).reply
    assert without_numbers(direct.body) == without_numbers(raw(gateway.url, request(key, MESSAGES)).reply.body)


def test_a_proxy_is_told_of_throttles_as_of_limits(limited: Any, redis_db: str, raw: Any, key: str) -> None:
    """A capped key is throttled there, and refused as a limited one is."""
    gateway = limited(redis_db, {**plan(requests_per_min=8), "enforcement": POLICY})
    put(redis_db, gateway.key_id(key), "cap", factor=0.25)
    question = f"GET /authz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nX-Original-URI: {CHAT}\r\n\r\n".encode()
    replies = [raw(gateway.url, question).reply for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 403]
    assert (replies[2].header("x-gw-status"), replies[2].header("retry-after")) != ("", "")
    assert orjson.loads(replies[2].header("x-gw-body"))["error"]["code"] == "rate_limit_exceeded"
