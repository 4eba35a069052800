"""Rate headers in the words of each provider and of the IETF draft."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest

from app.limits.headers import go_duration, rate_headers
from app.limits.limiter import Budget, Decision

BUDGETS = (
    Budget("requests", "key", 60.0, 59.0, 1_000, 60),
    Budget("requests", "organization", 600.0, 5.9, 360_000, 60),
    Budget("input_tokens", "key", 10_000.0, 900.4, 8_640, 60),
    Budget("output_tokens", "key", 4_000.0, 3_999.0, 12, 60),
    Budget("tokens_day", "key", 1_000_000.0, 12_345.0, 80_000_000, 86_400),
    Budget("concurrent", "key", 5, 4, 0, 0),
)


def headers(decision: Decision, dialect: str) -> dict[bytes, bytes]:
    """As a dictionary; no name may come twice."""
    found = rate_headers(decision, dialect)
    assert len({name for name, _ in found}) == len(found)
    assert all(name == name.lower() for name, _ in found)
    return dict(found)


def test_openai_gets_the_tightest_budget_of_each_name() -> None:
    """Requests show the organisation, which has less left than the key; tokens show the least of all token budgets."""
    found = headers(Decision(True, budgets=BUDGETS), "openai")
    assert found[b"x-ratelimit-limit-requests"] == b"600"
    assert found[b"x-ratelimit-remaining-requests"] == b"5"
    assert found[b"x-ratelimit-reset-requests"] == b"6m0s"
    assert found[b"x-ratelimit-limit-tokens"] == b"10000"
    assert found[b"x-ratelimit-remaining-tokens"] == b"900"
    assert found[b"x-ratelimit-reset-tokens"] == b"8.64s"
    assert not any(name.startswith(b"anthropic") for name in found)


def test_anthropic_gets_four_families_with_times_that_are_not_too_early() -> None:
    """Each family has limit, remaining and an RFC 3339 reset at or after the moment the budget is full."""
    before = time.time()
    found = headers(Decision(True, budgets=BUDGETS), "anthropic")
    for name, reset_sec in ((b"requests", 360.0), (b"input-tokens", 8.64), (b"output-tokens", 0.012), (b"tokens", 8.64)):
        assert found[b"anthropic-ratelimit-%b-limit" % name].isdigit()
        assert found[b"anthropic-ratelimit-%b-remaining" % name].isdigit()
        reset = datetime.fromisoformat(found[b"anthropic-ratelimit-%b-reset" % name].decode()).timestamp()
        assert before + reset_sec <= reset <= time.time() + reset_sec + 1.0
    assert not any(name.startswith(b"x-ratelimit") for name in found)


def test_ietf_fields_name_every_policy_and_its_state() -> None:
    """Both fields are lists of quoted names with parameters, in one order; only requests use the draft's default unit."""
    found = headers(Decision(True, budgets=BUDGETS), "other")
    policies = found[b"ratelimit-policy"].decode().split(", ")
    states = found[b"ratelimit"].decode().split(", ")
    assert policies[0] == '"requests";q=600;w=60'
    assert policies[1] == '"input_tokens";q=10000;w=60;sw-unit=tokens'
    assert policies[-1] == '"concurrent";q=5;qu="concurrent-requests"'
    assert states[0] == '"requests";r=5;t=360'
    assert states[1] == '"input_tokens";r=900;t=9'
    assert states[-1] == '"concurrent";r=4'
    assert [part.split(";")[0] for part in policies] == [part.split(";")[0] for part in states]


@pytest.mark.parametrize(
    ("wait_ms", "seconds", "ms"), [(0, b"1", b"1"), (1, b"1", b"1"), (1001, b"2", b"1001"), (999_999, b"60", b"60000")]
)
def test_a_refusal_says_when_to_come_back_and_never_more_than_a_minute(wait_ms: int, seconds: bytes, ms: bytes) -> None:
    """Whole seconds are rounded up, milliseconds are exact, both are capped at 60 s."""
    found = headers(Decision(False, "requests", "key", wait_ms, budgets=BUDGETS), "openai")
    assert found[b"retry-after"] == seconds
    assert found[b"retry-after-ms"] == ms


def test_a_request_that_never_fits_is_not_to_be_retried() -> None:
    """An oversized request gets no time to wait for; the SDKs are told to give up."""
    found = headers(Decision(False, "input_tokens", "key", oversized=True, budgets=BUDGETS), "openai")
    assert found[b"x-should-retry"] == b"false"
    assert b"retry-after" not in found
    whole_day = rate_headers(Decision(False, "tokens_day", "key", oversized=True), "openai")
    assert whole_day == []  # the refusal itself says it, and twice would be read as neither


def test_without_budgets_nothing_is_claimed() -> None:
    """A plan without limits, or a gateway without state, sends no rate header at all."""
    assert rate_headers(Decision(True), "openai") == []


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, b"0s"),
        (12, b"12ms"),
        (1_000, b"1s"),
        (8_640, b"8.64s"),
        (60_000, b"1m0s"),
        (86_400, b"1m26.4s"),
        (360_000, b"6m0s"),
        (3_601_500, b"1h0m1.5s"),
    ],
)
def test_a_duration_reads_as_go_prints_it(ms: int, text: bytes) -> None:
    """Durations look like those of the provider."""
    assert go_duration(ms) == text
    assert re.fullmatch(rb"(\d+h)?(\d+m)?(\d+(\.\d+)?s)|\d+ms", text)
