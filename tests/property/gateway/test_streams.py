"""However a stream is cut into reads, the client gets the same bytes and the event the same facts."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.capture import Capture, UsageFilter
from app.gateway.dialects.shape import Answer
from app.gateway.routes import Route, operation

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def event(payload: Any, end: bytes = b"\n\n") -> bytes:
    """One event of a stream."""
    return b"data: " + orjson.dumps(payload) + end


PIECES = [
    event({"choices": [{"index": 0, "delta": {"content": "né🛥 "}}], "usage": None}),
    event({"choices": [{"index": 0, "delta": {"content": 'says "usage": {}'}}]}),
    event({"choices": [{"index": 1, "delta": {"content": "other"}}]}, b"\r\n\r\n"),
    b": keep-alive\n\n",
    event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}),
    b"data: no JSON\n\n",
]
EXTRA = event({"id": "1", "choices": [], "usage": USAGE})
STREAMS = st.lists(st.sampled_from(PIECES), max_size=6)
CUTS = st.lists(st.integers(0, 600), max_size=12)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """A stream in reads that end at these places."""
    bounds = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(bounds) if start < end]


def captured(route: Route, reads: list[bytes]) -> Answer:
    """What is learned from a stream."""
    capture = Capture(route, Answer(), 5)
    capture.start(200, b"text/event-stream", False)
    for read in reads:
        capture.feed(read)
    capture.close()
    return capture.answer


@given(STREAMS, STREAMS, CUTS)
def test_filter_takes_out_the_extra_chunk_and_nothing_else(
    before: list[bytes], after: list[bytes], places: list[int]
) -> None:
    """Every byte but those of the usage chunk passes in order, and never later than with the end of its event."""
    stream = b"".join(before) + EXTRA + b"".join(after) + b"data: [DONE]\n\n"
    kept = b"".join(before) + b"".join(after) + b"data: [DONE]\n\n"
    capture = Capture(operation("chat"), Answer(), 5)
    capture.start(200, b"text/event-stream", False)
    through = UsageFilter()
    passed = b""
    fed = b""
    for read in cut(stream, places):
        capture.feed(read)
        passed += through.pass_on(read)
        fed += read
        whole = max(fed.rfind(mark) + len(mark) if mark in fed else 0 for mark in (b"\n\n", b"\r\n\r\n"))
        assert len(passed) == whole - (len(EXTRA) if whole >= len(b"".join(before)) + len(EXTRA) else 0)
    assert passed + through.flush() == kept
    capture.close()
    assert (capture.answer.input_tokens, capture.answer.output_tokens) == (9, 3)


@given(STREAMS, CUTS, st.booleans())
def test_capture_does_not_depend_on_the_reads(stream: list[bytes], places: list[int], ended: bool) -> None:
    """Text, counts and reasons are the same for every way in which a stream arrives."""
    whole = b"".join(stream) + (EXTRA + b"data: [DONE]\n\n" if ended else b"")
    route = operation("chat")
    assert captured(route, cut(whole, places)) == captured(route, [whole])


ANTHROPIC = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 5}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "né🛥"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
]


@given(CUTS, st.integers(0, 5))
def test_a_cut_anthropic_stream_keeps_what_it_said(places: list[int], events: int) -> None:
    """A stream that ends early is estimated from what arrived; one that ends properly has its exact counts."""
    said = b"".join(b"event: x\n" + event(payload) for payload in ANTHROPIC[:events])
    answer = captured(operation("messages"), cut(said, places))
    assert answer.estimated == (events < 4)
    if events >= 4:
        assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (12, 4, 5)
    elif events:
        assert answer.input_tokens == 12
    else:
        assert answer.input_tokens == 5
    assert answer.text_head == ("né🛥" if events >= 3 else "")
