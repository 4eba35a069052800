"""Flag records: what is written down when a verdict rises, as a pure function of events, model and policy."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest

from app.enforcement.policy import reference
from app.enforcement.rescore import rescore
from app.settings import ActionRule, EnforcementSettings
from app.state.flags import FlagRecord, read_flag
from app.state.partition import Batch
from app.worker.effects import add_verdicts
from app.worker.flags import add_flags, policy_id
from detectors.analysis import Analysis, EntityState
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import Level, Reason, Score, ScoreStatus, Status, Verdict
from detectors.event import Event
from detectors.features import FeatureRow
from detectors.fingerprint import fingerprint
from detectors.model import rules_only

AT_US = 1_790_000_000_000_000
POLICY = EnforcementSettings(appeal_url="https://provider.example/appeal")
MODEL = rules_only()


def _row(**features: float) -> FeatureRow:
    values, present = np.zeros(len(CATALOGUE)), np.zeros(len(CATALOGUE), np.bool_)
    for name, value in features.items():
        values[INDEX[name]], present[INDEX[name]] = value, True
    return FeatureRow(values, present, 40, ("payg/new/batch", "*/new/batch", "*/*/batch", "all"))


def _verdict(level: Level, *, at_us: int = AT_US, since_us: int = AT_US, key_id: str = "k1", **changes: Any) -> Verdict:
    reason = Reason("requests_24h", 900.0, 99.0, "high", 0.5, "900 requests in a day; 99 % of its peers have fewer.")
    fields: dict[str, Any] = {
        "entity_id": key_id,
        "entity_kind": "key",
        "status": Status.JUDGED,
        "score": np.float64(0.75),
        "level": level,
        "at_us": at_us,
        "since_us": since_us,
        "flagged_us": None,
        "reasons": (reason,),
        "scores": (Score("logit_sweep", "1", ScoreStatus.SCORED, 0.9), Score("probe", "1", ScoreStatus.WARMING_UP)),
        "leaked": 3,
        "evidence": 40,
        "authorised": False,
        "model_id": MODEL.id,
    }
    return Verdict(**{**fields, **changes})


def _flagged(verdicts: list[Verdict], policy: EnforcementSettings = POLICY, **more: Any) -> list[FlagRecord]:
    batch = Batch("0-0", "1-0")
    more.setdefault("before", {})
    add_flags(batch, verdicts, [_row(requests_24h=900.0)] * len(verdicts), model=MODEL, policy=policy, **more)
    found = [msgspec.json.decode(data, type=FlagRecord) for _, _, data in batch.flags]
    assert [(key_id, ref) for key_id, ref, _ in batch.flags] == [(record.key_id, record.ref) for record in found]
    return found


def test_a_rise_is_recorded_with_all_that_it_rests_on() -> None:
    """Features by name with absent ones absent, scores with their thresholds, reasons as told, digests, the measure."""
    (record,) = _flagged([_verdict(Level.SUSPECT)])
    assert record.ref == reference("k1", AT_US)
    assert (record.was, record.level, record.score, record.evidence, record.leaked) == ("clear", "suspect", 0.75, 40, 3)
    assert record.features == {"requests_24h": 900.0}
    assert record.scores[0].thresholds == {"watch": 0.5, "suspect": 0.5, "confirmed": 0.95}
    assert (record.scores[0].value, record.scores[1].status) == (0.9, "warming_up")
    assert (record.reasons[0].direction, record.reasons[0].percentile) == ("high", 99.0)
    assert record.reasons[0].text.startswith("900 requests")
    assert record.model_id == MODEL.id
    assert (record.measure.action, record.measure.factor, record.measure.mode) == ("throttle", 0.25, "shadow")
    assert record.measure.policy_id == policy_id(POLICY)
    assert record.measure.appeal_url == POLICY.appeal_url
    assert record.peer_group is None
    assert record.groups[0] == "payg/new/batch"


def test_each_rise_is_recorded_once_and_nothing_else() -> None:
    """A level that stays, falls, or belongs to an organisation adds nothing."""
    steps = (Level.WATCH, Level.WATCH, Level.SUSPECT, Level.WATCH, Level.CLEAR, Level.CONFIRMED)
    verdicts = [_verdict(level, at_us=AT_US + n, since_us=AT_US + n) for n, level in enumerate(steps)]
    found = _flagged([*verdicts, _verdict(Level.CONFIRMED, entity_kind="org", key_id="o1")])
    assert [(record.was, record.level) for record in found] == [
        ("clear", "watch"),
        ("watch", "suspect"),
        ("clear", "confirmed"),
    ]
    assert len({record.ref for record in found}) == 3


def test_an_action_that_becomes_stricter_is_recorded_under_its_reference() -> None:
    """The contract covers the use no more: same level, same reference, and the measure that is now asked for."""
    verdicts = [_verdict(Level.SUSPECT, authorised=True), _verdict(Level.SUSPECT, at_us=AT_US + 9)]
    first, second = _flagged(verdicts)
    assert first.ref == second.ref
    assert (first.measure.action, second.measure.action) == ("observe", "throttle")
    (only,) = _flagged(verdicts[1:], before={"k1": Level.SUSPECT}, excused={"k1"})
    assert (only.was, only.level, only.at_us) == ("suspect", "suspect", AT_US + 9)
    assert _flagged(verdicts[:1], before={"k1": Level.SUSPECT}) == []


def test_a_key_of_the_allow_list_is_flagged_and_only_observed() -> None:
    """It is still scored, so its record is there."""
    (record,) = _flagged([_verdict(Level.CONFIRMED)], allowed={"k1"})
    assert (record.level, record.measure.action) == ("confirmed", "observe")


def test_a_policy_is_named_by_what_it_asks_for() -> None:
    """The same settings have the same digest, others another one."""
    assert policy_id(EnforcementSettings()) == policy_id(EnforcementSettings())
    assert policy_id(EnforcementSettings()) != policy_id(EnforcementSettings(suspect=ActionRule(action="observe")))


def _exchanges(count: int) -> list[Event]:
    """A key that sweeps log-probabilities, and one that chats."""
    dice = random.Random(7)
    return [
        Event(
            event_id=f"{number:x}",
            at_us=AT_US + number * 2_000_000,
            key_id=("a" * 32, "b" * 32)[number % 2],
            plan="payg",
            key_created_us=AT_US - 86_400_000_000,
            dialect="openai",
            route="chat",
            model="large",
            roles="u",
            message_count=1,
            user_turns=1,
            max_tokens=1 if number % 2 == 0 else None,
            top_logprobs=20 if number % 2 == 0 else -1,
            logit_bias_size=50 if number % 2 == 0 else 0,
            logit_bias_digest=dice.getrandbits(63) if number % 2 == 0 else 0,
            chain_digest=dice.getrandbits(63),
            user_digest=dice.getrandbits(63),
            user_chars=40,
            finish_reason="stop",
            input_tokens=20,
            output_tokens=1 if number % 2 == 0 else 300,
            answer_digest=dice.getrandbits(63),
            answer_chars=4,
            user_head="CANARY-PROMPT please",
            user_tail="CANARY-PROMPT",
            answer_head="CANARY-ANSWER",
        )
        for number in range(count)
    ]


def _recorded(events: list[Event], size: int) -> list[tuple[str, str, bytes]]:
    """Flag records of a log that is applied in batches of a size."""
    states: dict[tuple[str, str], EntityState] = {}
    analysis = Analysis(MODEL)
    found: list[tuple[str, str, bytes]] = []
    for start in range(0, len(events), size):
        batch = Batch("0-0", "1-0")
        before = {name: state.verdict.level for (_, name), state in states.items() if state.verdict is not None}
        rows: list[FeatureRow] = []
        verdicts = analysis.observe(states, [(e, fingerprint(e)) for e in events[start : start + size]], rows)
        assert len(rows) == len(verdicts)
        add_verdicts(batch, verdicts, before, POLICY)
        add_flags(batch, verdicts, rows, before, MODEL, POLICY)
        found += batch.flags
    return found


@pytest.mark.parametrize("size", [1, 7, 500])
def test_the_same_exchanges_make_the_same_records(size: int) -> None:
    """However a stream is cut into batches, and whenever it is applied: no clock and no order of a set is in them."""
    events = _exchanges(120)
    found = _recorded(events, size)
    assert found
    assert found == _recorded(events, 13)
    for _, _, data in found:
        assert b"CANARY" not in data
        assert read_flag(data) is not None


def test_a_stored_explanation_does_not_change_with_the_model() -> None:
    """The record keeps its sentences; beside them stands what its values score under the model of today."""
    _, _, data = _recorded(_exchanges(120), 50)[-1]
    record = read_flag(data)
    assert record is not None
    again = rescore(record, MODEL)
    assert again.comparable
    assert again.model_id == record.model_id
    assert again.missing == ()
    assert again.score == pytest.approx(record.score)
    assert [(c.score_then, c.score_now) for c in again.scorers] == [
        (pytest.approx(c.score_then) if c.score_then is not None else None,) * 2 for c in again.scorers
    ]
    unknown = rescore(msgspec.structs.replace(record, features={**record.features, "gone": 1.0}), MODEL)
    assert unknown.missing == ("gone",)
    assert unknown.score == again.score
    assert read_flag(data) == record
    assert not rescore(msgspec.structs.replace(record, catalogue="0"), MODEL).comparable
    assert read_flag(b"{}") is None


def test_a_leak_alarm_at_the_same_level_is_recorded() -> None:
    """A key that was only watched is slowed down from now on: its customer must be told on what that rests."""
    (record,) = _flagged([_verdict(Level.WATCH, leaking=True)], before={"k1": Level.WATCH})
    assert (record.was, record.level, record.measure.action, record.measure.factor) == ("watch", "watch", "throttle", 0.5)
    assert _flagged([_verdict(Level.WATCH, leaking=True)], before={"k1": Level.WATCH}, leaking={"k1"}) == []
