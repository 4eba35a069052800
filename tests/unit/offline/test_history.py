"""The feature rows a model is fitted on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.offline import history
from app.offline.history import Guards, History, TooLittleHistory
from app.offline.labels import KeyLabels
from app.offline.states import StateTable
from detectors import model as models
from detectors.analysis import Analysis
from detectors.contract import Level
from detectors.event import Event
from detectors.features import FeatureRow
from detectors.fingerprint import fingerprint
from detectors.verdict import Standing

HOUR_US = 3_600_000_000


class _Fits:
    """Stands where a model is fitted and keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: Sequence[FeatureRow] = ()
        self.owners: Sequence[str] = ()
        self.honest: Collection[str] = ()
        self.flagged: Collection[str] = ()
        self.newest: Collection[int] = ()
        monkeypatch.setattr(history.models, "fit", self)

    def __call__(
        self,
        rows: Sequence[FeatureRow],
        owners: Sequence[str],
        seed: int,
        honest: Collection[str],
        flagged: Collection[str] = (),
        trees: object = None,
        newest: Collection[int] = (),
    ) -> models.Model:
        self.rows, self.owners, self.honest, self.flagged, self.newest = rows, owners, honest, flagged, newest
        return models.rules_only()


def _event(number: int, key: str, at_us: int, **more: Any) -> Event:
    return Event(
        event_id=f"{number}", at_us=at_us, key_id=key, org_id=f"org-{key}", dialect="openai", route="chat", roles="u",
        message_count=1, user_turns=1, chain_digest=number + 1, user_digest=number + 1, user_chars=20, output_tokens=50,
        user_head=f"question number {number}", **more,
    )  # fmt: skip


def _take(taken: History, states: StateTable, events: list[Event]) -> None:
    analysis = Analysis(models.rules_only())
    for event in events:
        taken.take(states, analysis.observe(states, [(event, fingerprint(event))]))


def test_a_key_gives_rows_at_doubling_scorings_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy key is heard a few times, young and old; one that was never scored is not heard."""
    fits, states = _Fits(monkeypatch), StateTable(100)
    taken = History(lambda key: f"org-{key}")
    _take(taken, states, [_event(number, "busy", 1 + number * HOUR_US) for number in range(100)])
    _take(taken, states, [_event(number, "quiet", 1 + number) for number in range(4)])
    taken.fit(states, 0)
    # Scored at the 5th exchange and then hourly: scorings 1, 2, 4, 8, 16, 32, 64, and the end.
    assert [row.evidence for row in fits.rows][:4] == [5, 6, 8, 12]
    assert list(fits.owners) == ["org-busy"] * 8
    assert fits.newest == {7}  # what later fleets are compared with
    states.close()


def test_rows_come_in_the_order_of_keys_however_traffic_was_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exchanges give the same rows from a log in time order and from an archive by partition."""
    found = []
    streams = [[_event(n, key, 1 + n * HOUR_US) for n in range(20)] for key in ("b", "a")]
    for events in ([*streams[0], *streams[1]], [event for pair in zip(*streams, strict=True) for event in pair]):
        fits, states = _Fits(monkeypatch), StateTable(100)
        taken = History(lambda key: key)
        _take(taken, states, events)
        taken.fit(states, 0)
        found.append((list(fits.owners), [row.values.tolist() for row in fits.rows]))
        states.close()
    assert found[0] == found[1]
    assert found[0][0] == sorted(found[0][0])


def test_labels_decide_who_says_what_is_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was found abusive gives no row; the organisation of a benign one is named as honest."""
    fits, states = _Fits(monkeypatch), StateTable(100)
    taken = History(lambda key: f"org-{key}", labels=KeyLabels(frozenset({"fine", "unseen"}), frozenset({"bad"})))
    for key in ("bad", "fine", "other"):
        _take(taken, states, [_event(number, key, 1 + number * HOUR_US) for number in range(8)])
    taken.fit(states, 0)
    assert set(fits.owners) == {"org-fine", "org-other"}
    assert fits.honest == {"org-fine"}
    states.close()


def test_too_many_rows_are_thinned_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; a key that stays keeps all its rows, and the choice does not depend on the order."""
    fits, states = _Fits(monkeypatch), StateTable(1000)
    taken = History(lambda key: key, max_rows=60)
    for number in range(64):
        _take(taken, states, [_event(n, f"k{number}", 1 + n * HOUR_US) for n in range(8)])
    taken.fit(states, 0)
    assert 20 <= len(fits.rows) <= 60
    assert {fits.owners.count(key) for key in fits.owners} == {3}  # scorings 1, 2 and 4, the last of them at the end
    states.close()


def test_verdicts_are_forgotten_and_profiles_are_not() -> None:
    """Under the new model everybody begins clear, with what is known of them."""
    states = StateTable(2)
    _take(History(lambda key: key), states, [_event(n, f"k{n % 9}", 1 + n * HOUR_US) for n in range(90)])
    states.trim()
    before = {name: (state.profile.to_bytes(), state.due_exchanges) for name, state in states.items()}
    assert any(states[name].verdict for name in list(states))
    History(lambda key: key).forget_verdicts(states)
    assert {name: (state.profile.to_bytes(), state.due_exchanges) for name, state in states.items()} == before
    assert all(state.verdict is None and state.standing == Standing() for state in states.values())
    states.close()


def test_a_history_that_is_too_small_says_what_it_has() -> None:
    """The sentence counts organisations, tells how many are needed, and says what to do."""
    states = StateTable(10)
    taken = History(lambda key: key)
    _take(taken, states, [_event(n, "k", 1 + n * HOUR_US) for n in range(10)])
    with pytest.raises(TooLittleHistory, match=r"has 1 organisations .*; a peer model needs 20: let the warm-up end later"):
        taken.fit(states, 0)
    states.close()


def test_guards_leave_out_the_young_and_name_the_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of an account of days is not taken, one of a week is; who was flagged is named and its organisation with it."""
    fits, states = _Fits(monkeypatch), StateTable(100)
    taken = History(lambda key: f"org-{key}", guards=Guards(7.0, flagged=True))
    for key, age_d in (("new", 3), ("old", 30), ("unknown", None)):
        created = 0 if age_d is None else HOUR_US * 24 * 40 - HOUR_US * 24 * age_d
        events = [_event(n, key, HOUR_US * 24 * 40 + n * HOUR_US, key_created_us=created) for n in range(8)]
        _take(taken, states, events)
    seen = [replace(state.verdict, level=Level.SUSPECT) for name in (("key", "old"),) if (state := states[name]).verdict]
    taken.take(states, seen)
    taken.fit(states, 0)
    assert set(fits.owners) == {"org-old", "org-unknown"}
    assert (taken.young, fits.flagged) == ({"new"}, {"org-old"})
    states.close()
