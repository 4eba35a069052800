"""A suspension while answers run: how they end, in either lane, by the real control plane or by policy itself."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from app.enforcement.control import Control
from app.enforcement.policy import Action, reference
from app.enforcement.rules import FixedRules, Kill
from app.settings import ActionName, EnforcementSettings, Settings
from app.state.factory import background_client
from app.state.keys import partition_of
from app.state.orders import Order, Orders
from detectors.contract import Level

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
ASK: dict[str, Any] = {"model": "still-small-2", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
POLICY = {
    "mode": "enforce",
    "automatic_up_to": "suspend",
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
    path: str, silent: bool, governed: Any, redis_db: str, raw: Any, key: str, events_of: Any
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
    (event,) = events_of(governed.key_id(key))
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
def test_a_whole_answer_that_has_not_begun_is_refused(
    lane: str, governed: Any, redis_db: str, raw: Any, key: str, events_of: Any
) -> None:
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
    event = events_of(governed.key_id(key), 2 if lane == "fast" else 1)[-1]
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


def test_policys_own_suspension_ends_what_runs(limited: Any, redis_db: str, raw: Any, key: str, put: Any) -> None:
    """Where policy may suspend by itself, the key's next request finds out, and its running streams end with it."""
    gateway = limited(redis_db, {**plan(requests_per_min=100), "enforcement": POLICY})

    def act() -> None:
        time.sleep(0.3)
        put(gateway.key_id(key), "suspend")
        assert raw(gateway.url, request(key)).reply.status == 403

    thread = threading.Thread(target=act)
    thread.start()
    reply = raw(gateway.url, request(key, CHAT, *SLOW, **ASK, stream=True), timeout_sec=5).reply
    thread.join()
    assert orjson.loads(reply.body.rstrip().rpartition(b"data: ")[2])["error"]["code"] == "access_suspended"
