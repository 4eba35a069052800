"""A capped request: what is taken out, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest

from app.gateway.capping import capped
from app.settings import CapRule

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"logprobs": True, "top_logprobs": 5}, {}),
        ({"prompt_logprobs": 3, "logit_bias": {"1": 2}, "allowed_token_ids": [1, 2]}, {}),
        ({"n": 8, "best_of": "9"}, {"n": 1, "best_of": 1}),
        ({"n": 1, "best_of": None, "seed": 3}, {"n": 1, "best_of": None, "seed": 3}),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    ],
)
def test_parameters_are_taken_out_of_chat(asked: dict[str, Any], left: dict[str, Any]) -> None:
    """What makes harvesting cheap is gone or one, also as servers read it leniently; everything else is as it was."""
    before = {**CHAT, **asked}
    made = capped("chat", before, CapRule())
    assert (made or before) == {**CHAT, **left}
    assert before == {**CHAT, **asked}


@pytest.mark.parametrize("route", ["chat", "completions", "responses", "messages"])
def test_a_plain_request_is_not_touched(route: str) -> None:
    """A request that uses nothing of all that is forwarded as the client's own bytes."""
    assert capped(route, CHAT, CapRule()) is None


def test_only_what_the_rule_names() -> None:
    """A rule may take away less; without logprobs there are no top ones either, as servers refuse those alone."""
    body = {**CHAT, "logprobs": True, "top_logprobs": 5, "n": 4}
    assert capped("chat", body, CapRule(strip=("n",))) == {**body, "n": 1}
    assert capped("chat", body, CapRule(strip=("logprobs",))) == {**CHAT, "n": 4}
    assert capped("chat", body, CapRule(strip=("top_logprobs",))) == {**CHAT, "logprobs": True, "n": 4}
    assert capped("chat", body, CapRule(strip=(), reasoning="hide")) is None


def test_completions_count_their_logprobs() -> None:
    """In completions the number of alternatives is the value of logprobs itself."""
    body = {"model": "m", "prompt": "x", "logprobs": 5}
    assert capped("completions", body, CapRule()) == {"model": "m", "prompt": "x"}
    assert capped("completions", body, CapRule(strip=("top_logprobs",))) == {**body, "logprobs": 0}


@pytest.mark.parametrize(
    ("reasoning", "left"),
    [
        ("hide", {"effort": "high"}),
        ("summarise", {"effort": "high", "summary": "auto", "generate_summary": "concise"}),
        ("keep", {"effort": "high", "summary": "detailed", "generate_summary": "concise"}),
    ],
)
def test_responses(reasoning: Any, left: dict[str, Any]) -> None:
    """Responses: logprobs are no more included, and a summary of the reasoning is asked for as the rule says."""
    include = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    asked = {"effort": "high", "summary": "detailed", "generate_summary": "concise"}
    body = {"model": "m", "input": "x", "top_logprobs": 4, "include": include, "reasoning": asked}
    made = capped("responses", body, CapRule(reasoning=reasoning))
    assert made == {"model": "m", "input": "x", "include": ["reasoning.encrypted_content"], "reasoning": left}
    assert asked["summary"] == "detailed"


@pytest.mark.parametrize(
    ("thinking", "left"),
    [
        ({"type": "adaptive", "display": "summarized"}, {"type": "adaptive", "display": "omitted"}),
        ({"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        ({"type": "disabled"}, {"type": "disabled"}),
        ("odd", "odd"),
    ],
)
def test_messages(thinking: Any, left: Any) -> None:
    """Messages: a display of thinking that was asked for is omitted; a server that may not know the word is not told it."""
    body = {**CHAT, "thinking": thinking}
    assert (capped("messages", body, CapRule()) or body) == {**CHAT, "thinking": left}
    assert capped("messages", body, CapRule(reasoning="summarise")) is None


@pytest.mark.parametrize("odd", [{"reasoning": [1]}, {"include": "x"}, {"logprobs": {}}, {"thinking": None}, {"n": [3]}])
def test_odd_types_do_not_fail(odd: dict[str, Any]) -> None:
    """A body is not validated yet: whatever its members are, the rest stays."""
    for route in ("chat", "responses", "messages", "completions"):
        made = capped(route, {**CHAT, **odd}, CapRule())
        assert {**CHAT, **(made or CHAT)}["messages"] == CHAT["messages"]
