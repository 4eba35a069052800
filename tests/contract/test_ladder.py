"""What the official SDKs make of each step of the ladder: exception, code, attempts, and streams that still parse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import orjson
import pytest
from anthropic import Anthropic
from anthropic.types.shared.organization_on_hold_error_details import OrganizationOnHoldErrorDetails
from openai import OpenAI

ASK: Any = [{"role": "user", "content": "hi"}]
SECRET = "because seven is prime"
APPEAL = "https://provider.example/appeal"
VERIFY = "https://provider.example/verify"


@pytest.fixture
def gpt(ladder: Any, key: str) -> Iterator[OpenAI]:
    """An OpenAI client that retries as it does by default."""
    with OpenAI(base_url=ladder.gateway.url + "/v1", api_key=key) as made:
        yield made


@pytest.fixture
def claude(ladder: Any, key: str) -> Iterator[Anthropic]:
    """An Anthropic client that retries as it does by default."""
    with Anthropic(base_url=ladder.gateway.url, api_key=key) as made:
        yield made


def attempts(client: Any) -> list[str]:
    """Collects the retry count of every request that the client sends from now on."""
    seen: list[str] = []
    client._client.event_hooks["request"].append(lambda sent: seen.append(sent.headers["x-stainless-retry-count"]))
    return seen


# Throttle


def test_openai_throttled(ladder: Any, key: str) -> None:
    """A throttled OpenAI client gets a rate limit like any other, and its retries wait as they are told."""
    gateway = ladder.start(requests_per_min=400)
    ladder.act(key, "throttle", factor=0.01)
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        for _ in range(4):
            client.chat.completions.create(model="still-small-2", messages=ASK)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="still-small-2", messages=ASK)
    error = caught.value
    assert (error.status_code, error.code, error.type, error.param) == (429, "rate_limit_exceeded", "requests", None)
    assert error.response.headers["x-ratelimit-limit-requests"] == "4"
    assert 1 <= int(error.response.headers["retry-after"]) <= 60


def test_anthropic_throttled(ladder: Any, key: str) -> None:
    """An Anthropic client gets the plain rate limit error, without an error code of its own."""
    gateway = ladder.start(requests_per_min=400)
    ladder.act(key, "throttle", factor=0.01)
    with Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as client:
        for _ in range(4):
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    error: Any = caught.value
    assert type(error) is anthropic.RateLimitError
    assert (error.status_code, error.type, error.error_code, error.details) == (429, "rate_limit_error", None, None)


# Step-up and suspension


def test_openai_step_up(ladder: Any, gpt: OpenAI, key: str) -> None:
    """To be verified is a PermissionDeniedError with the address, tried once."""
    ladder.act(key, "step_up")
    tried = attempts(gpt)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        gpt.chat.completions.create(model="still-small-2", messages=ASK)
    error = caught.value
    assert (error.code, error.type) == ("verification_required", "request_forbidden")
    assert VERIFY in error.message
    assert "sw-a" in error.message
    assert tried == ["0"]


def test_openai_suspended(ladder: Any, gpt: OpenAI, key: str) -> None:
    """Suspended is a PermissionDeniedError with the code for it, where to appeal, and the reference, tried once."""
    ladder.act(key, "suspend")
    tried = attempts(gpt)
    for call in (
        lambda: gpt.chat.completions.create(model="still-small-2", messages=ASK),
        lambda: gpt.chat.completions.create(model="still-small-2", messages=ASK, stream=True),
        lambda: gpt.responses.create(model="still-small-2", input="hi"),
        gpt.models.list,
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            call()
        assert (caught.value.code, caught.value.type) == ("access_suspended", "request_forbidden")
        assert APPEAL in caught.value.message
        assert "sw-a" in caught.value.message
        assert caught.value.request_id
    assert tried == ["0"] * 4


def test_anthropic_step_up(ladder: Any, claude: Anthropic, key: str) -> None:
    """To be verified is a PermissionDeniedError whose sentence has the address, tried once."""
    ladder.act(key, "step_up")
    tried = attempts(claude)
    with pytest.raises(anthropic.PermissionDeniedError) as caught:
        claude.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    error: Any = caught.value
    assert type(error) is anthropic.PermissionDeniedError
    assert (error.type, error.error_code) == ("permission_error", None)
    assert VERIFY in error.message
    assert tried == ["0"]


def test_anthropic_suspended(ladder: Any, claude: Anthropic, key: str) -> None:
    """Suspended is a PermissionDeniedError with the SDK's own details of an organisation on hold, tried once."""
    ladder.act(key, "suspend")
    tried = attempts(claude)
    with pytest.raises(anthropic.PermissionDeniedError) as caught:
        claude.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    error: Any = caught.value
    assert (error.type, error.error_code) == ("permission_error", "organization_on_hold")
    assert type(error.details) is OrganizationOnHoldErrorDetails
    assert error.details.appeal_url == APPEAL
    assert error.request_id == error.body["request_id"]
    assert tried == ["0"]


# Stopped in the middle

SLOW = {"x-sim-chunks": "200", "x-sim-chunk-delay-ms": "30", "x-sim-words": "400"}


def running(ladder: Any, key: str, stream: Any) -> list[Any]:
    """Reads a stream whose key is suspended meanwhile, to the exception."""
    timer = threading.Timer(0.3, ladder.suspend, (key,))
    timer.start()
    seen = []
    try:
        for part in stream:
            seen.append(part)
    finally:
        timer.join()
    return seen


@pytest.mark.parametrize("operation", ["chat", "responses", "completions"])
def test_openai_stopped_stream(operation: str, ladder: Any, gpt: OpenAI, key: str) -> None:
    """A stream that is stopped raises an APIError with the code of a suspension, within a second."""
    create: dict[str, Callable[[], Any]] = {
        "chat": lambda: gpt.chat.completions.create(model="still-small-2", messages=ASK, stream=True, extra_headers=SLOW),
        "responses": lambda: gpt.responses.create(model="still-small-2", input="hi", stream=True, extra_headers=SLOW),
        "completions": lambda: gpt.completions.create(
            model="still-small-2", prompt="hi", max_tokens=400, stream=True, extra_headers=SLOW
        ),
    }
    began = time.monotonic()
    with pytest.raises(openai.APIError) as caught:
        running(ladder, key, create[operation]())
    assert time.monotonic() - began < 1.3
    assert (caught.value.code, caught.value.type) == ("access_suspended", "request_forbidden")
    assert "sw-b" in caught.value.message


def test_anthropic_stopped_stream(ladder: Any, claude: Anthropic, key: str) -> None:
    """A stream that is stopped raises an APIStatusError whose type and code are those of a suspension."""
    began = time.monotonic()
    stream = claude.messages.create(model="claude-still-4", max_tokens=800, messages=ASK, stream=True, extra_headers=SLOW)
    with pytest.raises(anthropic.APIStatusError) as caught:
        running(ladder, key, stream)
    assert time.monotonic() - began < 1.3
    error: Any = caught.value
    assert error.body["error"]["type"] == "permission_error"
    assert error.body["error"]["details"] == {"error_code": "organization_on_hold", "appeal_url": APPEAL}


# Cap


class Reasoner:
    """A model server that shows its reasoning in each way that there is for chat completions and responses."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        raw = b""
        while True:
            message = await receive()
            raw += message.get("body", b"")
            if not message.get("more_body"):
                break
        body = orjson.loads(raw)
        self.asked.append(body)
        chat = scope["path"].endswith("/chat/completions")
        if body.get("stream"):
            kind, parts = b"text/event-stream", self._chat_stream() if chat else self._response_stream()
        else:
            kind, parts = b"application/json", [orjson.dumps(self._chat() if chat else self._response())]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    @staticmethod
    def _chat() -> Any:
        message = {"role": "assistant", "content": "7", "reasoning": SECRET, "reasoning_content": SECRET}
        choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
        usage = {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}
        return {
            "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage,
        }  # fmt: skip

    @staticmethod
    def _chat_stream() -> list[bytes]:
        deltas: list[Any] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning": piece, "reasoning_content": piece} for piece in SECRET.split(" ")]
        deltas += [{"content": "7"}, {}]
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        parts = []
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
            parts.append(b"data: %b\n\n" % orjson.dumps({**base, "choices": [choice]}))
        return [*parts, b"data: [DONE]\n\n"]

    @staticmethod
    def _response() -> Any:
        reasoning = {
            "id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Thought of primes."}],
            "content": [{"type": "reasoning_text", "text": SECRET}], "encrypted_content": "opaque",
        }  # fmt: skip
        text = {"type": "output_text", "text": "7", "annotations": [], "logprobs": []}
        said = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "tools": [],
            "output": [reasoning, said], "parallel_tool_calls": True, "tool_choice": "auto", "error": None,
            "usage": {
                "input_tokens": 1, "output_tokens": 9, "total_tokens": 10,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 5},
            },
        }  # fmt: skip

    def _response_stream(self) -> list[bytes]:
        whole = self._response()
        reasoning, said = whole["output"]
        part = said["content"][0]
        at_first = {"output_index": 0, "item_id": "rs_1"}
        at_second = {"output_index": 1, "item_id": "msg_1", "content_index": 0}
        events: list[Any] = [
            ("created", {"response": {**whole, "status": "in_progress", "output": []}}),
            ("output_item.added", {"output_index": 0, "item": {"id": "rs_1", "type": "reasoning", "summary": []}}),
            ("reasoning_text.delta", {**at_first, "content_index": 0, "delta": SECRET}),
            ("reasoning_text.done", {**at_first, "content_index": 0, "text": SECRET}),
            (
                "reasoning_summary_part.added",
                {**at_first, "summary_index": 0, "part": {"type": "summary_text", "text": ""}},
            ),
            ("reasoning_summary_text.delta", {**at_first, "summary_index": 0, "delta": "Thought of primes."}),
            ("reasoning_summary_text.done", {**at_first, "summary_index": 0, "text": "Thought of primes."}),
            ("reasoning_summary_part.done", {**at_first, "summary_index": 0, "part": reasoning["summary"][0]}),
            ("output_item.done", {"output_index": 0, "item": reasoning}),
            ("output_item.added", {"output_index": 1, "item": {**said, "content": [], "status": "in_progress"}}),
            ("content_part.added", {**at_second, "part": {**part, "text": ""}}),
            ("output_text.delta", {**at_second, "delta": "7", "logprobs": []}),
            ("output_text.done", {**at_second, "text": "7", "logprobs": []}),
            ("content_part.done", {**at_second, "part": part}),
            ("output_item.done", {"output_index": 1, "item": said}),
            ("completed", {"response": whole}),
        ]
        return [
            b"event: response.%b\ndata: %b\n\n"
            % (name.encode(), orjson.dumps({"type": f"response.{name}", "sequence_number": number, **members}))
            for number, (name, members) in enumerate(events)
        ]


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    """The model of this module."""
    return Reasoner()


@pytest.fixture(scope="module")
def reasoner_url(rig: Any, reasoner: Reasoner) -> str:
    """Its address."""
    url: str = rig.thread.serve(reasoner)
    return url


@pytest.fixture
def thinker(ladder: Any, reasoner_url: str, key: str) -> Iterator[OpenAI]:
    """A capped OpenAI client of a model that shows its reasoning."""
    ladder.act(key, "cap", requests_per_min=None)
    gateway = ladder.start(reasoner_url)
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture(params=["hide", "summarise", "keep"])
def shown(request: pytest.FixtureRequest, ladder: Any) -> str:
    """What the policy lets a capped key see."""
    policy = ladder.rules.policy
    ladder.rules.policy = policy.model_copy(update={"cap": policy.cap.model_copy(update={"reasoning": request.param})})
    name: str = request.param
    return name


@pytest.mark.parametrize("stream", [False, True])
def test_openai_capped_chat(stream: bool, shown: str, thinker: OpenAI, reasoner: Reasoner) -> None:
    """A capped chat has its text and one choice; reasoning, which chat never marks as a summary, only where it is kept."""
    asked: Any = {"model": "m", "messages": ASK, "n": 3, "logprobs": True, "logit_bias": {"1": 1}}
    if stream:
        with thinker.chat.completions.stream(**asked) as events:
            raw = [step.chunk for step in events if step.type == "chunk"]
            made = events.get_final_completion()
        seen = "".join(getattr(part.choices[0].delta, "reasoning", None) or "" for part in raw)
    else:
        made = thinker.chat.completions.create(**asked)
        seen = getattr(made.choices[0].message, "reasoning", None) or ""
    assert made.choices[0].message.content == "7"
    assert seen.replace(" ", "") == (SECRET.replace(" ", "") if shown == "keep" else "")
    assert (SECRET in made.model_dump_json()) == (shown == "keep" and not stream)
    got = reasoner.asked[-1]
    assert (got["n"], "logprobs" in got, "logit_bias" in got) == (1, False, False)


@pytest.mark.parametrize("stream", [False, True])
def test_openai_capped_responses(stream: bool, shown: str, thinker: OpenAI, reasoner: Reasoner) -> None:
    """A capped response parses to the end; its reasoning item has what the policy lets through, and is of use next turn."""
    asked: Any = {
        "model": "m", "input": "hi", "reasoning": {"effort": "high", "summary": "detailed"}, "top_logprobs": 3,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    }  # fmt: skip
    if stream:
        with thinker.responses.stream(**asked) as events:
            kinds = [step.type for step in events]
            made: Any = events.get_final_response()
        assert ("response.reasoning_text.delta" in kinds) == (shown == "keep")
        assert ("response.reasoning_summary_text.delta" in kinds) == (shown != "hide")
    else:
        made = thinker.responses.create(**asked)
    reasoning, said = made.output
    assert made.output_text == "7"
    assert said.id == "msg_1"
    assert (reasoning.id, reasoning.encrypted_content) == ("rs_1", "opaque")
    assert [part.text for part in reasoning.summary] == ([] if shown == "hide" else ["Thought of primes."])
    assert (SECRET in made.model_dump_json()) == (shown == "keep")
    got = reasoner.asked[-1]
    assert (got["include"], "top_logprobs" in got) == (["reasoning.encrypted_content"], False)
    assert got["reasoning"].get("summary") == {"hide": None, "summarise": "auto", "keep": "detailed"}[shown]


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_capped(stream: bool, shown: str, ladder: Any, claude: Anthropic, key: str) -> None:
    """A capped message parses block by block; its thinking is empty but signed where it is hidden."""
    ladder.act(key, "cap", requests_per_min=None)
    asked: Any = {
        "model": "claude-still-4", "max_tokens": 4000, "messages": ASK,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }  # fmt: skip
    if stream:
        with claude.messages.stream(**asked) as events:
            kinds = [step.type for step in events]
            made = events.get_final_message()
        assert ("thinking" in kinds) == (shown != "hide")
        assert kinds.count("content_block_stop") == len(made.content)
    else:
        made = claude.messages.create(**asked)
    thought, said = made.content
    assert thought.type == "thinking"
    assert said.type == "text"
    assert said.text
    assert (thought.thinking == "", len(thought.signature) > 20) == (shown == "hide", True)
