"""The Anthropic dialect: messages and count_tokens."""

from __future__ import annotations

from typing import Any

from app.gateway.dialects import reasoning
from app.gateway.dialects.shape import (
    Answer,
    JsonObject,
    Message,
    Shape,
    Text,
    count_of,
    dict_of,
    dicts,
    digest_of,
    end_user_of,
    flag_of,
    join_blocks,
    letter,
    number_of,
    optional_count,
    text_of,
    tool_names_digest,
)

_EFFORT_BUDGETS = ((4_096, "low"), (16_384, "medium"))
"""Thinking budgets in tokens → the effort word of the other dialect, so that both feed one feature. The bounds are ours."""


def max_output(body: JsonObject) -> int | None:
    """Output tokens the client allows."""
    return optional_count(body.get("max_tokens"))


def shape(body: JsonObject) -> Shape:
    """Request body → neutral form. A top-level system prompt counts as a first message."""
    get = body.get
    found = Shape(
        model=text_of(get("model")),
        stream=flag_of(get("stream")),
        temperature=number_of(get("temperature")),
        top_p=number_of(get("top_p")),
        max_tokens=max_output(body),
    )
    if "tools" in body:
        found.tool_count, found.tools_digest = tool_names_digest(get("tools"))
    if "thinking" in body:
        thinking = dict_of(get("thinking"))
        found.reasoning_effort = _effort(thinking)
        found.thinking_budget = count_of(thinking.get("budget_tokens")) if thinking.get("type") == "enabled" else 0
    if "metadata" in body:
        found.end_user_digest = end_user_of(dict_of(get("metadata")).get("user_id"))
    if "output_config" in body or "output_format" in body:
        config = dict_of(get("output_config"))
        wanted = dict_of(config.get("format") or get("output_format"))
        found.response_format = text_of(wanted.get("type"), 32)
        found.response_schema_digest = digest_of(wanted.get("schema"))
        found.reasoning_effort = text_of(config.get("effort"), 16) or found.reasoning_effort
    system = get("system")
    if system:
        found.messages.append(Message("s", join_blocks(system)[0]))
    found.messages.extend(_message(item) for item in dicts(get("messages")))
    return found


def _effort(thinking: JsonObject) -> str:
    if thinking.get("type") == "adaptive":
        return "adaptive"
    if thinking.get("type") != "enabled":
        return "none"
    budget = count_of(thinking.get("budget_tokens"))
    return next((word for bound, word in _EFFORT_BUDGETS if budget <= bound), "high")


def _message(item: JsonObject) -> Message:
    content = item.get("content")
    who = letter(item.get("role"))
    if type(content) is str:
        return Message(who, content)
    results = [block for block in dicts(content) if block.get("type") == "tool_result"]
    if results and who == "u":
        # Tool results travel in the user's role; a turn that holds nothing else is the tool's, not a person's.
        text, extra = join_blocks([block for block in dicts(content) if block.get("type") != "tool_result"])
        inner = [join_blocks(block.get("content"))[0] for block in results]
        if not text:
            return Message("t", "\n".join(inner), extra)
        return Message("u", text, extra + "\n".join(inner).encode())
    text, extra = join_blocks(content)
    return Message(who, text, extra, reasoning.of_blocks(content) if who == "a" and extra else ())


def read_usage(usage: JsonObject, answer: Answer) -> None:
    """`usage` → token counts. Input is all that the model read, cached or not, as the other dialect counts it."""
    if "input_tokens" in usage:
        cached = count_of(usage.get("cache_read_input_tokens"))
        created = count_of(usage.get("cache_creation_input_tokens"))
        answer.input_tokens = count_of(usage.get("input_tokens")) + cached + created
        answer.cached_tokens = answer.uncharged_input = cached
    if "output_tokens" in usage:
        answer.output_tokens = count_of(usage.get("output_tokens"))


def read_answer(route: str, body: JsonObject, answer: Answer) -> bool:
    """A complete JSON answer → neutral form. Returns whether it reported usage."""
    if route == "count_tokens":
        answer.input_tokens = 0  # counting is free: nothing was generated or read by the model
        return True
    usage = body.get("usage")
    if type(usage) is dict:
        read_usage(usage, answer)
    text = Text()
    for block in dicts(body.get("content")):
        kind = block.get("type")
        if kind == "text":
            piece = block.get("text")
            if type(piece) is str:
                text.add(piece)
        elif kind in ("tool_use", "server_tool_use"):
            answer.tool_calls += 1
    answer.text_head, answer.chars = text.head(), text.chars
    answer.blocks = list(reasoning.of_blocks(body.get("content")))
    answer.finish_reason = text_of(body.get("stop_reason"), 32)
    answer.refusal = answer.finish_reason == "refusal"
    return type(usage) is dict


class MessageStream:
    """Typed events of the messages API."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.has_usage = False
        self.finished = False
        self.deltas = 0
        self._text = Text()
        self._reasoning = reasoning.Pieces()

    def feed(self, payload: JsonObject) -> None:
        """Take one event."""
        kind = payload.get("type")
        answer = self.answer
        if kind == "content_block_delta":
            self.deltas += 1
            delta = dict_of(payload.get("delta"))
            piece: Any = delta.get("text")
            if type(piece) is str:
                self._text.add(piece)
            elif "thinking" in delta or "signature" in delta:
                self._reasoning.add(payload.get("index"), delta.get("thinking"), delta.get("signature"))
        elif kind == "content_block_start":
            block = dict_of(payload.get("content_block"))
            if block.get("type") in ("tool_use", "server_tool_use"):
                answer.tool_calls += 1
            elif block.get("type") == "redacted_thinking":
                self._reasoning.whole(reasoning.of_blocks([block]))
            elif block.get("type") == "thinking":
                self._reasoning.add(payload.get("index"), block.get("thinking"), block.get("signature"))
        elif kind == "message_start":
            usage = dict_of(dict_of(payload.get("message")).get("usage"))
            read_usage(usage, answer)
        elif kind == "message_delta":
            usage = dict_of(payload.get("usage"))
            if usage:
                # The counts of the start are provisional; only these end the stream.
                self.has_usage = True
                read_usage(usage, answer)
            reason = dict_of(payload.get("delta")).get("stop_reason")
            if type(reason) is str:
                answer.finish_reason = reason[:32]
                answer.refusal = reason == "refusal"
        elif kind == "message_stop":
            self.finished = True
        elif kind == "error":
            self.finished = True
            answer.error = text_of(dict_of(payload.get("error")).get("type"), 48) or "api_error"

    def done(self) -> None:
        """Take an end marker, which this API does not send but some servers add."""
        self.finished = True

    def close(self) -> None:
        """Nothing more will come."""
        self.answer.text_head, self.answer.chars = self._text.head(), self._text.chars
        self.answer.blocks = self._reasoning.close()


def error_type(body: JsonObject) -> str:
    """Type of an error answer."""
    return text_of(dict_of(body.get("error")).get("type"), 48)
