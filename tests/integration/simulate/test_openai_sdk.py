"""The official openai SDK against the simulated model API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]


@pytest.fixture
async def client(model_api: Any) -> AsyncIterator[AsyncOpenAI]:
    """An SDK client of the simulated API."""
    async with AsyncOpenAI(base_url=model_api.url + "/v1", api_key="sk-test-1", max_retries=2) as made:
        yield made


async def test_chat_answers_with_usage(client: AsyncOpenAI) -> None:
    """A plain chat completion has text, a finish reason and usage that adds up."""
    made = await client.chat.completions.create(model="still-small-2", messages=ASK)
    assert made.choices[0].message.content
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0


async def test_chat_stream_equals_its_pieces(client: AsyncOpenAI) -> None:
    """A stream ends with a finish reason, and with usage only for those who asked."""
    stream = await client.chat.completions.create(
        model="still-small-2", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(text) > 20
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == (len(text) + 3) // 4
    silent = await client.chat.completions.create(model="still-small-2", messages=ASK, stream=True)
    assert all(chunk.usage is None for chunk in [chunk async for chunk in silent])


async def test_tools_are_called_and_then_answered(client: AsyncOpenAI) -> None:
    """With a required tool there is a call whose arguments follow the schema; after its result there is text."""
    made = await client.chat.completions.create(
        model="still-large-2", messages=ASK, tools=[WEATHER], tool_choice="required"
    )
    message = made.choices[0].message
    assert made.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    call: Any = message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"city", "days"}
    history: Any = [
        *ASK,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "12 C"},
    ]
    after = await client.chat.completions.create(model="still-large-2", messages=history, tools=[WEATHER])
    assert after.choices[0].message.content


async def test_tool_calls_stream_in_pieces(client: AsyncOpenAI) -> None:
    """Streamed arguments are one JSON document in order."""
    stream = await client.chat.completions.create(
        model="still-large-2", messages=ASK, tools=[WEATHER], tool_choice="required", stream=True
    )
    deltas = [
        call
        async for chunk in stream
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
        if call.function
    ]
    assert deltas[0].id
    assert set(json.loads("".join(call.function.arguments or "" for call in deltas if call.function))) == {"city", "days"}


async def test_choices_logprobs_and_schema(client: AsyncOpenAI) -> None:
    """Several choices differ, log probabilities come with their alternatives, and a schema is followed."""
    many = await client.chat.completions.create(model="still-small-2", messages=ASK, n=3, logprobs=True, top_logprobs=4)
    assert len({choice.message.content for choice in many.choices}) == 3
    listed = many.choices[0].logprobs
    assert listed is not None
    assert listed.content
    assert len(listed.content[0].top_logprobs) == 4
    schema: Any = {"type": "object", "properties": {"label": {"type": "string", "enum": ["spam", "ham"]}}}
    shaped = await client.chat.completions.create(
        model="still-small-2",
        messages=ASK,
        response_format={"type": "json_schema", "json_schema": {"name": "out", "schema": schema}},
    )
    assert json.loads(shaped.choices[0].message.content or "")["label"] in ("spam", "ham")


async def test_responses_stream_and_whole(client: AsyncOpenAI) -> None:
    """The responses API gives the same text as object and as events, and calls tools."""
    whole = await client.responses.create(model="still-large-2", input="What is a trellis?", temperature=0)
    events = [
        event
        async for event in await client.responses.create(
            model="still-large-2", input="What is a trellis?", temperature=0, stream=True
        )
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage is not None
    tool: Any = {
        "type": "function",
        "name": "book",
        "parameters": {"type": "object", "properties": {"seat": {"type": "integer"}}},
    }
    called = await client.responses.create(model="still-large-2", input="Book.", tools=[tool], tool_choice="required")
    assert called.output[0].type == "function_call"


async def test_completions_embeddings_models(client: AsyncOpenAI) -> None:
    """The smaller routes answer in the SDK's own types."""
    old = await client.completions.create(model="still-small-2", prompt=["One", "Two"], n=2, max_tokens=12)
    assert [choice.index for choice in old.choices] == [0, 1, 2, 3]
    made = await client.embeddings.create(model="text-embedding-still", input=["a", "b"])
    assert len(made.data) == 2
    assert abs(sum(value * value for value in made.data[0].embedding) - 1) < 1e-5
    assert "still-small-2" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("still-small-2")).id == "still-small-2"


async def test_errors_become_the_sdk_exceptions(client: AsyncOpenAI) -> None:
    """Statuses arrive as the SDK's exception classes, and a retry succeeds when the fault ends."""
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="no-such-model", messages=ASK)
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="still-small-2", messages=[])
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-invalid").chat.completions.create(model="still-small-2", messages=ASK)
    with pytest.raises(openai.RateLimitError) as caught:
        await client.with_options(max_retries=0).chat.completions.create(
            model="still-small-2", messages=ASK, extra_headers={"x-sim-status": "429"}
        )
    assert caught.value.code == "rate_limit_exceeded"
    again = {"x-sim-status": "503", "x-sim-fail-times": "1", "x-sim-retry-after": "0.01"}
    assert (await client.chat.completions.create(model="still-small-2", messages=ASK, extra_headers=again)).id


async def test_error_in_a_stream_is_raised(client: AsyncOpenAI) -> None:
    """The error event in mid-stream becomes an exception."""
    stream = await client.chat.completions.create(
        model="still-small-2", messages=ASK, stream=True, extra_headers={"x-sim-error-after": "3"}
    )
    with pytest.raises(openai.APIError):
        _ = [chunk async for chunk in stream]


async def test_leaving_a_stream_is_seen_by_the_server(client: AsyncOpenAI, model_api: Any) -> None:
    """A client that closes a slow stream is noted as disconnected."""
    stream = await client.chat.completions.create(
        model="still-small-2",
        messages=ASK,
        stream=True,
        extra_headers={"x-sim-chunk-delay-ms": "500", "x-sim-chunks": "50"},
    )
    await anext(aiter(stream))
    await stream.close()
    async with asyncio.timeout(5):
        while not model_api.api.disconnected:  # noqa: ASYNC110 — the server is another party; it is polled
            await asyncio.sleep(0.01)
    assert model_api.api.calls[-1].ended == "disconnected"
