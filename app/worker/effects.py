"""What the verdicts of a batch change: the string `decide` reads, the rank in the key list, the timeline.

Everything is a function of the events, the stored states, the policy and the allow-list. The clock is the event's:
applying the same entries again, whenever that is, writes the same bytes. An action ends `ttl_sec` after the last verdict.
Verdicts come from exchanges that were let pass (`detectors.analysis`), so requests that are refused do not prolong what
refuses them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from app.enforcement import timeline
from app.enforcement.policy import encode_verdict, reference, rule_for
from app.settings import ActionRule, EnforcementSettings
from app.state.partition import Batch
from detectors.contract import Level, Verdict


def timeline_item(verdict: Verdict, was: Level, rule: ActionRule, leak: bool = False) -> bytes:
    """One change of level, or else of the leak accountant's alarm or of what the contract covers, as JSON."""
    what = timeline.LEVEL if verdict.level != was else timeline.LEAK if leak else timeline.AUTHORISED
    action = rule.action if verdict.level > Level.CLEAR else ""
    return msgspec.json.encode(timeline.item(verdict, what=what, action=action, at_us=verdict.at_us, was=was))


def add_verdicts(
    batch: Batch,
    verdicts: Sequence[Verdict],
    before: Mapping[str, Level],
    policy: EnforcementSettings,
    excused: Collection[str] = (),
    allowed: Collection[str] = (),
    leaking: Collection[str] = (),
) -> list[Level]:
    """Puts the effects of `verdicts`, in order, into the batch.

    Args:
        batch: receives verdict strings, ranks and timeline items of keys. Organisations only have a state.
        verdicts: as `Analysis.observe` returned them.
        before: key id → level stored before the batch; CLEAR where missing.
        policy: level → action.
        excused: ids of keys whose contract covered what was found before the batch.
        allowed: ids of keys that the allow-list names, themselves or by their organisation.
        leaking: ids of keys whose leak alarm stood before the batch.

    Returns:
        The new level of every change, for counting.
    """
    levels: dict[str, Level] = {}
    covered, alarmed = set(excused), set(leaking)
    changes: list[Level] = []
    for verdict in verdicts:
        if verdict.entity_kind != "key":
            continue
        key_id = verdict.entity_id
        was = levels.get(key_id, before.get(key_id, Level.CLEAR))
        rule = rule_for(
            verdict.level,
            policy,
            authorised=verdict.authorised,
            allowed=key_id in allowed,
            leaking=verdict.leaking,
        )
        covering = verdict.authorised != (key_id in covered)
        turned = verdict.level is Level.WATCH and verdict.leaking != (key_id in alarmed)
        if verdict.level != was:
            batch.timeline.append((key_id, timeline_item(verdict, was, rule)))
            changes.append(verdict.level)
        elif verdict.level > Level.CLEAR and (covering or turned):
            # The level stays, and what is done about it may change.
            batch.timeline.append((key_id, timeline_item(verdict, was, rule, leak=not covering)))
        levels[key_id] = verdict.level
        (covered.add if verdict.authorised else covered.discard)(key_id)
        (alarmed.add if verdict.leaking else alarmed.discard)(key_id)
        if verdict.level > Level.CLEAR:
            ref = reference(key_id, verdict.since_us)
            batch.verdicts[key_id] = encode_verdict(verdict.level, rule, verdict.at_us, ref=ref)
            batch.flagged[key_id] = verdict.level * 2 + float(verdict.score)
        elif was > Level.CLEAR:
            batch.verdicts[key_id] = ""
            batch.flagged[key_id] = None
    return changes
