"""The official openai SDK through the gateway: every operation, and the event each leaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from detectors.event import Event, encode

ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


@pytest.fixture
def client(gateway: Any, key: str) -> Iterator[OpenAI]:
    """An SDK client of the gateway that does not retry."""
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture
def event(gateway: Any, key: str) -> Callable[[], Event]:
    """The one event of this test."""

    def find() -> Event:
        (only,) = gateway.events.of(gateway.key_id(key))
        assert key.encode() not in encode(only)
        return only

    return find


def test_chat(client: OpenAI, event: Any) -> None:
    """A chat completion arrives whole, and its event has the usage, the shape and the bounded text."""
    messages: Any = [{"role": "system", "content": "Be brief. " * 300}, *ASK]
    made = client.chat.completions.create(model="still-small-2", messages=messages)
    assert made.usage is not None
    text = made.choices[0].message.content or ""
    logged = event()
    assert (logged.dialect, logged.route, logged.model, logged.stream) == ("openai", "chat", "still-small-2", False)
    assert (logged.input_tokens, logged.output_tokens) == (made.usage.prompt_tokens, made.usage.completion_tokens)
    assert not logged.tokens_estimated
    assert (logged.roles, logged.message_count, logged.user_turns) == ("su", 2, 1)
    assert (logged.status, logged.outcome, logged.finish_reason, logged.decision) == (200, "complete", "stop", "allow")
    assert (logged.sdk, logged.agent_class, logged.retry_count) == ("openai-python", "openai", 0)
    assert logged.system_chars == 3000
    assert (len(logged.system_head), len(logged.system_tail)) == (1024, 512)
    assert logged.user_head == ASK[0]["content"]
    assert (logged.user_tail, logged.answer_head, logged.answer_chars) == ("", text[:1024], len(text))
    assert logged.latency_us >= logged.first_byte_us > 0
    assert len(logged.ip_prefix_id) == 32


def test_sampling_parameters_are_logged(client: OpenAI, event: Any) -> None:
    """Every sampling parameter of a request stands in its event, the long ones as digests."""
    schema: Any = {"type": "object", "properties": {"label": {"type": "string"}}}
    client.chat.completions.create(
        model="still-small-2",
        messages=ASK,
        n=3,
        temperature=1.5,
        top_p=0.5,
        logprobs=True,
        top_logprobs=4,
        logit_bias={"1": 5, "2": -5},
        max_completion_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "out", "schema": schema}},
        tools=[WEATHER],
        reasoning_effort="low",
    )
    logged = event()
    assert (logged.n, logged.temperature, logged.top_p, logged.top_logprobs) == (3, 1.5, 0.5, 4)
    assert (logged.max_tokens, logged.logit_bias_size, logged.tool_count) == (40, 2, 1)
    assert (logged.response_format, logged.reasoning_effort) == ("json_schema", "low")
    assert all((logged.logit_bias_digest, logged.response_schema_digest, logged.tools_digest))


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("injects", [False, True])
def test_chat_stream_and_its_usage(asked: bool, injects: bool, gateway: Any, injecting: Any, key: str, calls: Any) -> None:
    """A stream has the usage chunk exactly if the client asked; the gateway counts exactly if the upstream was asked."""
    through = injecting if injects else gateway
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    with OpenAI(base_url=through.url + "/v1", api_key=key, max_retries=0) as client:
        chunks = list(client.chat.completions.create(model="still-small-2", messages=ASK, stream=True, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk for chunk in chunks if not chunk.choices] == (chunks[-1:] if asked else [])
    assert (chunks[-1].usage is not None) == asked
    (call,) = calls()
    assert (b"include_usage" in call.body) == (asked or injects)
    (logged,) = through.events.of(through.key_id(key))
    assert logged.stream
    assert logged.tokens_estimated == (not asked and not injects)
    assert (logged.answer_chars, logged.answer_head) == (len(text), text[:1024])
    assert logged.finish_reason == "stop"
    if not logged.tokens_estimated:
        assert logged.output_tokens == (len(text) + 3) // 4
    else:
        assert logged.output_tokens > 0
        assert logged.input_tokens > 0


def test_stream_helper(client: OpenAI) -> None:
    """The SDK's accumulating stream sees the same events as without the gateway."""
    with client.chat.completions.stream(model="still-small-2", messages=ASK) as stream:
        kinds = {step.type for step in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_the_conversation_that_follows(stream: bool, client: OpenAI, gateway: Any, key: str) -> None:
    """A tool is called and answered; the second request's event names the first as the conversation it continues."""
    forced: Any = {"model": "still-large-2", "messages": ASK, "tools": [WEATHER], "tool_choice": "required"}
    if stream:
        with client.chat.completions.stream(**forced) as streamed:
            message = streamed.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**forced).choices[0].message
    assert message.tool_calls
    call: Any = message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"city", "days"}
    said: Any = {"role": "assistant", "content": None, "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
    history: Any = [*ASK, said, {"role": "tool", "tool_call_id": call.id, "content": "12 C"}]
    client.chat.completions.create(model="still-large-2", messages=history, tools=[WEATHER])
    first, second = gateway.events.of(gateway.key_id(key), 2)
    assert (first.tool_calls, first.finish_reason, first.roles) == (1, "tool_calls", "u")
    assert second.roles == "uat"
    assert first.prefix_digest == 0
    assert second.prefix_digest == first.chain_digest
    assert second.tools_digest == first.tools_digest


@pytest.mark.parametrize("stream", [False, True])
def test_responses(stream: bool, client: OpenAI, event: Any) -> None:
    """The responses API works whole and streamed, and its usage is exact both ways."""
    ask: Any = {
        "model": "still-large-2",
        "input": "What is a trellis?",
        "instructions": "Be brief.",
        "max_output_tokens": 900,
    }
    if stream:
        with client.responses.stream(**ask) as events:
            made = events.get_final_response()
    else:
        made = client.responses.create(**ask)
    assert made.usage is not None
    logged = event()
    assert (logged.route, logged.roles, logged.max_tokens, logged.stream) == ("responses", "su", 900, stream)
    assert (logged.input_tokens, logged.output_tokens) == (made.usage.input_tokens, made.usage.output_tokens)
    assert not logged.tokens_estimated
    assert logged.answer_head == made.output_text[:1024]


def test_responses_with_tools(client: OpenAI, event: Any) -> None:
    """A function call of the responses API is counted as one."""
    tool: Any = {"type": "function", "name": "book", "parameters": {"type": "object", "properties": {}}}
    made = client.responses.create(model="still-large-2", input="Book.", tools=[tool], tool_choice="required")
    assert made.output[0].type == "function_call"
    assert event().tool_calls == 1


@pytest.mark.parametrize("stream", [False, True])
def test_completions(stream: bool, client: OpenAI, event: Any) -> None:
    """The old completions API works with a batch of prompts."""
    made: Any = client.completions.create(
        model="still-small-2", prompt=["One", "Two"], max_tokens=12, logprobs=2, stream=stream
    )
    texts = [chunk.choices[0].text for chunk in made] if stream else [choice.text for choice in made.choices]
    assert len(texts) >= 2
    logged = event()
    assert (logged.route, logged.input_items, logged.roles, logged.top_logprobs) == ("completions", 2, "u", 2)
    assert logged.tokens_estimated == stream
    assert logged.output_tokens > 0


def test_embeddings(client: OpenAI, event: Any) -> None:
    """Embeddings arrive whole, and their event has the batch size and the tokens read."""
    made = client.embeddings.create(model="text-embedding-still", input=["a", "b", "c"])
    assert len(made.data) == 3
    logged = event()
    assert (logged.route, logged.input_items, logged.output_tokens) == ("embeddings", 3, 0)
    assert logged.input_tokens == made.usage.prompt_tokens
    assert not logged.tokens_estimated


def test_models(client: OpenAI, gateway: Any, key: str) -> None:
    """Models are listed and found, and each look is an event of its class."""
    assert "still-small-2" in [model.id for model in client.models.list()]
    assert client.models.retrieve("still-small-2").id == "still-small-2"
    assert [found.route for found in gateway.events.of(gateway.key_id(key), 2)] == ["models", "models"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_errors_of_the_upstream_keep_their_class(status: int, kind: Any, client: OpenAI, event: Any) -> None:
    """An error of the upstream becomes the SDK's exception of that status, with its message, code and request id."""
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="still-small-2", messages=ASK, extra_headers={"x-sim-status": str(status)})
    assert str(status) in caught.value.message
    assert caught.value.request_id.startswith("req_")
    logged = event()
    assert logged.status == status
    assert logged.error
    assert logged.outcome == ("upstream_error" if status >= 500 else "complete")
    assert (logged.output_tokens, logged.tokens_estimated) == (0, False)


def test_retries_obey_the_wait_and_are_counted(gateway: Any, key: str) -> None:
    """An SDK waits as long as the upstream's Retry-After says, and each try is an event with its number."""
    faults = {"x-sim-status": "429", "x-sim-fail-times": "2", "x-sim-retry-after": "0.15"}
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=2) as client:
        began = time.monotonic()
        client.chat.completions.create(model="still-small-2", messages=ASK, extra_headers=faults)
    assert time.monotonic() - began >= 0.3
    tries = gateway.events.of(gateway.key_id(key), 3)
    assert [(found.retry_count, found.status) for found in tries] == [(0, 429), (1, 429), (2, 200)]
    assert len({found.client_digest for found in tries}) == 1


def test_errors_of_ours_have_their_class(rig: Any, key: str) -> None:
    """A refusal of the gateway is the SDK's exception of that status, and is not retried when that cannot help."""
    strict = rig.gateway(sections={"identity": {"unknown_keys": "deny"}, "gateway": {"max_body_bytes": 4096}})
    with OpenAI(base_url=strict.url + "/v1", api_key=key, max_retries=2) as client:
        before = rig.api.served
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model="still-small-2", messages=ASK)
        assert caught.value.code == "invalid_api_key"
        assert key not in str(caught.value)
        with pytest.raises(openai.APIStatusError) as large:
            client.chat.completions.create(model="still-small-2", messages=[{"role": "user", "content": "a" * 5000}])
        assert (large.value.status_code, large.value.code) == (413, "request_too_large")
        assert rig.api.served == before


def test_unreachable_upstream_is_a_server_error(rig: Any, key: str) -> None:
    """An upstream that is away is a 502 that the SDK would retry."""
    lonely = rig.gateway(upstream="http://127.0.0.1:1")
    with (
        OpenAI(base_url=lonely.url + "/v1", api_key=key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="still-small-2", messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_unavailable")


@pytest.mark.parametrize("operation", ["chat", "completions", "responses"])
def test_cut_stream_raises(operation: str, client: OpenAI, event: Any) -> None:
    """A stream whose upstream broke off raises in the SDK, after everything that came before."""
    faults = {"x-sim-cut-after": "4"}
    create: dict[str, Callable[[], Any]] = {
        "chat": lambda: client.chat.completions.create(
            model="still-small-2", messages=ASK, stream=True, extra_headers=faults
        ),
        "completions": lambda: client.completions.create(
            model="still-small-2", prompt="Tell me", stream=True, extra_headers=faults
        ),
        "responses": lambda: client.responses.create(
            model="still-small-2", input="Tell me", stream=True, extra_headers=faults
        ),
    }
    taken: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        taken.extend(create[operation]())
    assert len(taken) == 4
    assert (caught.value.code, caught.value.type) == ("upstream_error", "server_error")
    logged = event()
    assert (logged.status, logged.outcome, logged.error) == (200, "upstream_cut", "upstream_cut")
    assert logged.tokens_estimated


def test_cut_answer_raises(client: OpenAI, event: Any) -> None:
    """An answer cut short is a 502, not half a completion."""
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="still-small-2", messages=ASK, extra_headers={"x-sim-cut-after": "0"})
    assert (event().status, event().outcome) == (502, "upstream_error")


def test_error_event_passes(client: OpenAI, event: Any) -> None:
    """An error that the upstream itself sends in its stream arrives as it was, and is in the event."""
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model="still-small-2", messages=ASK, stream=True, extra_headers={"x-sim-error-after": "3"}
            )
        )
    assert (event().outcome, event().error) == ("complete", "server_error")


def test_leaving_a_stream_stops_the_model_and_counts_what_was_taken(
    client: OpenAI, rig: Any, event: Any, calls: Any
) -> None:
    """A client that closes a stream ends the upstream's work at once; the event holds what it took until then."""
    slow = {"x-sim-chunk-delay-ms": "20", "x-sim-chunks": "400", "x-sim-words": "800"}
    stream = client.chat.completions.create(model="still-small-2", messages=ASK, stream=True, extra_headers=slow)
    taken = ""
    for chunk in stream:
        taken += chunk.choices[0].delta.content or ""
        if len(taken) > 40:
            break
    stream.close()
    logged = event()
    assert (logged.status, logged.outcome, logged.tokens_estimated) == (200, "disconnected", True)
    assert len(taken) <= logged.answer_chars < 400
    assert logged.answer_head.startswith(taken)
    assert logged.output_tokens >= len(taken) // 4
    assert _ended(calls) == "disconnected"


def test_timeout_of_the_client_stops_the_model(client: OpenAI, event: Any, calls: Any) -> None:
    """A client that gives up before the first byte ends the upstream's work, and took nothing."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(
            model="still-small-2", messages=ASK, extra_headers={"x-sim-latency-ms": "5000"}
        )
    logged = event()
    assert (logged.outcome, logged.output_tokens, logged.answer_chars) == ("disconnected", 0, 0)
    assert _ended(calls) == "disconnected"


async def test_cancelled_call_stops_the_model(gateway: Any, key: str, event: Any, calls: Any) -> None:
    """Cancelling the task of an asynchronous call ends the upstream's work."""
    async with AsyncOpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as client:
        faults = {"x-sim-latency-ms": "5000"}
        task = asyncio.create_task(
            client.chat.completions.create(model="still-small-2", messages=ASK, extra_headers=faults)
        )
        async with asyncio.timeout(5):
            while not calls():  # noqa: ASYNC110 — the server is another party; it is polled
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await asyncio.to_thread(event)).outcome == "disconnected"
    assert await asyncio.to_thread(_ended, calls) == "disconnected"


def _ended(calls: Any) -> str:
    """How the one call ended, once it has."""
    until = time.monotonic() + 5
    while not calls()[0].ended and time.monotonic() < until:
        time.sleep(0.01)
    return str(calls()[0].ended)
