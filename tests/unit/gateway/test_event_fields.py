"""Every field of an event says what the field of that name says: they are given by position."""

from __future__ import annotations

from app.gateway.dialects.shape import Answer
from app.gateway.identity import Identity, Place
from app.gateway.observe import TextLimits, event_from_exchange
from app.gateway.routes import classify
from detectors.event import Event, decode, encode

_IDENTITY = {
    "key_id": "key",
    "org_id": "org",
    "plan": "gold",
    "key_created_us": 11,
    "payment_id": "pay",
    "authorised": ("evaluation",),
    "country": "",
}
_ANSWER = {
    "status": 200,
    "outcome": "disconnected",
    "error": "server_error",
    "finish_reason": "length",
    "input_tokens": 21,
    "output_tokens": 22,
    "reasoning_tokens": 23,
    "cached_tokens": 24,
    "tool_calls": 25,
    "latency_us": 26,
    "first_byte_us": 27,
    "decision": "throttled",
    "action": "would_cap",
}
_BODY = {
    "model": "m-1",
    "stream": True,
    "n": 2,
    "temperature": 0.25,
    "top_p": 0.5,
    "max_tokens": 31,
    "logprobs": True,
    "top_logprobs": 7,
    "logit_bias": {"1": 2},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x"}},
    "tools": [{"name": "t1"}, {"name": "t2"}],
    "reasoning_effort": "low",
    "reasoning": {"max_tokens": 41},
    "user": "somebody",
    "messages": [
        {"role": "system", "content": "abcdefg"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two", "reasoning_details": [{"signature": "c2ln"}]},
        {"role": "user", "content": "123456789"},
    ],
}
_REQUEST = {
    "model": "m-1",
    "stream": True,
    "n": 2,
    "temperature": 0.25,
    "top_p": 0.5,
    "max_tokens": 31,
    "top_logprobs": 7,
    "logit_bias_size": 1,
    "response_format": "json_schema",
    "tool_count": 2,
    "reasoning_effort": "low",
    "roles": "suau",
    "message_count": 4,
    "user_turns": 2,
    "system_chars": 7,
    "user_chars": 9,
    "thinking_budget": 41,
    "input_items": 1,
}


def _event() -> Event:
    return event_from_exchange(
        event_id="id",
        at_us=1,
        identity=Identity(**_IDENTITY),
        place=Place("prefix", "cloud", "NL"),
        route=classify("POST", "/v1/chat/completions"),
        body=_BODY,
        headers={"user-agent": "OpenAI/Python 1.2.3", "x-stainless-lang": "python", "x-stainless-retry-count": "3"},
        answer=Answer(**_ANSWER, refusal=True, estimated=True, text_head="answered", chars=28, blocks=[1, 258, 1]),
        limits=TextLimits(head=4, tail=2),
    )


def test_what_is_given_stands_under_its_name() -> None:
    """Identity, request, answer, client, place and texts are found in the fields that are named after them."""
    event = _event()
    rest = {
        "event_id": "id",
        "at_us": 1,
        "dialect": "openai",
        "route": "chat",
        "refusal": True,
        "tokens_estimated": True,
        "answer_chars": 28,
        "sdk": "openai-python",
        "agent_class": "openai",
        "retry_count": 3,
        "ip_prefix_id": "prefix",
        "asn_class": "cloud",
        "country": "NL",
        "system_head": "abcd",
        "system_tail": "fg",
        "user_head": "1234",
        "user_tail": "89",
        "answer_head": "answ",
        "emitted": bytes((1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0)),
    }
    expected = _IDENTITY | _ANSWER | _REQUEST | rest
    assert {name: getattr(event, name) for name in expected} == expected
    digests = {name for name in Event.__struct_fields__ if name.endswith("_digest")}
    marks = {name for name in Event.__struct_fields__ if name.startswith("mark_")}  # put in where answers are marked
    assert set(Event.__struct_fields__) == digests | set(expected) | {"replayed"} | marks
    assert event.replayed.endswith(event.prefix_digest.to_bytes(8, "little"))
    assert len(event.replayed) == 16
    assert len({getattr(event, name) for name in digests} - {0}) == len(digests)


def test_its_bytes_give_it_back() -> None:
    """The event survives the stream."""
    event = _event()
    assert decode(encode(event)) == event
