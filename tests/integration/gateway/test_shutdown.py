"""What clients see of a gateway that is told to stop."""

from __future__ import annotations

import threading
import time
from typing import Any

import openai
import pytest
from openai import OpenAI

ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]


def test_running_stream_ends_within_the_grace_time(rig: Any, key: str) -> None:
    """A stream that ends in time is whole; meanwhile no new connection is accepted."""
    gateway = rig.gateway(sections={"gateway": {"grace_sec": 10}})
    slow = {"x-sim-chunk-delay-ms": "40", "x-sim-chunks": "12"}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(model="still-small-2", messages=ASK, stream=True, extra_headers=slow)
        chunks = [next(stream)]
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        time.sleep(0.2)
        with (
            OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as late,
            pytest.raises(openai.APIConnectionError),
        ):
            late.models.list()
        chunks += stream
    assert chunks[-1].choices[0].finish_reason == "stop"
    stopping.join(10)
    assert not stopping.is_alive()
    (event,) = gateway.events.of(gateway.key_id(key))
    assert event.outcome == "complete"


def test_stream_beyond_the_grace_time_ends_in_an_error_event(rig: Any, key: str) -> None:
    """A stream that would not end in time is told that the service restarts; its event holds what was taken."""
    gateway = rig.gateway(sections={"gateway": {"grace_sec": 1}})
    slow = {"x-sim-chunk-delay-ms": "100", "x-sim-chunks": "300", "x-sim-words": "400"}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(model="still-small-2", messages=ASK, stream=True, extra_headers=slow)
        next(stream)
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        taken: list[Any] = []
        with pytest.raises(openai.APIError) as caught:
            taken.extend(stream)
    stopping.join(10)
    assert not stopping.is_alive()
    assert caught.value.code == "overloaded"
    assert taken
    (event,) = gateway.events.of(gateway.key_id(key))
    assert event.outcome == "upstream_cut"
    assert event.output_tokens > 0


def test_plain_request_beyond_the_grace_time_is_refused_and_logged(rig: Any, key: str, raw: Any) -> None:
    """A request whose answer has not come when the grace is over gets an error, and its event says that it was cut."""
    gateway = rig.gateway(sections={"gateway": {"grace_sec": 1}})
    body = b'{"model":"still-small-2","messages":[{"role":"user","content":"Hello."}]}'
    ask = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n"
    ask %= (key.encode(), len(body))
    stopping = threading.Timer(0.5, gateway.stop)
    stopping.start()
    # The first request opens the connection to the model that the second one then finds.
    pieces = [ask + b"\r\n" + body, 0.3, ask + b"x-sim-latency-ms: 6000\r\n\r\n" + body]
    wire = raw(gateway.url, pieces, replies=2, timeout_sec=5.0)
    assert [reply.status for reply in wire.replies] == [200, 500]
    stopping.join(10)
    assert not stopping.is_alive()
    events = gateway.events.of(gateway.key_id(key))
    assert [event.outcome for event in events] == ["complete", "upstream_cut"]
