"""The gateway with the real limiter and event log: what limited clients are told, and what is charged."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anthropic
import openai
import pytest
import redis
from anthropic import Anthropic
from openai import OpenAI

from app.enforcement.policy import encode_verdict
from app.settings import ActionRule
from app.state.keys import PartitionKeys, partition_of
from app.telemetry import metrics
from detectors.contract import Level
from detectors.event import Event, decode

ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]


def plan(**rule: Any) -> dict[str, Any]:
    """Settings whose default plan has this rule for each key."""
    return {"limits": {"plans": {"default": {"key": rule}}, "default_output_tokens": 100}}


def events_of(redis_url: str, key_id: str, count: int) -> list[Event]:
    """The events of a key in its partition's stream, once there are that many."""
    stream = PartitionKeys(partition_of(key_id, 16)).stream
    until = time.monotonic() + 5
    with redis.Redis.from_url(redis_url) as client:
        while True:
            found = [decode(fields[b"e"]) for _, fields in client.xrange(stream)]
            mine = [event for event in found if event.key_id == key_id]
            if len(mine) >= count or time.monotonic() > until:
                return mine
            time.sleep(0.01)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for something that is settled after the answer."""
    until = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)


def test_openai_client_over_its_requests(limited: Any, redis_db: str, key: str) -> None:
    """Over the limit an OpenAI client gets RateLimitError with the provider's words, code, headers and a true wait."""
    gateway = limited(redis_db, plan(requests_per_min=2))
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        first = client.chat.completions.with_raw_response.create(model="still-small-2", messages=ASK)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["ratelimit-policy"].startswith('"requests";q=2;w=60')
        client.chat.completions.create(model="still-small-2", messages=ASK)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="still-small-2", messages=ASK)
    error = caught.value
    assert (error.code, error.type, error.param) == ("rate_limit_exceeded", "requests", None)
    said = re.search(
        r"Rate limit reached for this key on requests per min \(RPM\): Limit 2\. Please try again in ([0-9.]+)s\.",
        error.message,
    )
    assert said
    headers = error.response.headers
    wait = int(headers["retry-after"])
    assert 28 <= wait <= 30
    assert wait - 1 <= float(said[1]) <= wait
    assert wait - 1 <= int(headers["retry-after-ms"]) / 1000 <= wait
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert re.fullmatch(r"(\d+m)?[0-9.]+s", headers["x-ratelimit-reset-requests"])
    assert "x-should-retry" not in headers
    assert error.request_id
    logged = events_of(redis_db, gateway.key_id(key), 3)
    assert [event.decision for event in logged] == ["allow", "allow", "limited"]
    assert (logged[2].status, logged[2].outcome, logged[2].error) == (429, "refused", "requests")
    assert (logged[2].input_tokens, logged[2].output_tokens) == (0, 0)
    assert logged[2].event_id == error.request_id


def test_anthropic_client_over_its_requests(limited: Any, redis_db: str, key: str) -> None:
    """Over the limit an Anthropic client gets RateLimitError with that API's body and headers."""
    gateway = limited(redis_db, plan(requests_per_min=1))
    with Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as client:
        client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    error: Any = caught.value
    assert (error.type, error.error_code) == ("rate_limit_error", None)
    assert error.body["type"] == "error"
    assert error.body["request_id"] == error.request_id
    headers = error.response.headers
    assert (headers["anthropic-ratelimit-requests-limit"], headers["anthropic-ratelimit-requests-remaining"]) == ("1", "0")
    assert datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"]).timestamp() > time.time()
    assert 58 <= int(headers["retry-after"]) <= 60
    assert not [name for name in headers if name.startswith("x-ratelimit-")]


def test_problem_document_on_request(limited: Any, redis_db: str, key: str) -> None:
    """A client that accepts problem+json gets the IETF draft's problem type and the violated policy."""
    gateway = limited(redis_db, plan(requests_per_min=1))
    accept = {"accept": "application/problem+json, application/json"}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        client.models.list()
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="still-small-2", messages=ASK, extra_headers=accept)
    response = caught.value.response
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["status"], problem["violated-policies"]) == (429, ["requests"])
    assert problem["instance"].endswith(response.headers["x-request-id"])
    assert '"requests"' in response.headers["ratelimit-policy"]


def test_sdk_waits_as_long_as_it_is_told(limited: Any, redis_db: str, key: str) -> None:
    """An SDK that retries obeys our wait, and one retry is then enough."""
    gateway = limited(redis_db, plan(requests_per_min=120))
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=1) as client:
        for _ in range(123):
            client.models.retrieve("still-small-2")
    retried = events_of(redis_db, gateway.key_id(key), 124)
    assert len([event for event in retried if event.status == 200 and event.retry_count == 0]) >= 120
    refused = [event for event in retried if event.status == 429]
    assert refused
    assert {event.retry_count for event in refused} == {0}


def test_tokens_are_reserved_then_settled(limited: Any, redis_db: str, key: str) -> None:
    """A running request holds its maximum of output tokens; when it ends, what it did not use can be used again."""
    gateway = limited(redis_db, plan(output_tokens_per_min=1000))
    ask: Any = {"model": "still-small-2", "messages": ASK, "max_tokens": 900}
    slow: Any = {"x-sim-chunk-delay-ms": "60", "x-sim-chunks": "5", "x-sim-words": "10"}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(
            **ask, stream=True, stream_options={"include_usage": True}, extra_headers=slow
        )
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**ask)
        assert (caught.value.type, caught.value.code) == ("tokens", "rate_limit_exceeded")
        assert "output tokens per min (OTPM): Limit 1000" in caught.value.message
        used = list(stream)[-1].usage
        assert used is not None
        eventually(lambda: bool(_passes(client, ask)))
    last = events_of(redis_db, gateway.key_id(key), 3)[-1]
    assert last.output_tokens < 900


def _passes(client: OpenAI, ask: Any) -> Any:
    try:
        return client.chat.completions.create(**ask)
    except openai.RateLimitError:
        return None


@pytest.mark.parametrize("fault", [{"x-sim-status": "500"}, {"x-sim-cut-after": "0"}])
def test_failed_request_gives_its_tokens_back(fault: Any, limited: Any, redis_db: str, key: str) -> None:
    """When the upstream fails, the reserved tokens come back; the request stays charged."""
    gateway = limited(redis_db, plan(output_tokens_per_min=1000, requests_per_min=10))
    ask: Any = {"model": "still-small-2", "messages": ASK, "max_tokens": 900}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        for _ in range(3):
            with pytest.raises(openai.InternalServerError):
                client.chat.completions.create(**ask, extra_headers=fault)
            events_of(redis_db, gateway.key_id(key), _ + 1)
        passed = client.chat.completions.with_raw_response.create(**ask)
    assert passed.headers["x-ratelimit-remaining-requests"] == "6"


def test_request_that_can_never_pass_is_not_retried(limited: Any, redis_db: str, key: str) -> None:
    """A request larger than its whole budget is refused once, and the SDK is told not to try again."""
    gateway = limited(redis_db, plan(output_tokens_per_min=1000))
    with (
        OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=2) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="still-small-2", messages=ASK, max_tokens=5000)
    assert "Request too large for this key" in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(events_of(redis_db, gateway.key_id(key), 1)) == 1


def test_leaving_frees_the_place_of_a_running_request(limited: Any, redis_db: str, key: str) -> None:
    """With one concurrent request allowed, a second is refused until the first client leaves."""
    gateway = limited(redis_db, plan(concurrent=1))
    slow: Any = {"x-sim-chunk-delay-ms": "50", "x-sim-chunks": "200"}
    ask: Any = {"model": "still-small-2", "messages": ASK}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(**ask, stream=True, extra_headers=slow)
        next(stream)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**ask)
        assert "concurrent requests: Limit 1" in caught.value.message
        assert int(caught.value.response.headers["retry-after"]) <= 5
        stream.close()
        eventually(lambda: bool(_passes(client, ask)))


def throttle(redis_url: str, key_id: str) -> None:
    """What the worker writes about a suspected key."""
    keys = PartitionKeys(partition_of(key_id, 16))
    verdict = encode_verdict(Level.SUSPECT, ActionRule(action="throttle", factor=0.1), time.time_ns() // 1000)
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.verdict(key_id), verdict, ex=60)


def test_throttled_client_is_told_so_in_its_providers_words(limited: Any, redis_db: str, key: str) -> None:
    """A key under a verdict keeps its share of the budget; its refusals are a rate limit's and name no detector."""
    gateway = limited(redis_db, {**plan(requests_per_min=20), "enforcement": {"mode": "enforce"}})
    throttle(redis_db, gateway.key_id(key))
    with Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as client:
        for _ in range(2):
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        error: Any = caught.value
        assert (error.type, error.error_code) == ("rate_limit_error", None)
        assert 1 <= int(error.response.headers["retry-after"]) <= 60
        assert not re.search("suspect|verdict|detect|distil|score", str(error.body), re.IGNORECASE)
        with pytest.raises(anthropic.RateLimitError) as asked:
            client.messages.create(
                model="claude-still-4", max_tokens=9, messages=ASK, extra_headers={"accept": "application/problem+json"}
            )
    assert asked.value.response.json()["type"].endswith("#quota-exceeded")
    logged = events_of(redis_db, gateway.key_id(key), 4)
    assert {(event.decision, event.action) for event in logged} == {("throttled", "throttle")}


def test_shadow_mode_only_counts(limited: Any, redis_db: str, key: str) -> None:
    """In shadow mode the same verdict changes nothing for the client, and what it would have done is counted."""
    gateway = limited(redis_db, plan(requests_per_min=20))
    throttle(redis_db, gateway.key_id(key))

    def counted() -> float:
        return sum(
            sample.value
            for metric in metrics.SHADOW.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )

    before = counted()
    with Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as client:
        for _ in range(5):
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    assert counted() - before == 5
    assert {event.decision for event in events_of(redis_db, gateway.key_id(key), 5)} == {"allow"}
