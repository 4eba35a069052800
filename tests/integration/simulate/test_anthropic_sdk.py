"""The official anthropic SDK against the simulated model API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]
TOOL: Any = {"name": "find", "input_schema": {"type": "object", "properties": {"what": {"type": "string"}}}}


@pytest.fixture
async def client(model_api: Any) -> AsyncIterator[AsyncAnthropic]:
    """An SDK client of the simulated API."""
    async with AsyncAnthropic(base_url=model_api.url, api_key="sk-ant-test", max_retries=0) as made:
        yield made


async def test_message_has_text_and_usage(client: AsyncAnthropic) -> None:
    """A plain message has a text block, a stop reason and usage; count_tokens agrees with its input."""
    made = await client.messages.create(model="claude-still-4", max_tokens=400, messages=ASK, system="Be kind.")
    assert made.content[0].type == "text"
    assert made.stop_reason in ("end_turn", "max_tokens")
    counted = await client.messages.count_tokens(model="claude-still-4", messages=ASK, system="Be kind.")
    assert counted.input_tokens == made.usage.input_tokens


async def test_stream_accumulates_to_a_message(client: AsyncAnthropic) -> None:
    """The SDK's accumulator builds thinking and text from the events."""
    async with client.messages.stream(
        model="claude-still-4", max_tokens=2000, messages=ASK, thinking={"type": "enabled", "budget_tokens": 1024}
    ) as stream:
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.usage.output_tokens > 1


async def test_tools_whole_and_streamed(client: AsyncAnthropic) -> None:
    """A forced tool is called with the schema's members, streamed or not, and text follows its result."""
    choice: Any = {"type": "tool", "name": "find"}
    made = await client.messages.create(
        model="claude-still-4", max_tokens=400, messages=ASK, tools=[TOOL], tool_choice=choice
    )
    block = made.content[0]
    assert block.type == "tool_use"
    assert set(block.input) == {"what"}  # type: ignore[arg-type]
    async with client.messages.stream(
        model="claude-still-4", max_tokens=400, messages=ASK, tools=[TOOL], tool_choice=choice
    ) as stream:
        final = await stream.get_final_message()
    assert final.stop_reason == "tool_use"
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "yes"}]}
    after = await client.messages.create(
        model="claude-still-4",
        max_tokens=400,
        messages=[*ASK, {"role": "assistant", "content": [block.model_dump()]}, result],
        tools=[TOOL],
    )
    assert after.content[0].type == "text"


async def test_errors_become_the_sdk_exceptions(client: AsyncAnthropic) -> None:
    """Statuses and the error event arrive as the SDK's exception classes."""
    for status, kind in ((429, anthropic.RateLimitError), (403, anthropic.PermissionDeniedError)):
        with pytest.raises(kind):
            await client.messages.create(
                model="claude-still-4", max_tokens=9, messages=ASK, extra_headers={"x-sim-status": str(status)}
            )
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.create(model="no-such-model", max_tokens=9, messages=ASK)
    with pytest.raises(anthropic.APIStatusError):
        async with client.messages.stream(
            model="claude-still-4", max_tokens=400, messages=ASK, extra_headers={"x-sim-error-after": "4"}
        ) as stream:
            await stream.get_final_message()


async def test_models_are_listed_in_this_dialect(client: AsyncAnthropic) -> None:
    """An Anthropic client gets Anthropic model objects."""
    assert "claude-still-4" in [model.id async for model in client.models.list()]
