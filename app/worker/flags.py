"""What a flag rests on, written down at the moment a verdict rises: scores, thresholds, features, reasons, measure.

A function of the verdicts, the feature rows behind them, the model and the policy; no clock is read. So a replay of the
same exchanges makes the same bytes, and a record still says why when the model that judged is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from app.enforcement.policy import RUNGS, reference, rule_for
from app.settings import ActionRule, EnforcementSettings
from app.state.flags import FlagMeasure, FlagReason, FlagRecord, FlagScore, encode
from app.state.partition import Batch
from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION
from detectors.contract import Level, Score, ScoreStatus, Verdict
from detectors.features import FeatureRow
from detectors.model import Model


def add_flags(
    batch: Batch,
    verdicts: Sequence[Verdict],
    rows: Sequence[FeatureRow],
    before: Mapping[str, Level],
    model: Model,
    policy: EnforcementSettings,
    *,
    excused: Collection[str] = (),
    allowed: Collection[str] = (),
    leaking: Collection[str] = (),
) -> None:
    """Puts a record into the batch for every key's verdict that rose to watch or above, or whose action became stricter.

    Args:
        batch: receives the records.
        verdicts: as `Analysis.observe` returned them.
        rows: what each of them was formed on.
        before: key id → level stored before the batch; CLEAR where missing.
        model: what judged.
        policy: level → action.
        excused: ids of keys whose contract covered what was found before the batch.
        allowed: ids of keys that the allow-list names, themselves or by their organisation.
        leaking: ids of keys whose leak alarm stood before the batch.
    """
    levels: dict[str, Level] = {}
    covered, alarmed = set(excused), set(leaking)
    for verdict, row in zip(verdicts, rows, strict=True):
        if verdict.entity_kind != "key":
            continue
        key_id = verdict.entity_id
        was = levels.get(key_id, before.get(key_id, Level.CLEAR))
        held = key_id in allowed
        rule = rule_for(verdict.level, policy, authorised=verdict.authorised, allowed=held, leaking=verdict.leaking)
        earlier = rule_for(was, policy, authorised=key_id in covered, allowed=held, leaking=key_id in alarmed)
        stricter = RUNGS[rule.action] > RUNGS[earlier.action]
        if verdict.level > Level.CLEAR and (verdict.level > was or stricter):
            record = flag_record(verdict, row, was, rule, model, policy)
            batch.flags.append((key_id, record.ref, encode(record)))
        levels[key_id] = verdict.level
        (covered.add if verdict.authorised else covered.discard)(key_id)
        (alarmed.add if verdict.leaking else alarmed.discard)(key_id)


def flag_record(
    verdict: Verdict, row: FeatureRow, was: Level, rule: ActionRule, model: Model, policy: EnforcementSettings
) -> FlagRecord:
    """The record of one verdict. Numbers may be numpy scalars; JSON takes plain ones."""
    return FlagRecord(
        ref=reference(verdict.entity_id, verdict.since_us),
        key_id=verdict.entity_id,
        at_us=int(verdict.at_us),
        since_us=int(verdict.since_us),
        was=was.name.lower(),
        level=verdict.level.name.lower(),
        score=float(verdict.score),
        evidence=int(verdict.evidence),
        leaked=int(verdict.leaked),
        authorised=bool(verdict.authorised),
        measure=FlagMeasure(
            action=rule.action,
            factor=rule.factor,
            requests_per_min=rule.requests_per_min,
            ttl_sec=rule.ttl_sec,
            mode=policy.mode,
            policy_id=policy_id(policy),
            ground=policy.contract_ground,
            appeal_url=policy.appeal_url,
        ),
        scores=tuple(_score(score, model) for score in verdict.scores),
        reasons=tuple(
            FlagReason(
                feature=reason.feature,
                value=float(reason.value),
                percentile=None if reason.percentile is None else float(reason.percentile),
                direction=reason.direction,
                weight=float(reason.weight),
                text=reason.text,
            )
            for reason in verdict.reasons
        ),
        features={
            entry.name: float(value)
            for entry, value, present in zip(CATALOGUE, row.values, row.present, strict=True)
            if present
        },
        groups=row.groups,
        peer_group=model.peer_group(row.groups),
        model_id=verdict.model_id,
        catalogue=CATALOGUE_VERSION,
    )


def policy_id(policy: EnforcementSettings) -> str:
    """Digest of a response policy, 16 hex digits: two policies with one id ask for the same."""
    text = msgspec.json.encode(policy.model_dump(mode="json"), order="sorted")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _score(score: Score, model: Model) -> FlagScore:
    scored = score.status is ScoreStatus.SCORED
    return FlagScore(
        scorer=score.scorer,
        version=score.version,
        status=score.status.value,
        value=float(score.value) if scored else 0.0,
        thresholds=_thresholds(score.scorer, model),
    )


def _thresholds(scorer: str, model: Model) -> dict[str, float]:
    """Score → consequence, as the model's policy has it for this scorer."""
    policy = model.policy
    rule = policy.rules.get(scorer)
    if rule is not None:
        found = {
            "watch": rule.watch,
            "suspect": rule.suspect,
            "suspect_if_rare": rule.suspect_if_rare,
            "confirmed": rule.confirmed,
        }
    elif scorer in policy.peer_scorers:
        found = {"watch": policy.watch, "suspect": policy.suspect, "rare": policy.rare}
    else:
        found = {}
    return {name: float(value) for name, value in found.items() if value is not None}
