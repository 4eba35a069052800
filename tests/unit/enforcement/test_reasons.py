"""Statements of reasons: complete, stable, and in two views of which the customer's teaches nobody to hide."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from app.enforcement import reasons
from app.enforcement.reasons import Redress
from app.state.flags import FlagMeasure, FlagReason, FlagRecord, FlagScore
from app.state.orders import Order
from detectors.catalogue import CATALOGUE
from detectors.scorers.registry import RULES

AT_US = 1_790_000_000_000_000
REDRESS = Redress(72.0, "section 4 of the terms", "https://provider.example/appeal")


def _record(**changes: Any) -> FlagRecord:
    fields: dict[str, Any] = {
        "ref": "sw-b3x7qk2m5aduc",
        "key_id": "0123456789abcdef" * 2,
        "at_us": AT_US,
        "since_us": AT_US,
        "was": "watch",
        "level": "suspect",
        "score": 0.98765,
        "evidence": 1234,
        "leaked": 77,
        "authorised": False,
        "measure": FlagMeasure("throttle", 0.25, 20.0, 3600, "enforce", "feedbeef", "clause 7 of the contract", ""),
        "scores": (FlagScore("logit_sweep", "1", "scored", 0.91, {"suspect": 0.5}), FlagScore("tails", "1", "warming_up")),
        "reasons": (
            FlagReason("logprobs_share", 0.97, 99.5, "high", 0.6, "97 % of exchanges ask for log-probabilities | <b>"),
            FlagReason("skeleton_top_share", 0.9, None, "high", 0.2, "Nine in ten share one skeleton."),
        ),
        "features": {"logprobs_share": 0.97},
        "groups": ("payg/new/batch", "all"),
        "peer_group": "all",
        "model_id": "00112233445566aa",
        "catalogue": "1",
    }
    return FlagRecord(**{**fields, **changes})


def _order(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "since_us": AT_US,
        "until_us": AT_US + 86_400_000_000,
        "ref": "sw-ordered-by-hand",
        "action": "suspend",
        "level": "confirmed",
        "reason_code": "extraction",
        "reason": "seen by Ann in case 12",
        "by": "Ann Analyst",
    }
    return Order(**{**fields, **changes})


def _text(statement: reasons.Statement) -> str:
    return reasons.markdown(statement) + msgspec.json.encode(statement).decode()


def test_an_automatic_action_says_all_that_the_article_asks_for() -> None:
    """Measure, facts, scope, duration, ground, automated means, redress; and that a machine found and decided."""
    found = reasons.of_flag(_record(), "customer", REDRESS)
    assert found.measure.startswith("The limits of this key are reduced to 25% of its plan's, and to 20 requests")
    assert "1,234 answered requests" in found.facts[0]
    assert (
        found.facts[1]
        == "What stood out: the kind of answers that are asked for; how much its requests resemble one another."
    )
    assert found.ground == "This rests on clause 7 of the contract."
    assert found.period.startswith("Since 2026-09-21 14:13 UTC. It ends 1 hour after the last use")
    assert "2026-09-21 15:13 UTC" in found.period
    assert (found.automated_detection, found.automated_decision) == (True, True)
    assert "https://provider.example/appeal" in found.redress[0]
    assert found.ref in found.redress[0]
    assert "72 hours" in found.redress[1]
    page = reasons.markdown(found)
    for head in (
        "What is done",
        "Facts and circumstances",
        "Scope and duration",
        "Ground",
        "Automated means",
        "How to object",
    ):
        assert f"## {head}" in page
    assert "Internal" not in page


@pytest.mark.parametrize("order", [None, _order()])
def test_the_customers_view_teaches_nobody_to_hide(order: Order | None) -> None:
    """No feature, scorer, score, threshold, percentile, model, policy digest or peer group; no name or note of a person."""
    record = _record()
    view = (
        reasons.of_flag(record, "customer", REDRESS)
        if order is None
        else reasons.of_order(order, record, "customer", REDRESS)
    )
    told = _text(view)
    secret = [entry.name for entry in CATALOGUE] + list(RULES) + ["tails", "isolation", "log-prob", "skeleton", "threshold"]
    secret += [
        "0.98",
        "0.91",
        "99.5",
        "0.97",
        "0.6",
        record.model_id,
        "feedbeef",
        "payg",
        "leaked",
        "Ann",
        "case 12",
        "shadow",
    ]
    assert [word for word in secret if word in told] == []
    assert record.key_id not in told


def test_the_internal_view_has_all_of_it() -> None:
    """Scores with thresholds, sentences with weights, digests, and for an order who placed it and why."""
    told = _text(reasons.of_flag(_record(), "internal", REDRESS))
    for word in (
        "0.9877",
        "suspect from 0.5",
        "00112233445566aa",
        "feedbeef",
        "logprobs\\_share",
        "weight 0.60",
        "77 valuable",
    ):
        assert word in told
    assert "tails" not in told  # it did not score
    page = reasons.markdown(reasons.of_order(_order(), _record(), "internal", REDRESS))
    assert "| ordered by | Ann Analyst |" in page
    assert "extraction: seen by Ann in case 12" in page
    assert "\\| \\<b\\>" in page  # nothing in a sentence breaks the table


def test_an_order_says_that_a_person_decided() -> None:
    """Automated finding or not depends on what it rests on; the note becomes the sentence of its code."""
    found = reasons.of_order(_order(), _record(), "customer", REDRESS)
    assert (found.automated_detection, found.automated_decision) == (True, False)
    assert found.measure == "Requests with this key are refused."
    assert "train another model" in found.facts[0]
    assert found.period == "From 2026-09-21 14:13 UTC until 2026-09-22 14:13 UTC, unless it is ended or replaced before."
    assert found.ground == "This rests on section 4 of the terms."
    alone = reasons.of_order(_order(reason_code="leaked_key"), _record(), "customer", REDRESS)
    assert not alone.automated_detection
    assert len(alone.facts) == 1
    assert "a person decided" in found.automation
    assert (
        reasons.of_order(_order(reason_code="never heard of"), None, "customer", REDRESS)
        .facts[0]
        .startswith("The provider")
    )


def test_the_text_of_a_reference_is_stable() -> None:
    """The same record gives the same words, however it went through storage."""
    again = msgspec.json.decode(msgspec.json.encode(_record()), type=FlagRecord)
    for audience in ("customer", "internal"):
        assert _text(reasons.of_flag(again, audience, REDRESS)) == _text(reasons.of_flag(_record(), audience, REDRESS))


def test_every_feature_has_words_for_a_customer() -> None:
    """One family each, so that no reason is left out of what a customer is told."""
    assert set(reasons.FAMILY) == {entry.name for entry in CATALOGUE}


@pytest.mark.parametrize(
    ("action", "words"),
    [("observe", "Nothing is restricted"), ("throttle", "reduced"), ("cap", "optional features"), ("step_up", "verified")],
)
def test_every_action_is_said_in_plain_words(action: str, words: str) -> None:
    """What the customer will notice."""
    measure = FlagMeasure(action, 0.1, None, 90, "enforce", "p")
    found = reasons.of_flag(_record(measure=measure), "customer", Redress(24, "", ""))
    assert words in found.measure
    assert "90 seconds after" in found.period
    assert found.ground == "This rests on the terms of use."
    assert "with the provider's support" in found.redress[0]
    assert not re.search(r"\bNone\b", _text(found))


@pytest.mark.parametrize("by", ["linker", "sharing"])
def test_order_of_policy_was_automatic(by: str) -> None:
    """An order that policy gave by itself says so, and says nothing of other providers to the customer."""
    found = reasons.of_order(
        _order(by=by, reason="fits an operation that other providers have shared"), None, "customer", REDRESS
    )
    assert (found.automated_detection, found.automated_decision) == (True, True)
    assert "no person took part" in found.automation
    assert "other providers" not in reasons.markdown(found)
