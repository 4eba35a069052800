"""The OpenAI side of the simulated model API: request bodies → prompts, replies → JSON and event streams."""

from __future__ import annotations

import base64
import math
import struct
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import orjson
from xxhash import xxh3_64_intdigest

from app.simulate.answers import JsonObject, Prompt, Reply, answer, pieces, tokens_of
from app.simulate.dice import Dice
from app.simulate.faults import Faults
from app.simulate.wire import Answered, BadCall, as_int, as_list, as_object, block_text

FINGERPRINT = "fp_5f20662549"
_EMBEDDING_WIDTH = 256
_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls", "refusal": "stop"}


def error_body(status: int, message: str, kind: str = "", code: str | None = None, param: str | None = None) -> bytes:
    """The error form of this dialect."""
    kind = kind or (
        "invalid_request_error" if status < 500 and status != 429 else "requests" if status == 429 else "server_error"
    )
    if status == 429 and code is None:
        code = "rate_limit_exceeded"
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def chat(body: JsonObject, dice: Dice, faults: Faults) -> Answered:
    """POST /chat/completions."""
    messages = as_list(body, "messages")
    if not messages:
        raise BadCall(400, "[] is too short - 'messages'", param="messages")
    for item in messages:
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            raise BadCall(400, "Missing required parameter: 'messages[0].role'.", param="messages")
    prompt = _prompt(body, faults)
    prompt.tools = [
        (
            str(as_object(tool.get("function")).get("name", "tool")),
            as_object(as_object(tool.get("function")).get("parameters")),
        )
        for tool in as_list(body, "tools")
        if isinstance(tool, dict)
    ]
    _read_messages(prompt, messages)
    prompt.tool_choice = _choice(body.get("tool_choice"))
    wanted = as_object(body.get("response_format"))
    if wanted.get("type") in ("json_object", "json_schema"):
        prompt.schema = as_object(as_object(wanted.get("json_schema")).get("schema"))
    replies = _replies(prompt, body, dice)
    usage = _usage(_asked_tokens(messages) + tokens_of(str(body.get("tools", ""))), replies)
    head = {"id": dice.identifier("chatcmpl-"), "created": int(time.time()), "model": prompt.model}
    if body.get("stream") is True:
        return Answered(frames=_chat_frames(head, body, replies, usage, faults))
    choices = []
    for place, reply in enumerate(replies):
        message: JsonObject = {"role": "assistant", "content": reply.text or None, "refusal": None, "annotations": []}
        if reply.finish == "refusal" and prompt.schema is not None:
            message |= {"content": None, "refusal": reply.text}
        if reply.calls:
            message["tool_calls"] = [_call(dice, name, arguments) for name, arguments in reply.calls]
        choices.append(
            {
                "index": place,
                "message": message,
                "logprobs": _logprobs(body, reply),
                "finish_reason": _FINISH[reply.finish],
            }
        )
    made = {**head, "object": "chat.completion", "choices": choices, "service_tier": "default"}
    made["system_fingerprint"] = FINGERPRINT
    return Answered(body=_with_usage(made, usage, faults))


def _chat_frames(
    head: JsonObject, body: JsonObject, replies: list[Reply], usage: JsonObject, faults: Faults
) -> Iterator[bytes]:
    asked = as_object(body.get("stream_options")).get("include_usage") is True and not faults.no_usage
    base = {**head, "object": "chat.completion.chunk", "service_tier": "default", "system_fingerprint": FINGERPRINT}

    def chunk(place: int, delta: JsonObject, finish: str | None = None, logprobs: Any = None) -> bytes:
        made = {**base, "choices": [{"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]}
        if asked:
            made["usage"] = None
        return b"data: " + orjson.dumps(made) + b"\n\n"

    def choice(place: int, reply: Reply) -> Iterator[bytes]:
        yield chunk(place, {"role": "assistant", "content": "" if not reply.calls else None, "refusal": None})
        for number, (name, arguments) in enumerate(reply.calls):
            text = orjson.dumps(arguments).decode()
            call_id = f"call_{xxh3_64_intdigest(text.encode(), number):x}"
            function: JsonObject = {"name": name, "arguments": ""}
            yield chunk(place, {"tool_calls": [{"index": number, "id": call_id, "type": "function", "function": function}]})
            for start in range(0, len(text), 24):
                yield chunk(place, {"tool_calls": [{"index": number, "function": {"arguments": text[start : start + 24]}}]})
        for piece in pieces(reply.text, faults.chunks):
            yield chunk(place, {"content": piece}, logprobs=_token_logprobs(body, [piece]))
        yield chunk(place, {}, _FINISH[reply.finish])

    yield from _in_turns([choice(place, reply) for place, reply in enumerate(replies)])
    if asked:
        yield b"data: " + orjson.dumps({**base, "choices": [], "usage": usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _in_turns(choices: list[Iterator[bytes]]) -> Iterator[bytes]:
    """Chunks of several choices as servers send them: one of each in turn, until all have ended."""
    while choices:
        going = []
        for one in choices:
            frame = next(one, None)
            if frame is not None:
                going.append(one)
                yield frame
        choices = going


def completions(body: JsonObject, dice: Dice, faults: Faults) -> Answered:
    """POST /completions. A prompt may be one text or several."""
    given = body.get("prompt", "")
    texts = [text for text in given if isinstance(text, str)] if isinstance(given, list) else [str(given)]
    replies: list[Reply] = []
    for text in texts or [""]:
        prompt = _prompt(body, faults)
        prompt.text = text
        replies += _replies(prompt, body, dice)
    usage = _usage(sum(map(tokens_of, texts)), replies)
    head = {"id": dice.identifier("cmpl-"), "object": "text_completion", "created": int(time.time())}
    head |= {"model": str(body.get("model")), "system_fingerprint": FINGERPRINT}
    if body.get("stream") is True:
        return Answered(frames=_completion_frames(head, body, replies, usage, faults))
    choices = [
        {"text": reply.text, "index": place, "logprobs": _old_logprobs(body, reply), "finish_reason": _FINISH[reply.finish]}
        for place, reply in enumerate(replies)
    ]
    return Answered(body=_with_usage({**head, "choices": choices}, usage, faults))


def _completion_frames(
    head: JsonObject, body: JsonObject, replies: list[Reply], usage: JsonObject, faults: Faults
) -> Iterator[bytes]:
    def chunk(place: int, text: str, finish: str | None) -> bytes:
        choice = {"text": text, "index": place, "logprobs": None, "finish_reason": finish}
        return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"

    def choice(place: int, reply: Reply) -> Iterator[bytes]:
        for piece in pieces(reply.text, faults.chunks):
            yield chunk(place, piece, None)
        yield chunk(place, "", _FINISH[reply.finish])

    yield from _in_turns([choice(place, reply) for place, reply in enumerate(replies)])
    if as_object(body.get("stream_options")).get("include_usage") is True and not faults.no_usage:
        yield b"data: " + orjson.dumps({**head, "choices": [], "usage": usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def embeddings(body: JsonObject, dice: Dice, faults: Faults) -> Answered:
    """POST /embeddings: unit vectors that depend on the text alone."""
    given = body.get("input")
    if given is None or given == []:
        raise BadCall(400, "'input' is a required property", param="input")
    items = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    width = min(3072, max(1, as_int(body.get("dimensions"), _EMBEDDING_WIDTH)))
    data = []
    for place, item in enumerate(items):
        rng = Random(xxh3_64_intdigest(str(item).encode("utf-8", "replace"), dice.seed))
        raw = [rng.uniform(-1, 1) for _ in range(width)]
        size = math.sqrt(sum(value * value for value in raw))
        vector: Any = [value / size for value in raw]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{width}f", *vector)).decode()
        data.append({"object": "embedding", "index": place, "embedding": vector})
    spent = sum(tokens_of(str(item)) for item in items)
    made = {"object": "list", "data": data, "model": str(body.get("model"))}
    return Answered(body=_with_usage(made, {"prompt_tokens": spent, "total_tokens": spent}, faults))


def models(names: tuple[str, ...]) -> bytes:
    """GET /models."""
    return orjson.dumps({"object": "list", "data": [_model(name) for name in names]})


def model(name: str, names: tuple[str, ...]) -> bytes:
    """GET /models/{name}."""
    if name not in names:
        raise BadCall(404, f"The model '{name}' does not exist", code="model_not_found", param="model")
    return orjson.dumps(_model(name))


def _model(name: str) -> JsonObject:
    return {"id": name, "object": "model", "created": 1735689600, "owned_by": "simulated"}


def _prompt(body: JsonObject, faults: Faults) -> Prompt:
    limits = (body.get("max_completion_tokens"), body.get("max_output_tokens"), body.get("max_tokens"))
    return Prompt(
        model=str(body.get("model")),
        text="",
        reasons=bool(body.get("reasoning_effort")),
        max_tokens=next((value for value in limits if isinstance(value, int) and value > 0), 0),
        words=faults.words,
    )


def _read_messages(prompt: Prompt, messages: list[Any]) -> None:
    system = [block_text(item.get("content")) for item in messages if item["role"] in ("system", "developer")]
    users = [block_text(item.get("content")) for item in messages if item["role"] == "user"]
    prompt.text = users[-1] if users else ""
    prompt.context = "\n".join([*system, *users[:-1][-2:]])
    prompt.after_tool = messages[-1]["role"] in ("tool", "function")


def _choice(given: Any) -> str:
    if isinstance(given, dict):
        return str(as_object(given.get("function")).get("name") or given.get("name") or given.get("type") or "auto")
    return given if isinstance(given, str) else "auto"


def _replies(prompt: Prompt, body: JsonObject, dice: Dice) -> list[Reply]:
    fixed = body.get("temperature") == 0 or body.get("seed") is not None
    choices = min(128, max(1, as_int(body.get("n"), 1)))
    replies = [answer(prompt, source) for source in dice.sources(prompt, choices, fixed=fixed)]
    bias = body.get("logit_bias")
    if isinstance(bias, dict) and bias and prompt.max_tokens and prompt.max_tokens <= 4:
        # A strongly preferred token is what the model then says: the way a sweep reads the vocabulary.
        for reply in replies:
            reply.text = f"tok{max(bias, key=lambda token: _weight(bias[token]))}"
    return replies


def _weight(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _asked_tokens(messages: list[Any]) -> int:
    return 3 + sum(4 + tokens_of(block_text(item.get("content"))) for item in messages)


def _usage(asked: int, replies: list[Reply]) -> JsonObject:
    output = sum(reply.tokens for reply in replies)
    hidden = sum(tokens_of(reply.reasoning) for reply in replies)
    return {
        "prompt_tokens": asked,
        "completion_tokens": output,
        "total_tokens": asked + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": hidden,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _with_usage(made: JsonObject, usage: JsonObject, faults: Faults) -> bytes:
    return orjson.dumps(made if faults.no_usage else {**made, "usage": usage})


def _call(dice: Dice, name: str, arguments: JsonObject) -> JsonObject:
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return {"id": dice.identifier("call_"), "type": "function", "function": function}


def _logprobs(body: JsonObject, reply: Reply) -> Any:
    return _token_logprobs(body, pieces(reply.text))


def _token_logprobs(body: JsonObject, tokens: list[str]) -> Any:
    if body.get("logprobs") is not True:
        return None
    alternatives = min(20, as_int(body.get("top_logprobs"), 0))
    content = []
    for token in tokens:
        rng = Random(xxh3_64_intdigest(token.encode()))
        best = -rng.random() / 4
        top = [
            (token if rank == 0 else f"{token[:2]}{rank}", best - rank * rng.uniform(0.5, 1.5))
            for rank in range(alternatives)
        ]
        content.append({**_logprob(token, best), "top_logprobs": [_logprob(text, value) for text, value in top]})
    return {"content": content, "refusal": None}


def _logprob(token: str, value: float) -> JsonObject:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def _old_logprobs(body: JsonObject, reply: Reply) -> Any:
    if not isinstance(body.get("logprobs"), int):
        return None
    tokens = pieces(reply.text)
    values = [-Random(xxh3_64_intdigest(token.encode())).random() for token in tokens]
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": None, "text_offset": [0] * len(tokens)}
