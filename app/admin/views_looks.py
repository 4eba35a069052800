"""Looks at the whole fleet, as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence

from app.admin.models import LookOut
from app.admin.models_looks import CalledKey, LookReport
from app.admin.views import moment
from detectors.looks import Looks

MAX_KEYS = 1000


def look(looks: Looks) -> LookOut | None:
    """The newest look; None before the first."""
    newest = looks.newest
    if newest is None:
        return None
    return LookOut(
        until=moment(looks.end_us(newest.number)),
        counts_from=moment(newest.from_us),
        frozen=list(newest.frozen),
        reference_old=newest.too_many,
        organisations=newest.voters,
        judged=newest.judged,
        called=newest.called,
    )


def report(looks: Looks, called: Sequence[tuple[str, float]]) -> LookReport:
    """The newest look with the keys that it calls, the smallest p-values first."""
    return LookReport(
        look=look(looks),
        honest_share=looks.q,
        keys=[CalledKey(key_id=key_id, p_value=p_value) for key_id, p_value in called[:MAX_KEYS]],
    )
