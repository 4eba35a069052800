"""The one reason that a report shows of a verdict stands out on its suspicious side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.admin.telling import ACCOUNT, telling
from detectors.catalogue import CATALOGUE
from detectors.contract import Level, Reason, Status, Verdict


def _reason(feature: str, percentile: float | None, direction: str = "high") -> Reason:
    return Reason(feature, 1.0, percentile, direction, 0.2, feature)


AGE = _reason("account_age_d", 2.0, "low")
NORMAL = _reason("retry_share", 46.9, "low")
RARE = _reason("skeleton_top_share", 97.0)
RARE_LOW = _reason("tool_share", 3.0, "low")
NO_PEERS = _reason("prompt_novelty", None)
VERDICT = Verdict(
    "k", "key", Status.JUDGED, 0.9, Level.SUSPECT, 1, 1, 1, (), (), leaked=0, evidence=9, authorised=False, model_id="m"
)


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ((), None),
        ((NORMAL,), NORMAL),
        ((AGE, NORMAL, RARE), RARE),
        ((NORMAL, RARE_LOW, RARE), RARE_LOW),
        ((NORMAL, NO_PEERS), NO_PEERS),
        ((AGE, NORMAL), AGE),
        ((NO_PEERS, RARE), RARE),
    ],
)
def test_what_stands_out_is_told_first(reasons: tuple[Reason, ...], told: Reason | None) -> None:
    """What the key does and few others do; then what has no peers; the age of the account and the usual come last."""
    assert telling(replace(VERDICT, reasons=reasons)) == told


def test_the_features_of_the_account_are_in_the_catalogue() -> None:
    """A feature that was renamed would silently be told first again."""
    assert {feature.name for feature in CATALOGUE} >= ACCOUNT
