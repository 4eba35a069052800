"""One item of a key's timeline: what changed, who changed it, and what the verdict said then.

The worker writes one when the level changes, or what the key's contract covers; the admin API when a person orders
something about the key, lifts an action, or takes either back. Stored as JSON, newest first; a field may be added.
"""

from __future__ import annotations

from typing import Any

from detectors.contract import Level, Verdict

MAX_REASONS = 5
"""Reasons kept with one item; the state holds all of them."""


def item(
    verdict: Verdict | None,
    *,
    what: str,
    action: str,
    at_us: int,
    was: Level | None = None,
    who: str = "worker",
    note: str = "",
    until_us: int | None = None,
) -> dict[str, Any]:
    """The facts, ready to be encoded. Reasons are sentences about numbers; no client text is in them.

    Args:
        verdict: the newest; None for a key that was never judged.
        what: level, authorised (the contract covers it now, or no more), lifted, lift_ended, order, or order_ended.
        action: what the policy asks for from now on; "" for nothing because the key is clear.
        at_us: when, unix µs; event time for the worker, wall clock for a person.
        was: the level before; None where it did not change.
        who: worker or admin.
        note: the person's reason.
        until_us: end of a lift or an order.
    """
    level = Level.CLEAR if verdict is None else verdict.level
    reasons = () if verdict is None or who != "worker" else verdict.reasons
    return {
        "at_us": int(at_us),
        "who": who,
        "what": what,
        "note": note,
        "until_us": until_us,
        "was": (level if was is None else was).name.lower(),
        "level": level.name.lower(),
        "score": 0.0 if verdict is None else float(verdict.score),
        "leaked": 0 if verdict is None else int(verdict.leaked),
        "evidence": 0 if verdict is None else int(verdict.evidence),
        "authorised": verdict is not None and bool(verdict.authorised),
        "action": action,
        "reasons": [
            {
                "feature": reason.feature,
                "value": float(reason.value),
                "percentile": None if reason.percentile is None else float(reason.percentile),
                "direction": reason.direction,
                "text": reason.text,
            }
            for reason in reasons[:MAX_REASONS]
        ],
        "model_id": "" if verdict is None else verdict.model_id,
    }
