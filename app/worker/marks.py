"""Marked answers → the sums that a batch adds to the ledgers of its keys."""

from __future__ import annotations

from app.state.partition import Batch, MarkSum
from detectors.event import Event

MAX_TOKENS = 10**9
MAX_UNATS = 10**13
"""Of one answer, far more than any has. What an event says beyond it is cut, so that sums stay whole, below 2**53."""

_NAME_CHARS = 97
"""Of a profile and an epoch with the bar between them."""


def add_marks(batch: Batch, event: Event) -> None:
    """Adds the mark of one answer; what names no profile as the gateway does is left out.

    Args:
        batch: receives the sum of the event's key and profile.
        event: of an answer with a mark.
    """
    name = f"{event.mark_profile}|{event.mark_epoch}"
    if len(name) > _NAME_CHARS or name.count("|") != 1:
        return
    at = (event.key_id, name)
    at_ms = event.at_us // 1000
    tokens = min(max(0, event.mark_tokens), MAX_TOKENS)
    unats = min(max(-MAX_UNATS, event.mark_unats), MAX_UNATS)
    held = batch.marks.get(at)
    if held is None:
        batch.marks[at] = MarkSum(1, tokens, unats, at_ms, at_ms)
    else:
        batch.marks[at] = MarkSum(
            held.answers + 1,
            held.tokens + tokens,
            held.unats + unats,
            min(held.first_ms, at_ms),
            max(held.last_ms, at_ms),
        )
