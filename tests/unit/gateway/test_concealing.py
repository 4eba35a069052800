"""Reasoning taken out of whole answers and streams of each dialect, and everything else left as it was."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.concealing import HELD_MAX_BYTES, ConcealingFilter, TooLong, conceal_whole, conceals
from app.gateway.routes import OTHER, operation

SECRET = "because seven is prime"
CHAT: dict[str, Any] = {
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "7", "reasoning": SECRET, "reasoning_content": SECRET}},
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": "8",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": SECRET, "signature": "sig"},
                    {"type": "reasoning.summary", "summary": "short"},
                    {"type": "reasoning.encrypted", "data": "opaque"},
                ],
            },
        },
    ],
    "usage": {"completion_tokens_details": {"reasoning_tokens": 4}},
}
ITEM: dict[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "short"}],
    "content": [{"type": "reasoning_text", "text": SECRET}],
    "encrypted_content": "opaque",
}
SAID = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "7"}]}
RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "output": [ITEM, SAID]}
MESSAGE: dict[str, Any] = {
    "type": "message",
    "content": [
        {"type": "thinking", "thinking": SECRET, "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "7"},
    ],
}


def whole(body: dict[str, Any], *, summaries: bool = False) -> dict[str, Any]:
    """The answer after concealing."""
    found: dict[str, Any] = orjson.loads(conceal_whole(orjson.dumps(body), summaries=summaries))
    return found


def test_chat_whole() -> None:
    """Members that hold reasoning are null, parts that say what they are keep signatures and what is opaque."""
    first, second = whole(CHAT)["choices"]
    assert first["message"] == {"role": "assistant", "content": "7", "reasoning": None, "reasoning_content": None}
    assert [tuple(part.values()) for part in second["message"]["reasoning_details"]] == [
        ("reasoning.text", "", "sig"),
        ("reasoning.summary", ""),
        ("reasoning.encrypted", "opaque"),
    ]
    kept = whole(CHAT, summaries=True)["choices"][1]["message"]["reasoning_details"]
    assert (kept[0]["text"], kept[1]["summary"]) == ("", "short")
    assert whole(CHAT)["usage"] == CHAT["usage"]


def test_response_whole() -> None:
    """The item stays with its id and what is opaque, and loses its text; a summary stays where summaries do."""
    item, said = whole(RESPONSE)["output"]
    assert item == {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "opaque"}
    assert said == SAID
    assert whole(RESPONSE, summaries=True)["output"][0]["summary"] == ITEM["summary"]
    assert whole({"object": "list", "data": [ITEM, SAID, RESPONSE]})["data"][0] == item


def test_message_whole() -> None:
    """A thinking block keeps its place and signature, as if its display had been omitted."""
    blocks = whole(MESSAGE)["content"]
    assert blocks == [{"type": "thinking", "thinking": "", "signature": "sig"}, *MESSAGE["content"][1:]]
    assert whole(MESSAGE, summaries=True) == MESSAGE


@pytest.mark.parametrize(
    "data", [b"", b"no json reasoning", b'["reasoning"]', b'{"a": 1}', b'{"choices": [{"message": {"content": "x"}}]}']
)
def test_what_holds_no_reasoning_keeps_its_bytes(data: bytes) -> None:
    """Nothing is serialised again that needs no change."""
    assert conceal_whole(data, summaries=False) is data


def sse(*payloads: Any, named: bool = True) -> bytes:
    """Events as the providers write them."""
    out = b""
    for payload in payloads:
        if named and type(payload) is dict and "type" in payload:
            out += b"event: %b\n" % payload["type"].encode()
        out += b"data: %b\n\n" % (payload if type(payload) is bytes else orjson.dumps(payload))
    return out


def passed(stream: bytes, *, summaries: bool = False, renumber: bool = True) -> list[dict[str, Any]]:
    """Payloads that come through."""
    through = ConcealingFilter(summaries=summaries, renumber=renumber)
    out = through.pass_on(stream) + through.flush()
    return [
        orjson.loads(line[5:]) for line in out.split(b"\n") if line.startswith(b"data:") and line[5:].strip() != b"[DONE]"
    ]


def chunk(finish: str | None = None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    """One chunk of a chat completion."""
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage}


CHUNKS = [
    chunk(role="assistant", content="", reasoning_content=""),
    chunk(reasoning_content=SECRET, reasoning=SECRET),
    chunk(reasoning=SECRET, content=None),
    chunk(content="7", reasoning=None),
    chunk(finish="stop", reasoning_content=SECRET),
    chunk(reasoning=SECRET, usage={"total_tokens": 5}),
    chunk(content="the reasoning is over"),
]


def test_chat_stream() -> None:
    """Chunks of reasoning alone are gone; who speaks, text, the end and usage stay."""
    assert passed(sse(*CHUNKS, b"[DONE]")) == [
        chunk(role="assistant", content=""),
        chunk(content="7"),
        chunk(finish="stop"),
        chunk(usage={"total_tokens": 5}),
        chunk(content="the reasoning is over"),
    ]


def test_a_chunk_of_several_choices() -> None:
    """A chunk stays as long as one of its choices says something."""
    both = {"choices": [{"index": 0, "delta": {"reasoning": SECRET}}, {"index": 1, "delta": {"content": "7"}}]}
    assert passed(sse(both)) == [{"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "7"}}]}]


RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {**RESPONSE, "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "content": [], "summary": []}},
    {"type": "response.content_part.added", "part": {"type": "reasoning_text", "text": ""}},
    {"type": "response.reasoning_text.delta", "delta": SECRET},
    {"type": "response.reasoning_text.done", "text": SECRET},
    {"type": "response.content_part.done", "part": {"type": "reasoning_text", "text": SECRET}},
    {"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}},
    {"type": "response.reasoning_summary_text.delta", "delta": "short"},
    {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
    {"type": "response.output_item.added", "output_index": 1, "item": {**SAID, "content": []}},
    {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
    {"type": "response.output_text.delta", "delta": "7"},
    {"type": "response.completed", "response": RESPONSE},
]
NUMBERED = [{**event, "sequence_number": number} for number, event in enumerate(RESPONSES)]


@pytest.mark.parametrize(("summaries", "dropped"), [(False, (2, 3, 4, 5, 6, 7)), (True, (2, 3, 4, 5))])
def test_responses_stream(summaries: bool, dropped: tuple[int, ...]) -> None:
    """Events of reasoning are gone, items keep their index, and the numbers have no gap."""
    found = passed(sse(*NUMBERED), summaries=summaries)
    kept = [event["type"] for place, event in enumerate(RESPONSES) if place not in dropped]
    assert [event["type"] for event in found] == kept
    assert [event["sequence_number"] for event in found] == list(range(len(kept)))
    items = [event["item"] for event in found if "item" in event] + [found[-1]["response"]["output"][0]]
    for item in items:
        assert "content" not in item or item["type"] == "message"
    assert items[-1]["summary"] == (ITEM["summary"] if summaries else [])
    assert items[-1]["encrypted_content"] == "opaque"


def test_numbers_stay_where_a_client_may_come_back_by_them() -> None:
    """In the background the provider's own numbers are kept, gaps and all."""
    found = passed(sse(*NUMBERED), renumber=False)
    assert [event["sequence_number"] for event in found] == [0, 1, 8, 9, 10, 11, 12]


BLOCKS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": SECRET}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "7"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_stop"},
]


def test_messages_stream() -> None:
    """The thinking block opens, is signed and closes in its place without any thinking in it."""
    assert passed(sse(*BLOCKS)) == [BLOCKS[0], BLOCKS[1], *BLOCKS[3:]]
    assert passed(sse(*BLOCKS), summaries=True) == BLOCKS


STREAMS = [sse(*CHUNKS, b"[DONE]"), sse(*NUMBERED), sse(*BLOCKS), sse(*BLOCKS).replace(b"\n", b"\r\n")]


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 3000), max_size=40), st.booleans())
def test_no_way_of_cutting_lets_reasoning_through(stream: bytes, places: list[int], whole: bool) -> None:
    """However a stream arrives, also cut off in the middle, the same bytes go out, and never a word of reasoning."""
    end = len(stream) if whole else min([len(stream), *places])
    cuts = sorted({0, end, *(place for place in places if place < end)})
    through = ConcealingFilter(summaries=False)
    parts = [through.pass_on(stream[start:stop]) for start, stop in itertools.pairwise(cuts)]
    out = b"".join(parts)
    assert SECRET.encode() not in out
    at_once = ConcealingFilter(summaries=False)
    assert out == at_once.pass_on(stream[:end])
    if whole:
        assert out + through.flush() == out
        assert out.replace(b"\r", b"").endswith(b"\n\n")


def test_a_last_event_without_an_end_is_looked_at_too() -> None:
    """A stream whose last event lacks its blank line shows no reasoning either."""
    through = ConcealingFilter(summaries=False)
    for cut in (-1, -20):
        assert through.pass_on(sse(BLOCKS[2])[:cut]) == b""
        assert through.flush() == b""
    assert through.pass_on(sse(BLOCKS[6])[:-1]) == b""
    assert through.flush() == sse(BLOCKS[6])[:-1]


def test_comments_and_other_events_keep_their_bytes() -> None:
    """What is no JSON object, and what has no reasoning in it, is passed on as it is."""
    stream = b': reasoning keepalive\n\ndata: ["reasoning"]\n\nevent: ping\ndata: {"type":  "ping"}\n\n'
    through = ConcealingFilter(summaries=False)
    assert through.pass_on(stream) == stream


def test_an_event_that_never_ends_is_not_held_for_ever() -> None:
    """Beyond the bound the stream cannot go on: passing the bytes on might show what is to be hidden."""
    through = ConcealingFilter(summaries=False)
    with pytest.raises(TooLong):
        through.pass_on(b"data: " + b"x" * HELD_MAX_BYTES)


def test_stored_answers_are_read_again_without_reasoning() -> None:
    """What generates is looked at, and what reads an earlier answer; files and models are not."""
    assert all(conceals(operation(name), "/v1/x") for name in ("chat", "responses", "messages", "completions"))
    assert conceals(OTHER, "/v1/responses/resp_1")
    assert conceals(OTHER, "/v1/conversations/conv_1/items")
    assert not conceals(OTHER, "/v1/files/file_1/content")
    assert not conceals(operation("embeddings"), "/v1/embeddings")
