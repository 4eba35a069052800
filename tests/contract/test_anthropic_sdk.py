"""The official anthropic SDK through the gateway: every operation, and the event each leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from detectors.event import Event, encode

ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]
TOOL: Any = {"name": "find", "input_schema": {"type": "object", "properties": {"what": {"type": "string"}}}}


@pytest.fixture
def client(gateway: Any, key: str) -> Iterator[Anthropic]:
    """An SDK client of the gateway that does not retry."""
    with Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as made:
        yield made


@pytest.fixture
def event(gateway: Any, key: str) -> Callable[[], Event]:
    """The one event of this test."""

    def find() -> Event:
        (only,) = gateway.events.of(gateway.key_id(key))
        assert key.encode() not in encode(only)
        return only

    return find


def test_message(client: Anthropic, event: Any) -> None:
    """A message arrives whole, and its event has the usage, the shape and the bounded text."""
    made = client.messages.create(
        model="claude-still-4",
        max_tokens=400,
        messages=ASK,
        system="Be kind.",
        extra_body={"temperature": 0.5, "top_p": 0.9},
    )
    text = made.content[0]
    assert text.type == "text"
    logged = event()
    assert (logged.dialect, logged.route, logged.model) == ("anthropic", "messages", "claude-still-4")
    assert (logged.input_tokens, logged.output_tokens) == (made.usage.input_tokens, made.usage.output_tokens)
    assert not logged.tokens_estimated
    assert (logged.roles, logged.user_turns, logged.system_head) == ("su", 1, "Be kind.")
    assert (logged.max_tokens, logged.temperature, logged.top_p) == (400, 0.5, 0.9)
    assert (logged.status, logged.outcome, logged.finish_reason) == (200, "complete", made.stop_reason)
    assert (logged.sdk, logged.agent_class) == ("anthropic-python", "anthropic")
    assert (logged.answer_head, logged.answer_chars) == (text.text[:1024], len(text.text))


@pytest.mark.parametrize("thinks", [False, True])
def test_stream(thinks: bool, client: Anthropic, event: Any) -> None:
    """The SDK's accumulator builds the same message from the stream, and the counts are exact."""
    extra: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if thinks else {}
    with client.messages.stream(model="claude-still-4", max_tokens=2000, messages=ASK, **extra) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == (["thinking", "text"] if thinks else ["text"])
    logged = event()
    assert logged.stream
    assert (logged.input_tokens, logged.output_tokens) == (final.usage.input_tokens, final.usage.output_tokens)
    assert not logged.tokens_estimated
    assert logged.reasoning_effort == ("low" if thinks else "")
    text: Any = final.content[-1]
    assert logged.answer_head == text.text[:1024]


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_the_conversation_that_follows(stream: bool, client: Anthropic, gateway: Any, key: str) -> None:
    """A tool is called and answered; the second request's event names the first as the conversation it continues."""
    forced: Any = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "find"}}
    ask: Any = {"model": "claude-still-4", "max_tokens": 400, "messages": ASK}
    if stream:
        with client.messages.stream(**ask, **forced) as streamed:
            made = streamed.get_final_message()
    else:
        made = client.messages.create(**ask, **forced)
    block: Any = made.content[0]
    assert set(block.input) == {"what"}
    said: Any = {"role": "assistant", "content": [block.model_dump(include={"type", "id", "name", "input"})]}
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "yes"}]}
    client.messages.create(model="claude-still-4", max_tokens=400, messages=[*ASK, said, result], tools=[TOOL])
    first, second = gateway.events.of(gateway.key_id(key), 2)
    assert (first.tool_calls, first.finish_reason, first.roles) == (1, "tool_use", "u")
    assert second.roles == "uat"
    assert second.prefix_digest == first.chain_digest
    assert second.tools_digest == first.tools_digest != 0


def test_beta_messages(client: Anthropic, event: Any) -> None:
    """The beta API, which differs in its query and headers, is the same operation."""
    made = client.beta.messages.create(model="claude-still-4", max_tokens=40, messages=ASK, betas=["some-beta-2026-01-01"])
    assert made.content
    assert (event().route, event().output_tokens) == ("messages", made.usage.output_tokens)


def test_count_tokens(client: Anthropic, event: Any) -> None:
    """Counting tokens works, and is an event that took nothing."""
    assert client.messages.count_tokens(model="claude-still-4", messages=ASK).input_tokens > 0
    logged = event()
    assert (logged.route, logged.input_tokens, logged.output_tokens) == ("count_tokens", 0, 0)
    assert not logged.tokens_estimated


def test_models(client: Anthropic) -> None:
    """An Anthropic client gets Anthropic model objects."""
    assert "claude-still-4" in [model.id for model in client.models.list()]


def test_token_and_key_are_one_caller(gateway: Any, key: str) -> None:
    """The same secret as bearer token and as API key has one id."""
    for credential in ({"api_key": key}, {"auth_token": key}):
        options: Any = {"api_key": None, "auth_token": None, **credential}
        with Anthropic(base_url=gateway.url, max_retries=0, **options) as client:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
    assert len(gateway.events.of(gateway.key_id(key), 2)) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (409, anthropic.ConflictError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
def test_errors_of_the_upstream_keep_their_class(status: int, kind: Any, client: Anthropic, event: Any) -> None:
    """An error of the upstream becomes the SDK's exception of that status, with its request id."""
    with pytest.raises(kind) as caught:
        client.messages.create(
            model="claude-still-4", max_tokens=9, messages=ASK, extra_headers={"x-sim-status": str(status)}
        )
    assert str(status) in str(caught.value)
    assert caught.value.request_id.startswith("req_")
    logged = event()
    assert logged.status == status
    assert logged.error
    assert (logged.output_tokens, logged.tokens_estimated) == (0, False)


def test_retries_obey_the_wait_and_are_counted(gateway: Any, key: str) -> None:
    """An SDK waits as long as the upstream's Retry-After says, and each try is an event with its number."""
    faults = {"x-sim-status": "529", "x-sim-fail-times": "1", "x-sim-retry-after": "0.3"}
    with Anthropic(base_url=gateway.url, api_key=key, max_retries=2) as client:
        began = time.monotonic()
        client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK, extra_headers=faults)
    assert time.monotonic() - began >= 0.3
    tries = gateway.events.of(gateway.key_id(key), 2)
    assert [(found.retry_count, found.status) for found in tries] == [(0, 529), (1, 200)]


def test_errors_of_ours_have_their_class(rig: Any, key: str) -> None:
    """A refusal of the gateway is the SDK's exception of that status, and is not retried when that cannot help."""
    strict = rig.gateway(sections={"identity": {"unknown_keys": "deny"}, "gateway": {"max_body_bytes": 4096}})
    with Anthropic(base_url=strict.url, api_key=key, max_retries=2) as client:
        before = rig.api.served
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        assert (caught.value.type, caught.value.status_code) == ("authentication_error", 401)
        assert caught.value.request_id
        assert key not in str(caught.value)
        long: Any = [{"role": "user", "content": "a" * 5000}]
        with pytest.raises(anthropic.APIStatusError) as large:
            client.messages.create(model="claude-still-4", max_tokens=9, messages=long)
        assert (large.value.status_code, large.value.type) == (413, "request_too_large")
        assert rig.api.served == before


@pytest.mark.parametrize("after", ["0", "2", "6"])
def test_cut_stream_raises(after: str, client: Anthropic, event: Any) -> None:
    """A stream whose upstream broke off raises in the SDK, wherever it broke."""
    with (
        client.messages.stream(
            model="claude-still-4", max_tokens=400, messages=ASK, extra_headers={"x-sim-cut-after": after}
        ) as stream,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        stream.get_final_message()
    assert caught.value.type == "api_error"
    logged = event()
    assert (logged.status, logged.outcome, logged.error) == (200, "upstream_cut", "upstream_cut")


def test_cut_answer_raises(client: Anthropic, event: Any) -> None:
    """An answer cut short is a 502, not half a message."""
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(model="claude-still-4", max_tokens=400, messages=ASK, extra_headers={"x-sim-cut-after": "0"})
    assert (event().status, event().outcome) == (502, "upstream_error")


def test_error_event_passes(client: Anthropic, event: Any) -> None:
    """An error that the upstream itself sends in its stream arrives as it was, and is in the event."""
    with (
        client.messages.stream(
            model="claude-still-4", max_tokens=400, messages=ASK, extra_headers={"x-sim-error-after": "4"}
        ) as stream,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        stream.get_final_message()
    assert caught.value.type == "overloaded_error"
    assert (event().outcome, event().error) == ("complete", "overloaded_error")


def test_leaving_a_stream_stops_the_model_and_counts_what_was_taken(client: Anthropic, event: Any, calls: Any) -> None:
    """A client that closes a stream ends the upstream's work at once; the event holds what it took until then."""
    slow = {"x-sim-chunk-delay-ms": "20", "x-sim-chunks": "400", "x-sim-words": "800"}
    taken = ""
    with client.messages.stream(model="claude-still-4", max_tokens=9000, messages=ASK, extra_headers=slow) as stream:
        for piece in stream.text_stream:
            taken += piece
            if len(taken) > 40:
                break
    logged = event()
    assert (logged.status, logged.outcome, logged.tokens_estimated) == (200, "disconnected", True)
    assert len(taken) <= logged.answer_chars < 400
    assert logged.answer_head.startswith(taken)
    assert logged.input_tokens > 0
    assert logged.output_tokens >= len(taken) // 4
    assert calls()[0].ended == "disconnected"


async def test_timeout_of_the_client_stops_the_model(gateway: Any, key: str, event: Any) -> None:
    """A client that gives up before the first byte took nothing."""
    async with AsyncAnthropic(base_url=gateway.url, api_key=key, max_retries=0, timeout=0.2) as client:
        with pytest.raises(anthropic.APITimeoutError):
            await client.messages.create(
                model="claude-still-4", max_tokens=9, messages=ASK, extra_headers={"x-sim-latency-ms": "5000"}
            )
    logged = await asyncio.to_thread(event)
    assert (logged.outcome, logged.output_tokens) == ("disconnected", 0)
