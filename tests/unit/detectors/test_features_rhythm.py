"""Features of volume, rhythm and shape, each in a situation made for it."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate
from math import log

import pytest

from detectors.event import Event
from detectors.sketch.decay import DAY_US, HOUR_US

MINUTE_US = 60_000_000

Stream = Callable[..., list[Event]]
ValuesOf = Callable[..., dict[str, float | None]]
Words = Callable[..., str]


# --- volume and rhythm


def test_volume_counts_the_last_hour_and_day(stream: Stream, values_of: ValuesOf) -> None:
    """A steady six per hour for three days reads as six an hour and 144 a day, of any route and status."""
    values = values_of(
        stream(3 * 144, 10 * MINUTE_US, route=lambda n: "chat" if n % 2 else "models", status=lambda n: 200 + n % 3 * 150)
    )
    assert values["requests_1h"] == pytest.approx(6, rel=0.1)
    assert values["requests_24h"] == pytest.approx(144, rel=0.1)


def test_volume_fades_when_nothing_comes(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """A week later hardly anything is left of it."""
    values = values_of(stream(100), start_us + 8 * DAY_US)
    assert values["requests_1h"] == pytest.approx(0, abs=1e-6)
    assert values["requests_24h"] == pytest.approx(0, abs=0.1)


def test_a_key_at_full_rate_from_its_first_minute_has_no_ramp(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """The share of its peak that it reached in its first hour is near 1; one that grows over days is near 0."""
    sudden = values_of(stream(600, MINUTE_US, key_created_us=start_us - DAY_US))
    assert sudden["ramp_ratio"] == pytest.approx(1, abs=0.1)
    slow = [
        event
        for n in range(72)
        for event in stream(1 + n, 30_000_000, key_created_us=start_us, at_us=start_us + n * HOUR_US)
    ]
    assert values_of(slow)["ramp_ratio"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("created", "count"), [(None, 100), (-4 * DAY_US, 100), (0, 10)])
def test_a_ramp_is_read_of_new_keys_alone(
    stream: Stream, values_of: ValuesOf, start_us: int, created: int | None, count: int
) -> None:
    """Absent for a key of unknown age, one made long before its first use, and one with few exchanges."""
    events = stream(count, key_created_us=None if created is None else start_us + created)
    assert values_of(events)["ramp_ratio"] is None


def test_a_metronome_is_regular_and_a_poisson_stream_is_not(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """Equal gaps read 1 and 0; exponential gaps about 0.28 and 1; bursts with pauses lower and higher still."""
    even = values_of(stream(60))
    assert even["interarrival_regularity"] == pytest.approx(1)
    assert even["interarrival_cv"] == pytest.approx(0, abs=1e-3)
    dice = random.Random(5)
    times = list(accumulate(round(dice.expovariate(1) * MINUTE_US) for _ in range(800)))
    poisson = values_of(stream(800, at_us=lambda n: start_us + times[n]))
    assert poisson["interarrival_regularity"] == pytest.approx(0.28, abs=0.05)
    assert poisson["interarrival_cv"] == pytest.approx(1, abs=0.15)
    bursts = values_of(stream(200, at_us=lambda n: start_us + n // 10 * HOUR_US + n % 10 * 1_000_000))
    assert bursts["interarrival_regularity"] < poisson["interarrival_regularity"]
    assert bursts["interarrival_cv"] > poisson["interarrival_cv"]


def test_rhythm_is_absent_before_ten_gaps(stream: Stream, values_of: ValuesOf) -> None:
    """Ten exchanges have nine gaps."""
    values = values_of(stream(10))
    assert values["interarrival_cv"] is values["interarrival_regularity"] is None


def test_retries_of_the_client_library_are_no_rhythm(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """Their gap is the library's back-off: with every second exchange a retry, half the gaps remain and are even."""
    events = stream(
        60, at_us=lambda n: start_us + n // 2 * MINUTE_US + n % 2 * 700_000 * (1 + n % 5), retry_count=lambda n: n % 2
    )
    values = values_of(events)
    assert values["retry_rate"] == pytest.approx(0.5, abs=0.01)
    assert values["interarrival_regularity"] > 0.95


def test_eight_hours_of_sleep_are_seen(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """Active 8 to 24 h on each of five days: the longest idle run is eight clock hours, and the day is not flat."""
    hours = [day * 24 + hour for day in range(5) for hour in range(8, 24)]
    values = values_of(stream(len(hours), at_us=lambda n: start_us + hours[n] * HOUR_US))
    assert values["longest_idle_h"] == 8
    assert values["circadian_flatness"] == pytest.approx(log(16) / log(24), abs=1e-9)


def test_a_machine_never_sleeps(stream: Stream, values_of: ValuesOf) -> None:
    """Every hour of three days: no idle hour, a flat day."""
    values = values_of(stream(72, HOUR_US))
    assert values["longest_idle_h"] == 0
    assert values["circadian_flatness"] == pytest.approx(1)


def test_the_day_is_absent_before_24_hours(stream: Stream, values_of: ValuesOf) -> None:
    """Seen for 23 hours says nothing about sleep; a day with three active hours says nothing about flatness."""
    short = values_of(stream(23, HOUR_US))
    assert short["longest_idle_h"] is short["circadian_flatness"] is None
    rare = values_of(stream(3, 20 * HOUR_US))
    assert rare["longest_idle_h"] == 19
    assert rare["circadian_flatness"] is None


# --- shape


def test_turns_and_depth(stream: Stream, values_of: ValuesOf) -> None:
    """Single turns are depth 1; every second exchange with two earlier answers makes depth 2 and half single."""
    assert values_of(stream(20))["single_turn_ratio"] == 1
    assert values_of(stream(20))["mean_turn_depth"] == 1
    deep = values_of(stream(200, roles=lambda n: "uauau" if n % 2 else "u", user_turns=lambda n: 3 if n % 2 else 1))
    assert deep["single_turn_ratio"] == pytest.approx(0.5, abs=0.01)
    assert deep["mean_turn_depth"] == pytest.approx(2, abs=0.02)


def test_lengths_and_their_ratio(stream: Stream, values_of: ValuesOf) -> None:
    """Means of tokens and the ratio of their sums."""
    values = values_of(stream(40, input_tokens=100, output_tokens=lambda n: 200 if n % 2 else 400))
    assert values["input_tokens_mean"] == pytest.approx(100)
    assert values["output_tokens_mean"] == pytest.approx(300, rel=0.01)
    assert values["output_input_ratio"] == pytest.approx(3, rel=0.01)


def test_answers_that_fill_their_limit_hug_it(stream: Stream, values_of: ValuesOf) -> None:
    """Of the exchanges with a limit, those cut by it or within two per cent of it; absent without limits."""
    values = values_of(
        stream(80, max_tokens=lambda n: 100 if n % 2 else None, output_tokens=lambda n: 99 if n % 4 == 1 else 20)
    )
    assert values["max_tokens_hugging"] == pytest.approx(0.5, abs=0.02)
    assert values_of(stream(20, max_tokens=100, output_tokens=5, finish_reason="length"))["max_tokens_hugging"] == 1
    assert values_of(stream(20))["max_tokens_hugging"] is None


def test_sampling_settings_have_an_entropy(stream: Stream, values_of: ValuesOf) -> None:
    """One setting: 0 bits; four in turn: 2 bits; limits within an octave are one setting."""
    assert values_of(stream(40, temperature=0.7))["parameter_entropy"] == pytest.approx(0, abs=1e-9)
    four = values_of(stream(80, temperature=lambda n: n % 4 / 4))
    assert four["parameter_entropy"] == pytest.approx(2, abs=0.02)
    assert values_of(stream(40, max_tokens=lambda n: 520 + n))["parameter_entropy"] == pytest.approx(0, abs=1e-9)
