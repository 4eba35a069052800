"""What verdicts change: the string `decide` reads, the rank in the list, the timeline; as a pure function of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from app.enforcement.policy import decode_verdict, reference
from app.enforcement.timeline import MAX_REASONS
from app.settings import ActionRule, EnforcementSettings
from app.state.partition import Batch
from app.worker.effects import add_verdicts, timeline_item
from detectors.contract import Level, Reason, Status, Verdict

AT_US = 1_790_000_000_000_000
POLICY = EnforcementSettings()


def _verdict(level: Level, *, at_us: int = AT_US, key_id: str = "k1", **changes: Any) -> Verdict:
    reason = Reason("logprobs_share", 0.9, 99.0, "high", 0.5, "Nine in ten exchanges ask for log-probabilities.")
    fields: dict[str, Any] = {
        "entity_id": key_id,
        "entity_kind": "key",
        "status": Status.JUDGED,
        "score": 0.75,
        "level": level,
        "at_us": at_us,
        "since_us": at_us,
        "flagged_us": None,
        "reasons": (reason,) * 7,
        "scores": (),
        "leaked": 3,
        "evidence": 40,
        "authorised": False,
        "model_id": "m1",
    }
    return Verdict(**{**fields, **changes})


def _batch() -> Batch:
    return Batch("0-0", "1-0")


def test_a_key_on_the_allow_list_is_only_observed() -> None:
    """It is scored, ranked and shown as any other, and its verdict has the reference that explains it."""
    batch = _batch()
    verdicts = [_verdict(Level.CONFIRMED), _verdict(Level.CONFIRMED, key_id="k2")]
    assert add_verdicts(batch, verdicts, {}, POLICY, allowed={"k1"}) == [Level.CONFIRMED, Level.CONFIRMED]
    actions = [decode_verdict(batch.verdicts[key_id]) for key_id in ("k1", "k2")]
    assert [(action and action.action) for action in actions] == ["observe", "throttle"]
    assert [(action and action.ref) for action in actions] == [reference("k1", AT_US), reference("k2", AT_US)]
    assert batch.flagged["k1"] == batch.flagged["k2"]
    assert [json.loads(item)["action"] for _, item in batch.timeline] == ["observe", "throttle"]


def test_an_authorised_use_is_only_observed() -> None:
    """Whatever its level: the contract allows it."""
    batch = _batch()
    add_verdicts(batch, [_verdict(Level.CONFIRMED, authorised=True)], {}, POLICY)
    action = decode_verdict(batch.verdicts["k1"])
    assert action is not None
    assert (action.level, action.action) == (Level.CONFIRMED, "observe")


def test_what_the_contract_covers_is_told_when_it_changes() -> None:
    """The level stays, the action goes and comes back: the timeline has both, each once."""
    batch = _batch()
    verdicts = [_verdict(Level.SUSPECT, authorised=covered) for covered in (True, True, False)]
    assert add_verdicts(batch, verdicts, {"k1": Level.SUSPECT}, POLICY) == []
    told = [json.loads(item) for _, item in batch.timeline]
    assert [(item["what"], item["was"], item["level"], item["authorised"], item["action"]) for item in told] == [
        ("authorised", "suspect", "suspect", True, "observe"),
        ("authorised", "suspect", "suspect", False, "throttle"),
    ]
    again = _batch()
    add_verdicts(again, verdicts[:2], {"k1": Level.SUSPECT}, POLICY, {"k1"})
    assert again.timeline == []


def test_a_rise_writes_string_rank_and_timeline() -> None:
    """The string ends a TTL after the verdict, the rank orders by level and then score."""
    batch = _batch()
    changes = add_verdicts(batch, [_verdict(Level.SUSPECT)], {}, POLICY)
    assert changes == [Level.SUSPECT]
    action = decode_verdict(batch.verdicts["k1"])
    assert action is not None
    assert action.until_us == AT_US + POLICY.suspect.ttl_sec * 1_000_000
    assert batch.flagged == {"k1": 4.75}
    ((key_id, item),) = batch.timeline
    told = json.loads(item)
    assert (key_id, told["was"], told["level"], told["action"], told["at_us"]) == (
        "k1",
        "clear",
        "suspect",
        "throttle",
        AT_US,
    )
    assert len(told["reasons"]) == MAX_REASONS
    assert (told["who"], told["what"]) == ("worker", "level")


def test_an_unchanged_level_renews_the_action_without_a_timeline_entry() -> None:
    """A key that stays suspect is kept so, and its history does not grow."""
    batch = _batch()
    assert add_verdicts(batch, [_verdict(Level.SUSPECT)], {"k1": Level.SUSPECT}, POLICY) == []
    assert batch.timeline == []
    assert batch.verdicts.keys() == batch.flagged.keys() == {"k1"}


def test_a_return_to_clear_takes_everything_back() -> None:
    """The string is deleted and the key leaves the list; the change is in its timeline, without an action."""
    batch = _batch()
    assert add_verdicts(batch, [_verdict(Level.CLEAR)], {"k1": Level.WATCH}, POLICY) == [Level.CLEAR]
    assert batch.verdicts == {"k1": ""}
    assert batch.flagged == {"k1": None}
    assert json.loads(batch.timeline[0][1])["action"] == ""


def test_a_key_that_was_and_is_clear_writes_nothing() -> None:
    """Nearly all keys, nearly always."""
    batch = _batch()
    assert add_verdicts(batch, [_verdict(Level.CLEAR)], {}, POLICY) == []
    assert batch == _batch()


def test_verdicts_of_one_batch_act_in_their_order() -> None:
    """Each change is told against the one before; the last decides what is in force."""
    batch = _batch()
    verdicts = [_verdict(level, at_us=AT_US + n) for n, level in enumerate((Level.WATCH, Level.SUSPECT, Level.WATCH))]
    assert add_verdicts(batch, verdicts, {}, POLICY) == [Level.WATCH, Level.SUSPECT, Level.WATCH]
    assert [(json.loads(item)["was"], json.loads(item)["level"]) for _, item in batch.timeline] == [
        ("clear", "watch"),
        ("watch", "suspect"),
        ("suspect", "watch"),
    ]
    assert batch.verdicts["k1"].startswith("watch|observe")


def test_organisations_have_a_state_and_no_effect() -> None:
    """Limits are narrowed by key."""
    batch = _batch()
    assert add_verdicts(batch, [_verdict(Level.CONFIRMED, entity_kind="org")], {}, POLICY) == []
    assert batch == _batch()


def test_the_same_verdicts_write_the_same_bytes() -> None:
    """No clock is read: a second attempt at a batch cannot differ from the first."""
    first, second = _batch(), _batch()
    for batch in (first, second):
        add_verdicts(batch, [_verdict(Level.WATCH), _verdict(Level.SUSPECT, key_id="k2")], {}, POLICY)
    assert first == second


def test_a_timeline_item_is_json_whatever_numbers_are_in_it() -> None:
    """Values may be numpy scalars, a percentile may be unknown."""
    reason = Reason("requests_24h", np.float64(12.5), None, "high", np.float64(1), "Many.")
    item = json.loads(
        timeline_item(_verdict(Level.WATCH, reasons=(reason,), score=np.float64(0.5)), Level.CLEAR, ActionRule())
    )
    assert (item["reasons"][0]["value"], item["reasons"][0]["percentile"], item["score"]) == (12.5, None, 0.5)


def test_the_leak_alarm_is_told_when_it_begins_and_ends() -> None:
    """The level stays at watch; the key is slowed down and let go, and the timeline has both, each once."""
    batch = _batch()
    verdicts = [_verdict(Level.WATCH, leaking=leaking) for leaking in (True, True, False)]
    add_verdicts(batch, verdicts[:1], {"k1": Level.WATCH}, POLICY)
    action = decode_verdict(batch.verdicts["k1"])
    assert action is not None
    assert (action.level, action.action, action.factor) == (Level.WATCH, "throttle", POLICY.leak.factor)
    again = _batch()
    add_verdicts(again, verdicts[1:], {"k1": Level.WATCH}, POLICY, leaking={"k1"})
    told = [json.loads(item) for _, item in batch.timeline + again.timeline]
    assert [(item["what"], item["leaking"], item["action"]) for item in told] == [
        ("leak", True, "throttle"),
        ("leak", False, "observe"),
    ]
