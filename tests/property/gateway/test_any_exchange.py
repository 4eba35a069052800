"""Any JSON whatsoever, as request and as answer, becomes an event that can be stored and read again."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway import dialects
from app.gateway.capture import Capture
from app.gateway.dialects.shape import Answer
from app.gateway.identity import NOWHERE, Identity
from app.gateway.observe import TextLimits, event_from_exchange
from app.gateway.routes import MODELS, OTHER, Route, operation
from detectors.event import TEXT_FIELDS, decode, encode

NAMES = [
    "model", "messages", "role", "content", "text", "type", "input", "prompt", "n", "best_of", "stream",
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "logprobs", "top_logprobs",
    "logit_bias", "tools", "function", "functions", "name", "response_format", "json_schema", "schema",
    "reasoning_effort", "reasoning", "effort", "thinking", "budget_tokens", "system", "instructions", "tool_calls",
    "output", "choices", "message", "delta", "index", "finish_reason", "usage", "prompt_tokens", "completion_tokens",
    "input_tokens", "output_tokens", "prompt_tokens_details", "refusal", "cached_tokens", "error", "code",
    "stop_reason", "status", "incomplete_details", "reason", "content_block", "output_config", "format", "item",
    "response",
]  # fmt: skip
WORDS = [
    "user", "assistant", "system", "tool", "developer", "text", "refusal", "tool_use", "tool_result", "function_call",
    "function_call_output", "enabled", "adaptive", "json_schema", "message_start", "message_delta",
    "content_block_delta", "content_block_start", "error", "stop", "response.completed", "response.output_text.delta",
    "response.output_item.added", "5", "1e999", "nan", "true",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=30).filter(lambda text: text.isprintable())
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=8),
    max_leaves=30,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=10)
ROUTES = [
    MODELS,
    OTHER,
    *map(operation, ("chat", "responses", "completions", "embeddings", "messages", "count_tokens")),
]
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"user-agent", b"x-stainless-lang", b"x-stainless-retry-count", b"x-a"]), st.binary(max_size=20)
    ),
    max_size=6,
)


@settings(max_examples=250)
@given(
    route=st.sampled_from(ROUTES),
    request=BODIES,
    answer=BODIES,
    headers=HEADERS,
    stream=st.booleans(),
    status=st.sampled_from([200, 404, 503]),
)
def test_any_exchange_becomes_an_event(
    route: Route, request: Any, answer: Any, headers: Any, stream: bool, status: int
) -> None:
    """No body makes the reading fail, the reserve is a count, and the event survives its own encoding with bounded text."""
    assert 0 <= dialects.max_output(route, request, 100) <= 2**170
    capture = Capture(route, Answer(), 5)
    capture.start(status, b"text/event-stream" if stream else b"application/json", False)
    raw = orjson.dumps(answer)
    capture.feed(b"data: " + raw + b"\n\n" if stream else raw)
    capture.close()
    event = event_from_exchange(
        event_id="e",
        at_us=1,
        identity=Identity("k"),
        place=NOWHERE,
        route=route,
        body=request,
        headers=headers,
        answer=capture.answer,
        limits=TextLimits(16, 8),
    )
    assert decode(encode(event)) == event
    assert all(len(getattr(event, field)) <= 16 for field in TEXT_FIELDS)
    assert event.input_tokens >= 0
    assert event.output_tokens >= 0
