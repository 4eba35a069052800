"""What one exchange adds to the counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.tally import COUNTERS, GENERATIVE, INDEX, Seen, is_generated, is_valuable, tally

MakeEvent = Callable[..., Event]


@pytest.fixture
def count(make_event: MakeEvent) -> Callable[..., dict[str, float]]:
    """count(text, seen=Seen(), **fields): counter → increment, without the zeros."""

    def counted(text: str = "a question", seen: Seen | None = None, **fields: Any) -> dict[str, float]:
        event = make_event(text, **fields)
        increments = tally(event, fingerprint(event), seen or Seen())
        assert len(increments) == len(COUNTERS)
        return {name: float(value) for name, value in zip(COUNTERS, increments, strict=True) if value}

    return counted


Count = Callable[..., dict[str, float]]


def test_every_counter_has_one_name_and_one_place() -> None:
    """The layout is the order of the names."""
    assert len(set(COUNTERS)) == len(COUNTERS)
    assert [INDEX[name] for name in COUNTERS] == list(range(len(COUNTERS)))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"status": 500}, {"requests"}),
        ({"status": 400}, {"requests"}),
        ({"status": 429}, {"requests", "limited"}),
        ({"decision": "limited"}, {"requests", "limited"}),
        ({"decision": "limited", "status": 200}, {"requests", "limited"}),
        ({"route": "models"}, {"requests", "answered"}),
        ({"route": "other"}, {"requests", "answered"}),
        ({"route": "embeddings"}, {"requests", "answered", "embeddings"}),
        ({"status": 500, "retry_count": 2}, {"requests", "retries"}),
    ],
)
def test_what_wrote_no_text_counts_as_volume_alone(count: Count, fields: dict[str, Any], wanted: set[str]) -> None:
    """Errors, refusals by a limit, and routes that write nothing touch no share."""
    assert count(**fields).keys() == wanted


@pytest.mark.parametrize("route", sorted(GENERATIVE))
def test_every_route_that_writes_text_is_generated(count: Count, route: str) -> None:
    """Of both dialects; completions are also counted for themselves."""
    counted = count(route=route)
    assert counted["generated"] == counted["answered"] == 1
    assert ("completions" in counted) == (route == "completions")


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("single_turn", {"roles": "su", "user_turns": 1}, {"roles": "uau", "user_turns": 2}),
        ("streamed", {"stream": True}, {}),
        ("tools", {"tools_digest": 5}, {}),
        ("tools", {"tool_calls": 1}, {}),
        ("short", {"output_tokens": 16}, {"output_tokens": 17}),
        ("short", {"output_tokens": 500, "reasoning_tokens": 490}, {}),
        ("long", {"output_tokens": 200}, {"output_tokens": 199}),
        ("refused", {"refusal": True}, {}),
        ("reasoning", {"reasoning_tokens": 1}, {}),
        ("logprobs", {"top_logprobs": 0}, {"top_logprobs": -1}),
        ("biased", {"logit_bias_size": 1}, {}),
        ("multi_sample", {"n": 2}, {"n": 1}),
        ("capped", {"max_tokens": 0}, {"max_tokens": None}),
        ("hugging", {"max_tokens": 100, "output_tokens": 98}, {"max_tokens": 100, "output_tokens": 97}),
        ("hugging", {"max_tokens": 100, "finish_reason": "length"}, {"finish_reason": "length"}),
        ("contracted", {"response_format": "json_object"}, {"response_format": "text"}),
        ("worded", {}, {"text": ""}),
        ("answers_seen", {"answer": "x"}, {}),
        ("answers_seen", {"answer_digest": 1}, {}),
    ],
)
def test_a_counter_counts_what_its_name_says(count: Count, name: str, yes: dict[str, Any], no: dict[str, Any]) -> None:
    """Once for an exchange that is so, not for one that is not."""
    assert count(**yes).get(name) == 1
    assert name not in count(**no)


def test_depth_is_one_more_than_the_answers_before(count: Count) -> None:
    """The number of answers that this exchange would bring the conversation to."""
    assert count(roles="u")["depth"] == 1
    assert count(roles="suauau", user_turns=3)["depth"] == 3


def test_the_memory_of_the_profile_is_counted_as_it_is_given(count: Count) -> None:
    """Gaps, near-duplicates, templates and first sights; a slot is novel only under a template."""
    counted = count(seen=Seen(gap_us=2_000_000, near_duplicate=True, templated=True, novel=True, fresh_cell=True))
    assert (counted["gap_n"], counted["gap_sum"], counted["gap_sq"]) == (1, 2, 4)
    assert counted["near_duplicate"] == counted["templated"] == counted["templated_novel"] == counted["fresh_cell"] == 1
    assert "templated_novel" not in count(seen=Seen(novel=True))
    assert "gap_n" not in count()


@pytest.mark.parametrize(
    ("fields", "valuable"),
    [
        ({"output_tokens": 200}, True),
        ({"output_tokens": 199}, False),
        ({"output_tokens": 10, "reasoning_tokens": 100}, True),
        ({"output_tokens": 10, "tool_calls": 1}, True),
        ({"output_tokens": 900, "refusal": True}, False),
        ({"output_tokens": 900, "status": 500}, False),
        ({"output_tokens": 900, "decision": "limited"}, False),
        ({"output_tokens": 900, "route": "embeddings"}, False),
    ],
)
def test_a_valuable_answer_is_long_reasoned_or_a_tool_step(
    make_event: MakeEvent, fields: dict[str, Any], valuable: bool
) -> None:
    """And no refusal, and was delivered."""
    event = make_event("q", **fields)
    assert is_valuable(event) is valuable
    assert is_generated(event) or not valuable
