"""The responses API of the simulated model: one object, or the typed events that build it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson

from app.simulate.answers import JsonObject, Prompt, Reply, answer, pieces, tokens_of
from app.simulate.dice import Dice
from app.simulate.faults import Faults
from app.simulate.wire import Answered, BadCall, as_int, as_list, as_object, block_text


def responses(body: JsonObject, dice: Dice, faults: Faults) -> Answered:
    """POST /responses."""
    given = body.get("input")
    if not isinstance(given, str | list):
        raise BadCall(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    prompt = Prompt(model=str(body.get("model")), text="", words=faults.words)
    prompt.max_tokens = as_int(body.get("max_output_tokens"), 0)
    prompt.reasons = bool(as_object(body.get("reasoning")).get("effort"))
    _read_input(prompt, given, body)
    prompt.tools = [
        (str(tool.get("name", "tool")), as_object(tool.get("parameters")))
        for tool in as_list(body, "tools")
        if isinstance(tool, dict) and tool.get("type") == "function"
    ]
    choice = body.get("tool_choice")
    prompt.tool_choice = str(choice.get("name", "auto")) if isinstance(choice, dict) else str(choice or "auto")
    wanted = as_object(as_object(body.get("text")).get("format"))
    if wanted.get("type") in ("json_object", "json_schema"):
        prompt.schema = as_object(wanted.get("schema"))
    fixed = body.get("temperature") == 0
    reply = answer(prompt, dice.sources(prompt, 1, fixed=fixed)[0])
    asked = 3 + tokens_of(prompt.context) + tokens_of(prompt.text) + tokens_of(str(body.get("tools", "")))
    made = _object(body, prompt, reply, asked, dice)
    if faults.no_usage:
        made["usage"] = None
    return Answered(frames=_frames(made, reply, faults)) if body.get("stream") is True else Answered(orjson.dumps(made))


def _read_input(prompt: Prompt, given: Any, body: JsonObject) -> None:
    instructions = body.get("instructions")
    system = [instructions] if isinstance(instructions, str) else []
    users: list[str] = []
    if isinstance(given, str):
        users.append(given)
    else:
        for item in given:
            if not isinstance(item, dict):
                raise BadCall(400, "Invalid type for 'input[0]': expected an object.", param="input")
            if item.get("type") in (None, "message"):
                (users if item.get("role") == "user" else system).append(block_text(item.get("content")))
        prompt.after_tool = bool(given) and str(given[-1].get("type", "")).endswith("_output")
    prompt.text = users[-1] if users else ""
    prompt.context = "\n".join([*system, *users[:-1][-2:]])


def _object(body: JsonObject, prompt: Prompt, reply: Reply, asked: int, dice: Dice) -> JsonObject:
    output: list[JsonObject] = []
    if reply.reasoning:
        output.append({"id": dice.identifier("rs_"), "type": "reasoning", "summary": []})
    for name, arguments in reply.calls:
        call = {"id": dice.identifier("fc_"), "type": "function_call", "status": "completed", "name": name}
        output.append({**call, "arguments": orjson.dumps(arguments).decode(), "call_id": dice.identifier("call_")})
    if not reply.calls:
        part: JsonObject = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
        if reply.finish == "refusal" and prompt.schema is not None:
            part = {"type": "refusal", "refusal": reply.text}
        message = {"id": dice.identifier("msg_"), "type": "message", "status": "completed", "role": "assistant"}
        output.append({**message, "content": [part]})
    cut = reply.finish == "length"
    return {
        "id": dice.identifier("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": {},
        "model": prompt.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": as_object(body.get("reasoning")).get("effort"), "summary": None},
        "store": True,
        "temperature": body.get("temperature", 1.0),
        "text": {"format": as_object(body.get("text")).get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": reply.tokens,
            "output_tokens_details": {"reasoning_tokens": tokens_of(reply.reasoning)},
            "total_tokens": asked + reply.tokens,
        },
        "user": None,
    }


def _frames(made: JsonObject, reply: Reply, faults: Faults) -> Iterator[bytes]:
    serial = -1

    def event(kind: str, **members: Any) -> bytes:
        nonlocal serial
        serial += 1
        data = orjson.dumps({"type": kind, "sequence_number": serial, **members})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    opening = {**made, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield event("response.created", response=opening)
    yield event("response.in_progress", response=opening)
    for place, item in enumerate(made["output"]):
        where: JsonObject = {"output_index": place, "item_id": item["id"]}
        if item["type"] == "function_call":
            yield event(
                "response.output_item.added",
                output_index=place,
                item={**item, "arguments": "", "status": "in_progress"},
            )
            text = item["arguments"]
            for start in range(0, len(text), 24):
                yield event("response.function_call_arguments.delta", **where, delta=text[start : start + 24])
            yield event("response.function_call_arguments.done", **where, name=item["name"], arguments=text)
        elif item["type"] == "message":
            yield event(
                "response.output_item.added", output_index=place, item={**item, "content": [], "status": "in_progress"}
            )
            yield from _message_events(event, where, item["content"][0], faults)
        else:
            yield event("response.output_item.added", output_index=place, item=item)
        yield event("response.output_item.done", output_index=place, item=item)
    yield event("response.incomplete" if reply.finish == "length" else "response.completed", response=made)


def _message_events(event: Any, where: JsonObject, part: JsonObject, faults: Faults) -> Iterator[bytes]:
    where = {**where, "content_index": 0}
    name = "refusal" if part["type"] == "refusal" else "output_text"
    member = "refusal" if name == "refusal" else "text"
    extra: JsonObject = {} if name == "refusal" else {"logprobs": []}
    yield event("response.content_part.added", **where, part={**part, member: ""})
    for piece in pieces(part[member], faults.chunks):
        yield event(f"response.{name}.delta", **where, delta=piece, **extra)
    yield event(f"response.{name}.done", **where, **{member: part[member]}, **extra)
    yield event("response.content_part.done", **where, part=part)
