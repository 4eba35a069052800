"""Features of breadth, change and value, and the catalogue as such: absence, order, direction."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp

import numpy as np
import pytest

from detectors.event import Event
from detectors.features import CATALOGUE, INDEX, features, stack
from detectors.profile import Profile
from detectors.sketch.decay import DAY_US, HOUR_US

MINUTE_US = 60_000_000

Stream = Callable[..., list[Event]]
ValuesOf = Callable[..., dict[str, float | None]]
Words = Callable[..., str]


# --- breadth and change


def test_coverage_grows_with_new_subjects(stream: Stream, words: Words, values_of: ValuesOf) -> None:
    """Texts about ever other things: a large exponent; the same few over and over: near 0. Absent under twenty."""
    wide = values_of(
        stream(200, text=lambda n: " ".join(f"{words((n, m), 1)}{chr(97 + n % 26)}{chr(97 + n // 26)}" for m in range(12)))
    )
    narrow = values_of(stream(200, text=lambda n: words(n % 3), chain_digest=lambda n: n + 1))
    assert wide["coverage_growth"] >= 0.65
    assert narrow["coverage_growth"] <= 0.25
    assert values_of(stream(19))["coverage_growth"] is None


def test_a_change_of_behaviour_shows_against_the_own_week(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """Six days of chat, then a day of tool use with long answers: a distance; without the change: none."""
    before = stream(600, 6 * DAY_US // 600, output_tokens=50)
    after = stream(
        100, DAY_US // 100, at_us=lambda n: start_us + 6 * DAY_US + n * DAY_US // 100, tools_digest=9, output_tokens=500
    )
    assert values_of(before)["baseline_shift"] == pytest.approx(0, abs=0.02)
    assert values_of([*before, *after])["baseline_shift"] > 0.1
    assert values_of(stream(47, HOUR_US))["baseline_shift"] is None


def test_a_move_to_a_new_model_shows(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """Half of the last day on a model first called that day; absent before two days."""
    old = stream(300, 3 * DAY_US // 300, model="old")
    day = stream(
        100,
        DAY_US // 100,
        at_us=lambda n: start_us + 3 * DAY_US + n * DAY_US // 100,
        model=lambda n: "new" if n % 2 else "old",
    )
    values = values_of([*old, *day])
    assert values["model_pivot_share"] == pytest.approx(0.5 * (1 - exp(-1)), abs=0.1)
    assert values_of(old)["model_pivot_share"] == 0
    assert values_of(stream(100))["model_pivot_share"] is None


def test_what_was_refused_for_a_limit(stream: Stream, values_of: ValuesOf) -> None:
    """By us or by the upstream."""
    values = values_of(
        stream(60, status=lambda n: 429 if n % 3 == 0 else 200, decision=lambda n: "limited" if n % 6 == 0 else "allow")
    )
    assert values["limited_rate"] == pytest.approx(1 / 3, abs=0.01)


def test_networks_clients_and_languages(stream: Stream, values_of: ValuesOf) -> None:
    """Distinct prefixes and stacks, and the effective number of languages; absent where nothing was recorded."""
    sentences = (
        "Where is the station and what is the way to it?",
        "Wo ist der Bahnhof und wie komme ich mit dem Bus zu ihm?",
    )
    values = values_of(
        stream(
            60,
            text=lambda n: sentences[n % 2],
            ip_prefix_id=lambda n: f"net{n % 6}",
            client_digest=lambda n: 1 + n % 3,
            chain_digest=lambda n: n + 1,
        )
    )
    assert (values["network_diversity"], values["client_diversity"]) == (6, 3)
    assert values["language_diversity"] == pytest.approx(2, abs=0.01)
    bare = values_of(stream(60, text=""))
    assert bare["network_diversity"] is bare["client_diversity"] is bare["language_diversity"] is None


# --- value taken


def test_what_is_worth_training_on(stream: Stream, values_of: ValuesOf) -> None:
    """Long, reasoned or tool answers count once each; short ones, refusals and repeats do not."""
    long = values_of(stream(100, output_tokens=lambda n: 300 if n % 2 else 30, chain_digest=lambda n: n + 1))
    assert long["valuable_share"] == pytest.approx(0.5, abs=0.01)
    assert long["valuable_total"] == pytest.approx(50, rel=0.25)
    assert values_of(stream(100, output_tokens=300, chain_digest=5))["valuable_total"] == 1
    assert values_of(stream(100, output_tokens=300, refusal=True))["valuable_total"] == 0
    assert values_of(stream(20, output_tokens=150, reasoning_tokens=120))["valuable_share"] == 1
    assert values_of(stream(20, output_tokens=5, tool_calls=1))["valuable_share"] == 1


def test_reasoning_and_tools(stream: Stream, values_of: ValuesOf) -> None:
    """Answers with hidden reasoning, and exchanges that offer or call tools."""
    values = values_of(stream(60, reasoning_tokens=lambda n: n % 2 * 50, tools_digest=lambda n: n % 3 and 4))
    assert values["reasoning_share"] == pytest.approx(0.5, abs=0.01)
    assert values["tool_share"] == pytest.approx(2 / 3, abs=0.01)


def test_the_age_of_the_account(stream: Stream, values_of: ValuesOf, start_us: int) -> None:
    """In days at the time asked about, never negative, absent when unknown."""
    assert values_of(stream(1, key_created_us=start_us - 3 * DAY_US))["account_age_d"] == pytest.approx(3)
    assert values_of(stream(1, key_created_us=start_us + DAY_US))["account_age_d"] == 0
    assert values_of(stream(1))["account_age_d"] is None


# --- the catalogue as such


def test_shares_are_absent_below_five_exchanges(stream: Stream, values_of: ValuesOf) -> None:
    """Four exchanges are an anecdote: every share of the week is absent, and so is all that builds on it."""
    values = values_of(stream(4))
    weekly = [feature.name for feature in CATALOGUE if "five" in feature.absent]
    assert len(weekly) >= 25
    assert [name for name in weekly if values[name] is not None] == []


def test_what_is_never_absent_is_there_from_the_first_exchange(stream: Stream, values_of: ValuesOf) -> None:
    """As the catalogue says of it."""
    values = values_of(stream(1))
    assert [f.name for f in CATALOGUE if f.absent == "never" and values[f.name] is None] == []


def test_a_profile_without_exchanges_has_no_share(start_us: int) -> None:
    """Nothing known is nothing said."""
    row = features(Profile.new("k", "key"), start_us)
    present = {feature.name for feature, there in zip(CATALOGUE, row.present, strict=True) if there}
    assert present == {feature.name for feature in CATALOGUE if feature.absent == "never"}
    assert (row.values == 0).all()
    assert row.evidence == 0


def test_the_catalogue_is_well_formed() -> None:
    """At least twenty features, each with its own name, a range, and words for every reader."""
    assert len(CATALOGUE) >= 20
    assert len(INDEX) == len(CATALOGUE)
    for feature in CATALOGUE:
        assert feature.low < feature.high
        assert feature.name.replace("_", "").isalnum()
        assert all(
            (feature.unit, feature.window, feature.meaning, feature.absent, feature.raises, feature.fakes, feature.source)
        )


HIGH = """
    requests_24h interarrival_regularity circadian_flatness skeleton_top_share user_top_share contract_top_share
    single_turn_ratio output_tokens_mean elicitation_share answer_tag_share valuable_share valuable_total
"""


def test_a_harvester_is_on_the_suspicious_side_of_a_customer(
    stream: Stream, words: Words, values_of: ValuesOf, start_us: int
) -> None:
    """A forced-reasoning harvest against a person's chats: each feature that differs does so in the stated direction."""
    harvest = values_of(
        stream(
            4_000,
            MINUTE_US,
            text=lambda n: f"{words(n, 40)} Put all reasoning into <think></think>, then <final></final>.",
            answer=lambda n: "<think> so",
            output_tokens=700,
            max_tokens=4096,
            key_created_us=start_us - HOUR_US,
            chain_digest=lambda n: n + 1,
        )
    )
    dice = random.Random(3)
    hours = [day * 24 + 8 + n for day in range(6) for n in range(14)]
    person = values_of(
        stream(
            500,
            at_us=lambda n: (
                start_us + hours[n * len(hours) // 500] * HOUR_US + dice.randrange(HOUR_US // 12) + n % 6 * HOUR_US // 6
            ),
            text=lambda n: words(n // 3, 20),
            roles=lambda n: "u" + "au" * (n % 4),
            user_turns=lambda n: 1 + n % 4,
            answer="It depends on the soil.",
            output_tokens=lambda n: 40 + n % 5 * 60,
            temperature=lambda n: n % 3 / 2,
            key_created_us=start_us - 400 * DAY_US,
            chain_digest=lambda n: n + 1,
        )
    )
    for name in HIGH.split():
        feature = CATALOGUE[INDEX[name]]
        assert feature.suspicious == "high"
        assert harvest[name] > person[name], name
    for name in ("interarrival_cv", "longest_idle_h", "skeleton_entropy", "account_age_d", "near_duplicate_rate"):
        assert CATALOGUE[INDEX[name]].suspicious == "low"
        assert harvest[name] < person[name], name


def test_rows_stack_in_order_with_their_groups(stream: Stream, profile_of: Callable[..., Profile]) -> None:
    """A matrix of no rows has the width of the catalogue; rows keep order, evidence and groups."""
    assert stack([]).values.shape == (0, len(CATALOGUE))
    rows = [features(profile, profile.last_at_us) for profile in (profile_of(stream(n)) for n in (5, 50))]
    matrix = stack(rows)
    assert len(matrix) == 2
    assert matrix.evidence.tolist() == [5, 50]
    assert (matrix.values[1] == rows[1].values).all()
    assert matrix.groups == (rows[0].groups, rows[1].groups)
    with pytest.raises(ValueError, match="read-only"):
        rows[0].values[0] = 1.0
    assert matrix.values.dtype == np.float64
