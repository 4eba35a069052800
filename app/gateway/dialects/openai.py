"""The OpenAI dialect: chat completions, responses, completions and embeddings."""

from __future__ import annotations

from typing import Any

import orjson

from app.gateway.dialects import reasoning
from app.gateway.dialects.shape import (
    ANSWER_KEPT_CHARS,
    Answer,
    JsonObject,
    Message,
    Shape,
    StreamReader,
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

_PLAIN_MAXIMUM = ("max_tokens",)
_MAXIMA = {"chat": ("max_completion_tokens", "max_tokens"), "responses": ("max_output_tokens",)}


def max_output(route: str, body: JsonObject) -> int | None:
    """Output tokens the client allows per choice; the larger of two, as servers differ in which one counts."""
    found: int | None = None
    for name in _MAXIMA.get(route, _PLAIN_MAXIMUM):
        count = optional_count(body.get(name))
        if count is not None and (found is None or count > found):
            found = count
    return found


def choices(body: JsonObject) -> int:
    """Answers asked for at once."""
    return max(1, count_of(body.get("n")), count_of(body.get("best_of")))


def shape(route: str, body: JsonObject) -> Shape:
    """Request body → neutral form."""
    get = body.get
    found = Shape(
        model=text_of(get("model")),
        stream=flag_of(get("stream")),
        n=count_of(get("n")) or 1,
        temperature=number_of(get("temperature")),
        top_p=number_of(get("top_p")),
        max_tokens=max_output(route, body),
    )
    if "logprobs" in body or "top_logprobs" in body:
        found.top_logprobs = _logprobs(get("logprobs"), get("top_logprobs"))
    bias = get("logit_bias")
    if type(bias) is dict and bias:
        found.logit_bias_size, found.logit_bias_digest = len(bias), digest_of(bias)
    if "tools" in body or "functions" in body:
        found.tool_count, found.tools_digest = tool_names_digest(get("tools") or get("functions"))
    effort = get("reasoning_effort") or ("reasoning" in body and dict_of(get("reasoning")).get("effort"))
    if effort:
        found.reasoning_effort = text_of(effort, 16)
    if "reasoning" in body:
        found.thinking_budget = count_of(dict_of(get("reasoning")).get("max_tokens"))
    found.end_user_digest = end_user_of(get("safety_identifier") or get("user"))
    wanted = get("response_format") or ("text" in body and dict_of(get("text")).get("format"))
    if type(wanted) is dict:
        found.response_format = text_of(wanted.get("type"), 32)
        found.response_schema_digest = digest_of(wanted.get("json_schema") or wanted.get("schema"))
    if route == "chat":
        found.messages = [_chat_message(item) for item in dicts(get("messages"))]
    elif route == "responses":
        found.messages = _responses_messages(body)
    else:
        found.input_items, found.messages = _batch(get("prompt") if route == "completions" else get("input"))
    return found


def _logprobs(asked: Any, top: Any) -> int:
    if type(asked) is int:  # completions: the number itself
        return min(max(asked, 0), 1000)
    return min(count_of(top), 1000) if flag_of(asked) or count_of(top) else -1


def _chat_message(item: JsonObject) -> Message:
    get = item.get
    content = get("content")
    text, extra = (content, b"") if type(content) is str else join_blocks(content)
    calls = get("tool_calls") or get("function_call")
    if calls:
        extra += orjson.dumps(calls)
    who = letter(get("role"))
    return Message(who, text, extra, reasoning.of_message(item) if who == "a" and len(item) > 2 else ())


def _responses_messages(body: JsonObject) -> list[Message]:
    messages: list[Message] = []
    instructions = body.get("instructions")
    if type(instructions) is str and instructions:
        messages.append(Message("s", instructions))
    given = body.get("input")
    if type(given) is str:
        messages.append(Message("u", given))
        return messages
    for item in dicts(given):
        kind = item.get("type")
        if kind in (None, "message"):
            text, extra = join_blocks(item.get("content"))
            messages.append(Message(letter(item.get("role")), text, extra))
        elif type(kind) is str and kind.endswith("_output"):
            messages.append(Message("t", text_of(item.get("output"), 1 << 20), b""))
        else:  # reasoning, function_call and other items that the model produced
            blocks = reasoning.brought_item(item) if kind == "reasoning" else ()
            messages.append(Message("a", "", orjson.dumps(item), blocks))
    return messages


def _batch(given: Any) -> tuple[int, list[Message]]:
    """A prompt or input: one text, a list of texts, a list of tokens, or a list of those."""
    if type(given) is str:
        return 1, [Message("u", given)]
    if type(given) is not list or not given:
        return 1, []
    if type(given[0]) is int:
        return 1, [Message("u", "", orjson.dumps(given))]
    texts = [item for item in given if type(item) is str]
    extra = b"" if len(texts) == len(given) else orjson.dumps([item for item in given if type(item) is not str])
    return len(given), [Message("u", "\n".join(texts), extra)]


def read_usage(usage: JsonObject, answer: Answer) -> None:
    """`usage` of either API → token counts."""
    answer.input_tokens = count_of(usage.get("prompt_tokens")) or count_of(usage.get("input_tokens"))
    answer.output_tokens = count_of(usage.get("completion_tokens")) or count_of(usage.get("output_tokens"))
    inputs = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if type(inputs) is dict:
        answer.cached_tokens = count_of(inputs.get("cached_tokens"))
    outputs = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    if type(outputs) is dict:
        answer.reasoning_tokens = count_of(outputs.get("reasoning_tokens"))


def read_answer(route: str, body: JsonObject, answer: Answer) -> bool:
    """A complete JSON answer → neutral form. Returns whether it reported usage."""
    usage = body.get("usage")
    has_usage = type(usage) is dict
    if type(usage) is dict:
        read_usage(usage, answer)
    if route == "responses":
        _read_response_object(body, answer)
        return has_usage
    first = True
    for choice in dicts(body.get("choices")):
        message = dict_of(choice.get("message"))
        text = choice.get("text") if route == "completions" else message.get("content")
        refusal = message.get("refusal")
        if type(refusal) is str and refusal:
            answer.refusal = True
            text = text or refusal
        if type(text) is str:
            answer.chars += len(text)
            if first:
                answer.text_head = text[:ANSWER_KEPT_CHARS]
        if len(message) > 2:
            answer.blocks += reasoning.of_message(message)
        calls = message.get("tool_calls")
        if type(calls) is list:
            answer.tool_calls += len(calls)
        if first:
            answer.finish_reason = text_of(choice.get("finish_reason"), 32)
        first = False
    return has_usage


def _read_response_object(body: JsonObject, answer: Answer) -> None:
    text = Text()
    calls = 0
    for item in dicts(body.get("output")):
        kind = item.get("type")
        if kind == "message":
            for part in dicts(item.get("content")):
                piece = part.get("text") or part.get("refusal")
                if type(piece) is str:
                    text.add(piece)
                if part.get("type") == "refusal":
                    answer.refusal = True
        elif kind == "reasoning":
            answer.blocks += reasoning.given_item(item)
        elif type(kind) is str and kind.endswith("_call"):
            calls += 1
    answer.text_head, answer.chars = text.head(), text.chars
    answer.tool_calls = calls
    reason = dict_of(body.get("incomplete_details")).get("reason")
    answer.finish_reason = text_of(reason, 32) or text_of(body.get("status"), 32)


def stream_reader(route: str, answer: Answer) -> StreamReader:
    """Reader for the event stream of an operation."""
    return ResponsesStream(answer) if route == "responses" else ChoicesStream(answer)


class ChoicesStream:
    """Chunks of chat completions and completions."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.has_usage = False
        self.finished = False
        self.deltas = 0
        self._text = Text()
        self._reasoning = reasoning.Pieces()

    def feed(self, payload: JsonObject) -> None:
        """Take one chunk."""
        answer = self.answer
        usage = payload.get("usage")
        if type(usage) is dict:
            self.has_usage = True
            read_usage(usage, answer)
        for choice in dicts(payload.get("choices")):
            delta = dict_of(choice.get("delta"))
            piece = delta.get("content") or choice.get("text") or delta.get("refusal")
            if type(piece) is str:
                self.deltas += 1
                if choice.get("index") in (0, None):
                    self._text.add(piece)
                answer.chars += len(piece)
            if not piece and delta:
                reasoning.choice_pieces(choice, self._reasoning)
            if delta.get("refusal"):
                answer.refusal = True
            for call in dicts(delta.get("tool_calls")):
                self.deltas += 1
                if call.get("id"):
                    answer.tool_calls += 1
            reason = choice.get("finish_reason")
            if type(reason) is str and choice.get("index") in (0, None):
                answer.finish_reason = reason[:32]
        error = payload.get("error")
        if error:
            answer.error = text_of(dict_of(error).get("type"), 48) or "server_error"
            self.finished = True

    def done(self) -> None:
        """Take the end marker."""
        self.finished = True

    def close(self) -> None:
        """Nothing more will come."""
        self.answer.text_head = self._text.head()
        self.answer.blocks = self._reasoning.close()


class ResponsesStream:
    """Typed events of the responses API."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.has_usage = False
        self.finished = False
        self.deltas = 0
        self._text = Text()

    def feed(self, payload: JsonObject) -> None:
        """Take one event."""
        kind = payload.get("type")
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            piece = payload.get("delta")
            if type(piece) is str:
                self.deltas += 1
                self._text.add(piece)
            if kind == "response.refusal.delta":
                self.answer.refusal = True
        elif kind == "response.output_item.added":
            item = dict_of(payload.get("item")).get("type")
            if type(item) is str and item.endswith("_call"):
                self.answer.tool_calls += 1
        elif kind == "response.output_item.done":
            item = dict_of(payload.get("item"))
            if item.get("type") == "reasoning":
                self.answer.blocks += reasoning.given_item(item)
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self.finished = True
            response = dict_of(payload.get("response"))
            for item in dicts(response.get("output")):
                if item.get("type") == "reasoning":
                    self.answer.blocks += reasoning.given_item(item)
            usage = response.get("usage")
            if type(usage) is dict:
                self.has_usage = True
                read_usage(usage, self.answer)
            reason = dict_of(response.get("incomplete_details")).get("reason")
            self.answer.finish_reason = text_of(reason, 32) or text_of(response.get("status"), 32)
            if kind == "response.failed":
                self.answer.error = text_of(dict_of(response.get("error")).get("code"), 48) or "server_error"
        elif kind == "error":
            self.finished = True
            self.answer.error = text_of(payload.get("code"), 48) or "server_error"

    def done(self) -> None:
        """Take the end marker, which this API does not send but some servers add."""
        self.finished = True

    def close(self) -> None:
        """Nothing more will come."""
        self.answer.text_head, self.answer.chars = self._text.head(), self._text.chars


def with_usage(raw: bytes, body: JsonObject) -> bytes | None:
    """The body with ``stream_options.include_usage`` switched on; None if the client asked for it already."""
    options = body.get("stream_options")
    if type(options) is dict and flag_of(options.get("include_usage")):
        return None
    if "stream_options" not in body:
        # The client's own bytes stay as they are; only the member is put behind the last one.
        end = raw.rindex(b"}")
        joint = b',"stream_options":{"include_usage":true}}' if body else b'"stream_options":{"include_usage":true}}'
        return raw[:end] + joint
    return orjson.dumps({**body, "stream_options": {**dict_of(options), "include_usage": True}})


def is_usage_chunk(payload: JsonObject) -> bool:
    """Whether a chunk is the extra one that ``include_usage`` adds."""
    return payload.get("choices") == [] and type(payload.get("usage")) is dict


def error_type(body: JsonObject) -> str:
    """Type or code of an error answer."""
    error = dict_of(body.get("error"))
    return text_of(error.get("type"), 48) or text_of(error.get("code"), 48)
