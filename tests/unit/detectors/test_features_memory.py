"""Features of what an entity is remembered by: sure shares, repeats, overlap, open conversations, echoes, own settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detectors.event import Event
from detectors.features.parts import floor
from detectors.sketch.decay import DAY_US, HOUR_US

Stream = Callable[..., list[Event]]
ValuesOf = Callable[..., dict[str, float | None]]
Words = Callable[..., str]

SECOND_US = 1_000_000
MINUTE_US = 60_000_000


def test_a_sure_share_grows_with_its_evidence() -> None:
    """Five of five are less sure than fifty of fifty, none of many is 0, and under five nothing is said."""
    few, many = floor(5, 5), floor(50, 50)
    assert few is not None
    assert many is not None
    assert 0.6 < few < 0.7 < 0.94 < many < 1.0
    assert floor(0, 1000) == pytest.approx(0.0, abs=1e-12)
    assert floor(4, 4) is None


def test_requests_asked_exactly_four_times_are_told_from_ones_asked_again_by_chance(
    stream: Stream, values_of: ValuesOf, words: Words
) -> None:
    """All repeats at one count: exactness 1; two, three and four times: less. Either way the number of items is told."""
    exact = values_of(stream(160, text=lambda n: words(n // 4), chain_digest=lambda n: n // 4 + 1))
    mixed = [n for n in range(60) for _ in range(2 + n % 3)]
    loose = values_of(stream(180, text=lambda n: words(mixed[n]), chain_digest=lambda n: mixed[n] + 1))
    assert exact["repeat_exactness"] == 1.0
    assert exact["items_repeated"] == pytest.approx(40, abs=2)
    assert loose["repeat_exactness"] is not None
    assert loose["repeat_exactness"] < 0.6
    assert values_of(stream(60, chain_digest=lambda n: n + 1))["repeat_exactness"] is None


def test_a_fixed_pool_of_workers_has_a_steady_overlap(stream: Stream, values_of: ValuesOf) -> None:
    """Four workers, each beginning when it has ended: three others are always under way. One at a time: none."""
    pool = values_of(stream(100, 5 * SECOND_US, latency_us=20 * SECOND_US - 1000))
    alone = values_of(stream(100, 30 * SECOND_US, latency_us=20 * SECOND_US))
    assert pool["in_flight_mean"] == pytest.approx(3.0, abs=0.1)
    assert pool["in_flight_steadiness"] is not None
    assert pool["in_flight_steadiness"] > 0.9
    assert (alone["in_flight_mean"], alone["in_flight_steadiness"]) == (0.0, None)
    assert values_of(stream(100))["in_flight_mean"] is None


def test_even_traffic_has_a_small_fano_factor_and_bursts_a_large_one(stream: Stream, values_of: ValuesOf) -> None:
    """One a minute for five hours, against sixty at once every hour; fifteen exchanges say nothing."""
    even = values_of(stream(300, MINUTE_US))
    bursts = values_of(stream(300, at_us=lambda n: even_start(n)))
    assert even["fano_factor"] == pytest.approx(0.0, abs=0.1)
    assert bursts["fano_factor"] is not None
    assert bursts["fano_factor"] > 20
    assert values_of(stream(15, 20 * MINUTE_US))["fano_factor"] is None


def even_start(n: int) -> int:
    """Exchange n of bursts of sixty, an hour apart."""
    return 1_790_000_000_000_000 + n // 60 * HOUR_US + n % 60 * SECOND_US


def test_the_wait_after_a_refusal_is_told(stream: Stream, values_of: ValuesOf) -> None:
    """Every other exchange is refused, and the next comes eight seconds later."""
    values = values_of(
        stream(40, at_us=lambda n: 1_790_000_000_000_000 + n // 2 * MINUTE_US + n % 2 * 8 * SECOND_US,
               status=lambda n: 200 if n % 2 else 429)
    )  # fmt: skip
    assert values["backoff_s"] == pytest.approx(8.0, rel=1e-6)
    assert values_of(stream(40))["backoff_s"] is None


def test_conversations_side_by_side_are_counted(stream: Stream, values_of: ValuesOf) -> None:
    """Ten conversations in turns, a minute each: ten are open; one conversation: one; single questions: none."""

    def talk(people: int) -> dict[str, float | None]:
        digest: Callable[[int], int] = lambda n: 1000 * (n % people + 1) + n // people  # noqa: E731
        return values_of(
            stream(200, MINUTE_US // 2, chain_digest=digest, roles=lambda n: "uau" if n >= people else "u",
                   prefix_digest=lambda n: digest(n - people) if n >= people else 0)
        )  # fmt: skip

    assert talk(1)["open_chains"] == pytest.approx(1.0, abs=0.05)
    assert talk(10)["open_chains"] == pytest.approx(10.0, abs=0.8)
    assert talk(10)["chain_continuation"] == pytest.approx(0.95, abs=0.02)
    assert values_of(stream(50, chain_digest=lambda n: n + 1))["open_chains"] == 0.0


def test_an_answer_that_is_the_next_request_is_an_echo(stream: Stream, values_of: ValuesOf, words: Words) -> None:
    """Rewriting its own outputs shows; new texts, and the same inside the conversation it was said in, do not."""
    said: Callable[[int], str] = lambda n: words(("said", n), 60)  # noqa: E731
    fields: dict[str, Any] = {"answer": said, "chain_digest": lambda n: n + 1}
    evolved = values_of(stream(60, text=lambda n: f"Make this harder: {said(n - 1)} and do not explain.", **fields))
    fresh = values_of(stream(60, text=lambda n: f"Make this harder: {words(n, 60)} and do not explain.", **fields))
    quoted = values_of(stream(60, text=lambda n: f"Shorter please: {said(n - 1)}", roles="uau", **fields))
    assert evolved["output_echo_share"] is not None
    assert evolved["output_echo_share"] > 0.9
    assert evolved["output_echoes"] == pytest.approx(59, abs=3)
    assert (fresh["output_echo_share"], quoted["output_echo_share"]) == (0.0, 0.0)


def test_a_phrase_that_requests_and_answers_share_is_no_echo(stream: Stream, values_of: ValuesOf, words: Words) -> None:
    """A long opening of every answer that the template of every request quotes as an example tells nothing."""
    opening = words("opening", 40)
    values = values_of(
        stream(80, text=lambda n: f"Begin like this: {opening}. Then: {words(n, 40)}", answer=f"{opening} and so on",
               chain_digest=lambda n: n + 1)
    )  # fmt: skip
    assert values["output_echo_share"] == 0.0


def test_settings_that_change_are_new_and_constant_ones_are_not(stream: Stream, values_of: ValuesOf) -> None:
    """A playground's temperatures against a program's."""
    assert values_of(stream(50, temperature=lambda n: n / 50))["parameter_novelty"] == pytest.approx(0.98, abs=0.005)
    assert values_of(stream(50, temperature=0.7))["parameter_novelty"] == 0.0


def test_a_thinking_budget_that_is_filled_shows(stream: Stream, values_of: ValuesOf) -> None:
    """Reasoning of at least nine tenths of the budget; absent where no budget was named."""
    filled = values_of(stream(20, thinking_budget=1000, reasoning_tokens=lambda n: 990 if n % 2 else 300))
    assert filled["thinking_hugging"] == pytest.approx(0.5, abs=0.02)
    assert values_of(stream(20, reasoning_tokens=990))["thinking_hugging"] is None


def test_end_users_and_odd_clients_are_counted(stream: Stream, values_of: ValuesOf) -> None:
    """Seven end users in half of the exchanges; a library's name without its headers is odd, with them it is not."""
    values = values_of(stream(42, end_user_digest=lambda n: n % 7 + 1 if n % 2 else 0, agent_class="openai"))
    assert values["end_user_share"] == pytest.approx(0.5, abs=0.02)
    assert values["end_user_diversity"] == 7
    assert values["client_mismatch_share"] == 1.0
    assert values_of(stream(9, agent_class="openai", sdk="openai-python"))["client_mismatch_share"] == 0.0
    assert values_of(stream(9))["client_mismatch_share"] is None
    assert values_of(stream(9))["end_user_diversity"] is None


def test_spending_is_told_by_the_age_of_the_account(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """A day's tokens of an account of ten days are a tenth of those of one of a day; unknown age: absent."""
    young = values_of(stream(20, key_created_us=start_us, input_tokens=100, output_tokens=100))
    older = values_of(stream(20, key_created_us=start_us - 10 * DAY_US, input_tokens=100, output_tokens=100))
    assert young["spend_velocity"] == pytest.approx(4000, rel=0.03)
    assert older["spend_velocity"] == pytest.approx(400, rel=0.03)
    assert values_of(stream(20))["spend_velocity"] is None


def test_a_change_of_subject_moves_the_recent_topics_away(stream: Stream, values_of: ValuesOf) -> None:
    """Four hundred exchanges about one thing and eighty about another; more of the same: nothing but chance."""
    one = [f"please translate the invoice number {n} of the harbour office into plain words" for n in range(480)]
    two = [f"write a function that sorts list {n} and returns the median of a matrix" for n in range(80)]
    same = values_of(stream(480, text=lambda n: one[n]))
    moved = values_of(stream(480, text=lambda n: one[n] if n < 400 else two[n - 400]))
    assert same["topic_shift"] == pytest.approx(0.0, abs=0.02)
    assert moved["topic_shift"] is not None
    assert moved["topic_shift"] > 0.1
    assert (moved["topic_evenness"] or 0.0) > (same["topic_evenness"] or 0.0)
    assert (moved["topic_top_share"] or 0.0) < (same["topic_top_share"] or 0.0)
    assert values_of(stream(100))["topic_shift"] is None
