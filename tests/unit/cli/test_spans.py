"""Spans of time as people type them: refused where they are typed, in the words of the admin API."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.admin.fault_words import rule_of
from app.admin.models_control import MAX_ALLOW_DAYS
from app.admin.models_orders import MAX_TTL_SEC, MIN_TTL_SEC, OrderIn
from app.cli import main
from app.cli.acting import ALLOWED, ORDERS
from app.cli.places import told

WHY = ("--reason", "one operation of November")
GIVE = ("orders", "give", "throttle", "-k", "0" * 32, "--code", "other", *WHY)
ACT = ("campaigns", "act", "c-0123456789ab", "--action", "throttle", *WHY)
ALLOW = ("allow", "add", "org:acme", "--owner", "ann", *WHY)


@pytest.mark.parametrize("command", [GIVE, ACT, (*ACT, "--dry-run"), ALLOW])
@pytest.mark.parametrize(
    ("span", "rule"),
    [
        ("-1h", "must be at least 1 minute"),
        ("0d", "must be at least 1 minute"),
        ("9999999d", "must be at most 30 days"),
        ("soon", ""),
        ("1.5h", ""),
    ],
)
def test_a_span_that_cannot_be_is_refused_before_anything_is_asked(
    command: tuple[str, ...], span: str, rule: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No API is there, and none is missed; what is said is one sentence with the option's name."""
    monkeypatch.setenv("STILLWATCH_ADMIN_TOKEN", "t" * 30)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", "http://127.0.0.1:1")
    assert main([*command, "--for", span]) == 2
    said = capfd.readouterr()
    wanted = "must be in the future, and at most 400 days from now" if rule and command is ALLOW else rule
    sentence = f"--for: {wanted}" if wanted else "Invalid value for --for: must be a span of time such as 30m, 24h or 7d"
    assert (said.out, said.err) == ("", f"stillwatch: {sentence}\n")


@pytest.mark.parametrize("seconds", [-3600, 0, MIN_TTL_SEC - 1, MAX_TTL_SEC + 1])
def test_bounds_and_words_are_those_of_the_admin_api(seconds: int) -> None:
    """What the API says of a span out of bounds is what the command says of it."""
    body: dict[str, Any] = {
        "subjects": {"keys": ["0" * 32]}, "action": "throttle", "ttl_sec": seconds, "reason_code": "other",
        "reason": "one operation of November",
    }  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(OrderIn).validate_python(body)
    (fault,) = caught.value.errors()
    said = ORDERS.short if seconds < ORDERS.least_sec else ORDERS.long
    assert told("/v1/orders", "body.ttl_sec", rule_of(fault)) == f"--for: {said}"
    assert (ORDERS.least_sec, ORDERS.most_sec) == (MIN_TTL_SEC, MAX_TTL_SEC)
    assert ALLOWED.most_sec == MAX_ALLOW_DAYS * 86_400
    assert f"at most {MAX_ALLOW_DAYS} days" in ALLOWED.long
