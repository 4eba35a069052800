"""One item of a key's timeline: what changed, who changed it, and what the verdict said then.

The worker writes one when the level changes, what the key's contract covers, or the leak accountant's alarm; the admin API
when a person orders something about the key, lifts an action, or takes either back. Stored as JSON, newest first; a field
may be added.
"""

from __future__ import annotations

from typing import Any

from detectors.contract import Level, Verdict

LEVEL = "level"
AUTHORISED = "authorised"
LEAK = "leak"
LIFTED = "lifted"
LIFT_ENDED = "lift_ended"
ORDERED = "order"
ORDER_ENDED = "order_ended"
"""What changed: the level; what the contract covers; whether the leak accountant's alarm stands; a person lifted what is
done about the key, or took that back; a person ordered something, or ended an order before its time. Whoever writes or
reads an item takes the word from here."""

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
    by: str = "",
    note: str = "",
    ref: str = "",
    until_us: int | None = None,
) -> dict[str, Any]:
    """The facts, ready to be encoded. Reasons are sentences about numbers; no client text is in them.

    Args:
        verdict: the newest; None for a key that was never judged.
        what: one of the words above.
        action: what is asked for from now on; "" for nothing because the key is clear.
        at_us: when, unix µs; event time for the worker, wall clock for a person.
        was: the level before; None where it did not change.
        who: worker or admin.
        by: name of the person; "" for the worker.
        note: the person's reason.
        ref: reference of the order that was given or has ended.
        until_us: end of a lift or an order.
    """
    level = Level.CLEAR if verdict is None else verdict.level
    reasons = () if verdict is None or who != "worker" else verdict.reasons
    return {
        "at_us": int(at_us),
        "who": who,
        "by": by,
        "what": what,
        "note": note,
        "ref": ref,
        "until_us": until_us,
        "was": (level if was is None else was).name.lower(),
        "level": level.name.lower(),
        "score": 0.0 if verdict is None else float(verdict.score),
        "leaked": 0 if verdict is None else int(verdict.leaked),
        "evidence": 0 if verdict is None else int(verdict.evidence),
        "authorised": verdict is not None and bool(verdict.authorised),
        "leaking": verdict is not None and bool(verdict.leaking),
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
