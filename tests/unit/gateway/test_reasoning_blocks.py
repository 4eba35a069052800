"""Blocks of reasoning have the same digest when they are given out, streamed or not, and when they are brought back."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from app.gateway.capture import Capture
from app.gateway.dialects.shape import Answer
from app.gateway.identity import Identity, Place
from app.gateway.observe import TextLimits, event_from_exchange
from app.gateway.routes import Route, classify
from detectors.event import Event

CHAT = classify("POST", "/v1/chat/completions")
RESPONSES = classify("POST", "/v1/responses")
MESSAGES = classify("POST", "/v1/messages")
THOUGHT = "  First the sum is taken apart, then each half is looked at on its own, and both are put together again.\n"


def _event(route: Route, body: Any, answer: Answer | None = None) -> Event:
    return event_from_exchange(
        event_id="e",
        at_us=1,
        identity=Identity("k"),
        place=Place(),
        route=route,
        body=body,
        headers=[],
        answer=answer or Answer(),
        limits=TextLimits(),
    )


def _read(route: Route, *parts: bytes, stream: bool) -> Answer:
    answer = Answer()
    capture = Capture(route, answer, 0)
    capture.start(200, b"text/event-stream" if stream else b"application/json", encoded=False)
    for part in parts:
        capture.feed(part)
    capture.close()
    return answer


def _sse(*payloads: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(payload) + b"\n\n" for payload in payloads)


def _blocks(data: bytes) -> set[int]:
    return set(struct.unpack(f"<{len(data) // 8}Q", data))


def _replayed(event: Event) -> list[tuple[int, int]]:
    return list(struct.iter_unpack("<QQ", event.replayed))  # type: ignore[arg-type]


QUESTION = {"role": "user", "content": "how much?"}
NEXT = {"role": "user", "content": "and then?"}
SIGNED = {"type": "thinking", "thinking": THOUGHT, "signature": "c2lnbmF0dXJl"}
REDACTED = {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="}
ITEM = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Y2lwaGVy"}
TEXT = {"type": "text", "text": "42"}

MESSAGES_STREAM = _sse(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": THOUGHT[:30]}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": THOUGHT[30:]}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2lnbmF0"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "dXJl"}},
    {"type": "content_block_start", "index": 1, "content_block": REDACTED},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "42"}},
    {"type": "message_stop"},
)
RESPONSES_STREAM = _sse(
    {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
    {"type": "response.completed", "response": {"output": [ITEM], "usage": {"input_tokens": 1, "output_tokens": 1}}},
)
CHAT_STREAM = _sse(
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "reasoning_content": THOUGHT[:11]}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": THOUGHT[11:]}}]},
    {"choices": [{"index": 0, "delta": {"content": "42"}}]},
)
DETAILS_STREAM = _sse(
    {
        "choices": [
            {"index": 0, "delta": {"reasoning": "so", "reasoning_details": [{"type": "reasoning.text", "text": "so"}]}}
        ]
    },
    {"choices": [{"index": 0, "delta": {"reasoning_details": [{"type": "reasoning.text", "signature": "c2ln"}]}}]},
)
CASES = {
    "messages": (
        MESSAGES,
        {"content": [SIGNED, REDACTED, TEXT]},
        MESSAGES_STREAM,
        {"messages": [QUESTION]},
        {"messages": [QUESTION, {"role": "assistant", "content": [SIGNED, REDACTED, TEXT]}, NEXT]},
        2,
    ),
    "responses": (
        RESPONSES,
        {"output": [ITEM]},
        RESPONSES_STREAM,
        {"input": "how much?"},
        {"input": [QUESTION, ITEM, {"role": "assistant", "content": "42"}, NEXT]},
        1,
    ),
    "responses by id": (
        RESPONSES,
        {"output": [ITEM]},
        RESPONSES_STREAM,
        {"input": [QUESTION]},
        {"input": [QUESTION, {"type": "reasoning", "id": "rs_1", "summary": []}, NEXT]},
        1,
    ),
    "chat text": (
        CHAT,
        {"choices": [{"message": {"role": "assistant", "content": "42", "reasoning_content": THOUGHT}}]},
        CHAT_STREAM,
        {"messages": [QUESTION]},
        {"messages": [QUESTION, {"role": "assistant", "content": "42", "reasoning_content": THOUGHT.strip()}, NEXT]},
        1,
    ),
    "chat details": (
        CHAT,
        {
            "choices": [
                {
                    "message": {
                        "role": "assistant",
                        "content": "42",
                        "reasoning_details": [{"text": "so", "signature": "c2ln"}],
                    }
                }
            ]
        },
        DETAILS_STREAM,
        {"messages": [QUESTION]},
        {
            "messages": [
                QUESTION,
                {"role": "assistant", "content": "42", "reasoning_details": [{"text": "so", "signature": "c2ln"}]},
                NEXT,
            ]
        },
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_block_is_known_again_when_it_comes_back(name: str) -> None:
    """Given whole or streamed, and brought back under the conversation it was given in."""
    route, whole, stream, first, then, count = CASES[name]
    given = _event(route, first, _read(route, orjson.dumps(whole), stream=False))
    streamed = _event(route, first, _read(route, stream[:40], stream[40:], stream=True))
    back = _replayed(_event(route, then))
    assert len(back) == count
    assert {block for block, _ in back} <= _blocks(given.emitted)
    assert {block for block, _ in back} <= _blocks(streamed.emitted)
    assert {chain for _, chain in back} == {given.chain_digest}


def test_a_block_under_other_words_names_another_conversation() -> None:
    """The digest before the answer is that of what the client said then."""
    route, _, _, first, then, _ = CASES["messages"]
    moved = {"messages": [{"role": "user", "content": "something else"}, *then["messages"][1:]]}
    assert {chain for _, chain in _replayed(_event(route, moved))} != {_event(route, first).chain_digest}


def test_an_exchange_holds_a_bounded_number_of_blocks() -> None:
    """The last sixteen of a request, and sixteen of an answer."""
    turns = [{"role": "assistant", "content": [{**SIGNED, "signature": f"s{n}"}, TEXT]} for n in range(40)]
    event = _event(
        MESSAGES,
        {"messages": [QUESTION, *turns]},
        _read(
            MESSAGES,
            orjson.dumps({"content": turns[0]["content"] * 3 + [{**SIGNED, "signature": f"t{n}"} for n in range(40)]}),
            stream=False,
        ),
    )
    assert len(event.replayed) == 16 * 16
    assert len(event.emitted) == 16 * 8
    last = _event(MESSAGES, {"messages": [QUESTION, turns[-1]]})
    assert _replayed(event)[-1] == _replayed(last)[0]


def test_a_budget_and_an_end_user_are_read() -> None:
    """Of either dialect; an end user is a number that no name can be told from, and the same for the same one."""
    anthropic = _event(MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 2048}, "metadata": {"user_id": "u1"}})
    openai = _event(CHAT, {"user": "u1", "reasoning": {"max_tokens": 99}})
    assert (anthropic.thinking_budget, openai.thinking_budget) == (2048, 99)
    assert 0 < anthropic.end_user_digest == openai.end_user_digest < 1 << 25
    assert _event(RESPONSES, {"safety_identifier": "u2"}).end_user_digest not in (0, openai.end_user_digest)
    assert _event(CHAT, {}).end_user_digest == 0


@pytest.mark.parametrize(
    "junk", [None, 7, [], {}, [1], [[]], {"type": "thinking"}, "x", [{"signature": {}}], [{"type": "thinking"}]]
)
def test_what_is_no_block_is_none(junk: Any) -> None:
    """Any JSON in the place of a block, a signature or a text gives no block and no error."""
    for body in (
        {"messages": [{"role": "assistant", "content": junk, "reasoning_details": junk, "reasoning_content": junk}]},
        {"input": [{"type": "reasoning", "id": junk if junk != "x" else "", "encrypted_content": None}], "reasoning": junk},
        {"metadata": junk, "user": junk if junk != "x" else "", "thinking": junk},
    ):
        for route in (CHAT, RESPONSES, MESSAGES):
            assert _event(route, body).replayed == b""
    for payload in (
        {"choices": [{"delta": {"reasoning_details": junk, "reasoning": junk}, "index": junk}]},
        {"type": "content_block_start", "content_block": junk, "index": junk},
        {
            "type": "content_block_delta",
            "delta": {"signature": junk if junk != "x" else "", "thinking": junk},
            "index": junk,
        },
        {"type": "response.output_item.done", "item": junk},
    ):
        for route in (CHAT, RESPONSES, MESSAGES):
            assert _read(route, _sse(payload), stream=True).blocks == []
