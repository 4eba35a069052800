"""What the verdicts of a batch change: the string `decide` reads, the rank in the key list, the timeline.

Everything is a function of the events, the stored states and the policy. The clock is the event's: applying the same
entries again, whenever that is, writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.enforcement.policy import encode_verdict
from app.settings import ActionRule, EnforcementSettings
from app.state.partition import Batch
from detectors.contract import Level, Verdict

TIMELINE_REASONS = 5
"""Reasons kept with one change of level; the state holds all of them."""

_OBSERVE = ActionRule(action="observe")


def rule_for(verdict: Verdict, policy: EnforcementSettings) -> ActionRule:
    """The policy's rule for the level; a contract that allows the use is only ever observed."""
    if verdict.authorised:
        return _OBSERVE
    rules = {Level.WATCH: policy.watch, Level.SUSPECT: policy.suspect, Level.CONFIRMED: policy.confirmed}
    return rules.get(verdict.level, _OBSERVE)


def timeline_item(verdict: Verdict, was: Level, rule: ActionRule) -> bytes:
    """One change of level as JSON. Reasons are sentences about numbers; no client text is in them."""
    return msgspec.json.encode(
        {
            "at_us": int(verdict.at_us),
            "was": was.name.lower(),
            "level": verdict.level.name.lower(),
            "score": float(verdict.score),
            "leaked": int(verdict.leaked),
            "evidence": int(verdict.evidence),
            "authorised": bool(verdict.authorised),
            "action": rule.action if verdict.level > Level.CLEAR else "",
            "reasons": [
                {
                    "feature": reason.feature,
                    "value": float(reason.value),
                    "percentile": None if reason.percentile is None else float(reason.percentile),
                    "direction": reason.direction,
                    "text": reason.text,
                }
                for reason in verdict.reasons[:TIMELINE_REASONS]
            ],
            "model_id": verdict.model_id,
        }
    )


def add_verdicts(
    batch: Batch, verdicts: Sequence[Verdict], before: Mapping[str, Level], policy: EnforcementSettings
) -> list[Level]:
    """Puts the effects of `verdicts`, in order, into the batch.

    Args:
        batch: receives verdict strings, ranks and timeline items of keys. Organisations only have a state.
        verdicts: as `Analysis.observe` returned them.
        before: key id → level stored before the batch; CLEAR where missing.
        policy: level → action.

    Returns:
        The new level of every change, for counting.
    """
    levels: dict[str, Level] = {}
    changes: list[Level] = []
    for verdict in verdicts:
        if verdict.entity_kind != "key":
            continue
        key_id = verdict.entity_id
        was = levels.get(key_id, before.get(key_id, Level.CLEAR))
        rule = rule_for(verdict, policy)
        if verdict.level != was:
            batch.timeline.append((key_id, timeline_item(verdict, was, rule)))
            changes.append(verdict.level)
        levels[key_id] = verdict.level
        if verdict.level > Level.CLEAR:
            batch.verdicts[key_id] = encode_verdict(verdict.level, rule, verdict.at_us)
            batch.flagged[key_id] = verdict.level * 2 + float(verdict.score)
        elif was > Level.CLEAR:
            batch.verdicts[key_id] = ""
            batch.flagged[key_id] = None
    return changes
