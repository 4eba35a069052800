"""The Anthropic side of the simulated model API: messages, their event stream, and count_tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.simulate.answers import JsonObject, Prompt, Reply, answer, pieces, tokens_of
from app.simulate.dice import Dice
from app.simulate.faults import Faults
from app.simulate.wire import Answered, BadCall, as_list, as_object, block_text

_FINISH = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "refusal": "end_turn"}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(status: int, message: str, request_id: str) -> bytes:
    """The error form of this dialect."""
    return orjson.dumps({"type": "error", "error": error_object(status, message), "request_id": request_id})


def error_object(status: int, message: str) -> JsonObject:
    """The `error` member: type and message."""
    return {"type": _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error"), "message": message}


def messages(body: JsonObject, dice: Dice, faults: Faults) -> Answered:
    """POST /messages."""
    prompt, asked = _read(body, faults)
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or limit < 1:
        raise BadCall(400, "max_tokens: Field required")
    prompt.max_tokens = limit
    prompt.reasons = as_object(body.get("thinking")).get("type") in ("enabled", "adaptive")
    reply = answer(prompt, dice.sources(prompt, 1, fixed=body.get("temperature") == 0)[0])
    content: list[JsonObject] = []
    if reply.reasoning:
        signature = dice.identifier("", 48)
        content.append({"type": "thinking", "thinking": reply.reasoning, "signature": signature})
    if reply.text:
        content.append({"type": "text", "text": reply.text})
    for name, arguments in reply.calls:
        content.append({"type": "tool_use", "id": dice.identifier("toolu_"), "name": name, "input": arguments})
    stop = "refusal" if reply.finish == "refusal" and reply.text.startswith("I can't") else _FINISH[reply.finish]
    made: JsonObject = {
        "id": dice.identifier("msg_"),
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": asked,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": reply.tokens,
            "service_tier": "standard",
        },
    }
    if body.get("stream") is True:
        return Answered(frames=_frames(made, reply, faults))
    if faults.no_usage:
        del made["usage"]
    return Answered(orjson.dumps(made))


def count_tokens(body: JsonObject, dice: Dice, faults: Faults) -> Answered:
    """POST /messages/count_tokens."""
    return Answered(orjson.dumps({"input_tokens": _read(body, faults)[1]}))


def models(names: tuple[str, ...]) -> bytes:
    """GET /models, asked by an Anthropic client."""
    data = [_model(name) for name in names]
    return orjson.dumps({"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def model(name: str, names: tuple[str, ...]) -> bytes:
    """GET /models/{name}, asked by an Anthropic client."""
    if name not in names:
        raise BadCall(404, f"model: {name}")
    return orjson.dumps(_model(name))


def _model(name: str) -> JsonObject:
    return {"type": "model", "id": name, "display_name": name.title(), "created_at": "2025-01-01T00:00:00Z"}


def _read(body: JsonObject, faults: Faults) -> tuple[Prompt, int]:
    turns = as_list(body, "messages")
    if not turns or not all(
        isinstance(turn, dict) and turn.get("role") in ("user", "assistant", "system") for turn in turns
    ):
        raise BadCall(400, "messages: at least one message is required")
    system = block_text(body.get("system"))
    users = [block_text(turn.get("content")) for turn in turns if turn["role"] == "user"]
    prompt = Prompt(model=str(body.get("model")), text=users[-1] if users else "", words=faults.words)
    prompt.context = "\n".join([system, *users[:-1][-2:]])
    last = turns[-1].get("content")
    prompt.after_tool = isinstance(last, list) and any(as_object(part).get("type") == "tool_result" for part in last)
    tools = [tool for tool in as_list(body, "tools") if isinstance(tool, dict)]
    prompt.tools = [(str(tool.get("name", "tool")), as_object(tool.get("input_schema"))) for tool in tools]
    choice = as_object(body.get("tool_choice"))
    prompt.tool_choice = {"any": "required", "tool": str(choice.get("name"))}.get(
        str(choice.get("type")), str(choice.get("type", "auto"))
    )
    asked = 3 + tokens_of(system) + tokens_of(str(tools) if tools else "")
    return prompt, asked + sum(4 + tokens_of(block_text(turn.get("content"))) for turn in turns)


def _event(kind: str, **members: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **members}) + b"\n\n"


def error_event(message: str) -> bytes:
    """The event that ends a stream which went wrong."""
    return _event("error", error=error_object(529, message))


def _frames(made: JsonObject, reply: Reply, faults: Faults) -> Iterator[bytes]:
    usage = made["usage"]
    start = {**usage, "output_tokens": 1}
    yield _event("message_start", message={**made, "content": [], "stop_reason": None, "usage": start})
    yield _event("ping")
    for place, block in enumerate(made["content"]):
        kind = block["type"]
        if kind == "thinking":
            yield _event(
                "content_block_start", index=place, content_block={"type": "thinking", "thinking": "", "signature": ""}
            )
            for piece in pieces(block["thinking"]):
                yield _event("content_block_delta", index=place, delta={"type": "thinking_delta", "thinking": piece})
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield _event("content_block_delta", index=place, delta=delta)
        elif kind == "text":
            yield _event("content_block_start", index=place, content_block={"type": "text", "text": ""})
            for piece in pieces(block["text"], faults.chunks):
                yield _event("content_block_delta", index=place, delta={"type": "text_delta", "text": piece})
        else:
            yield _event("content_block_start", index=place, content_block={**block, "input": {}})
            text = orjson.dumps(block["input"]).decode()
            for at in range(0, len(text), 24):
                delta = {"type": "input_json_delta", "partial_json": text[at : at + 24]}
                yield _event("content_block_delta", index=place, delta=delta)
        yield _event("content_block_stop", index=place)
    ended = {"stop_reason": made["stop_reason"], "stop_sequence": None}
    spent: JsonObject = {"input_tokens": usage["input_tokens"], "output_tokens": reply.tokens}
    if faults.no_usage:
        yield _event("message_delta", delta=ended)
    else:
        yield _event("message_delta", delta=ended, usage=spent)
    yield _event("message_stop")
