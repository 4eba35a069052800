"""Passes in a replay: at which moments they are made, what each of them knows, and what is reported in the end."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from app.offline import linking
from app.offline.linking import Cuts, Linking, campaign_of
from app.offline.replay import BATCH, _batches
from detectors.campaign.contract import Campaign, Member
from detectors.campaign.linker import Linker, Pass
from detectors.campaign.passes import PASS_US, PAUSE_US, SETTLE_US
from detectors.campaign.trace import Trace
from detectors.contract import Level
from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.model import rules_only
from detectors.tally import INDEX

START_US = 1_790_000_000_000_000 // PASS_US * PASS_US
SEC = 1_000_000


class _Noted(Linker):
    """The linker, which also notes at each pass what it knows; campaigns come from a script."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.newest: dict[str, int] = {}
        self.passes: list[tuple[int, dict[str, int]]] = []
        self.script: list[list[Campaign]] = []
        made.append(self)

    def load(self, traces: Iterable[Trace]) -> None:
        traces = list(traces)
        self.newest |= {one.key_id: one.at_us for one in traces}
        super().load(traces)

    def take(self, traces: Iterable[Trace]) -> None:
        traces = list(traces)
        self.newest |= {one.key_id: one.at_us for one in traces}
        super().take(traces)

    def step(self, at_us: int) -> Pass:
        self.passes.append((at_us, dict(self.newest)))
        super().step(at_us)
        changed = self.script.pop(0) if self.script else []
        self.campaigns.update({one.id: one for one in changed})
        return Pass(at_us, tuple(changed))


made: list[_Noted] = []


@pytest.fixture(autouse=True)
def _noted(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    monkeypatch.setattr(linking, "Linker", _Noted)


def _trace(key: str, at_us: int) -> Trace:
    return Trace(key, key, at_us, first_us=at_us, exchanges=5, score=0.9, sums=bytes(3 * len(INDEX)))


def _events(times: Sequence[int]) -> list[Event]:
    return [Event(event_id="", at_us=at_us, key_id=f"k{number % 7}") for number, at_us in enumerate(times)]


def _run(events: Sequence[Event], size: int) -> list[tuple[int, dict[str, int]]]:
    """Passes of a replay in which every exchange casts a trace, in batches of at most so many."""
    made.clear()
    found, cuts = Linking(rules_only()), Cuts()
    items = iter([(event, fingerprint(event)) for event in events])
    newest_us, held = 0, list[Event]()

    def flush() -> None:
        found.take([_trace(event.key_id, event.at_us) for event in held])
        found.count(newest_us)
        held.clear()

    if size == BATCH:
        for batch in _batches(items, lambda _: 0, cuts):
            held += [event for event, _ in batch]
            newest_us = max(newest_us, *(event.at_us for event in held))
            flush()
        return made[0].passes
    for event in events:  # the definition: what is due is made when an exchange has come, and before it is taken
        newest_us = max(newest_us, event.at_us)
        found.count(newest_us)
        held.append(event)
        found.take([_trace(event.key_id, event.at_us)])
    found.count(newest_us)
    return made[0].passes


@pytest.mark.parametrize("seed", range(6))
def test_a_pass_knows_what_was_cast_before_it_was_due_whatever_the_batches_are(seed: int) -> None:
    """Late exchanges, gaps and bursts: batches give the very passes that one exchange after the other gives."""
    dice = random.Random(seed)
    at_us, times = START_US, []
    for _ in range(1500):
        at_us += dice.choice((1, 200, 3_000, 90_000 if dice.random() < 0.02 else 10)) * SEC // 40
        late_us = dice.choice((0, 0, 0, 100, 400)) * SEC if dice.random() < 0.1 else 0
        times.append(at_us - late_us)
    one_by_one = _run(_events(times), 1)
    assert len(one_by_one) > 10
    assert _run(_events(times), BATCH) == one_by_one


def test_passes_begin_behind_the_border_and_the_first_knows_the_history() -> None:
    """Traces of the history are loaded: they lead to no pass, and the first pass has them."""
    found = Linking(rules_only(), START_US, [_trace("old", START_US - 9 * PAUSE_US)])
    found.take([_trace("before", START_US - PAUSE_US)])
    found.count(START_US + SETTLE_US)
    assert made[0].passes == []
    found.take([_trace("new", START_US + 5 * SEC)])
    found.count(START_US + PASS_US + SETTLE_US - 1)
    assert made[0].passes == []
    found.count(START_US + PASS_US + SETTLE_US)
    assert [at_us for at_us, _ in made[0].passes] == [START_US + PASS_US]
    assert set(made[0].passes[0][1]) == {"old", "before", "new"}


def test_a_pass_is_left_out_while_little_is_new() -> None:
    """One key of two hundred is less than a hundredth: the next pass follows after the pause, and none without a trace."""
    found = Linking(rules_only(), START_US, [_trace(f"k{number}", START_US - 1) for number in range(200)])
    for minute in range(30):
        found.count(START_US + minute * PASS_US)
        found.take([_trace("k1", START_US + minute * PASS_US)])
    found.count(START_US + 30 * PAUSE_US)
    times = [at_us for at_us, _ in made[0].passes]
    assert all(after - before == PAUSE_US for before, after in pairwise(times))
    assert times[0] == START_US + PASS_US
    assert len(times) == 4


def test_keys_that_were_idle_for_long_are_forgotten_at_the_first_pass_of_a_day() -> None:
    """As live, where their profiles are gone by then; a key that came back is known."""
    month_us = 31 * 86_400 * SEC
    found = Linking(rules_only(), START_US, [_trace("idle", START_US - SEC), _trace("back", START_US - SEC)])
    found.take([_trace("back", START_US + month_us), _trace("new", START_US + month_us)])
    found.count(START_US + month_us + PASS_US + SETTLE_US)
    assert len(made[0].passes) == 1
    assert made[0].known == 2


def _campaign(name: str, level: Level, keys: Sequence[str], score: float = 0.9, **more: object) -> Campaign:
    members = tuple(Member(key, key, 1, 1.0) for key in keys)
    return Campaign(name, level, score, 1, 1, 1, members=members, **more)  # type: ignore[arg-type]


def _told(*passes: list[Campaign]) -> Linking:
    found = Linking(rules_only())
    made[-1].script = [*passes]
    for number in range(len(passes)):
        found.take([_trace(f"k{number}", START_US + number * PAUSE_US)])
        found.count(START_US + number * PAUSE_US + PASS_US + SETTLE_US)
    assert not made[-1].script
    return found


def test_a_campaign_is_reported_with_its_worst_although_it_faded() -> None:
    """The highest level and score count; one that was only watched is not reported."""
    told = _told(
        [_campaign("c-1", Level.CONFIRMED, "ab", 0.8), _campaign("c-2", Level.WATCH, "cd")],
        [_campaign("c-1", Level.WATCH, "a", 0.1, closed=True)],
    ).reported()
    assert [(one.campaign.id, one.level, one.score, one.keys) for one in told] == [("c-1", Level.CONFIRMED, 0.8, ("a",))]


def test_a_campaign_that_another_took_in_is_not_listed() -> None:
    """The other one has its members, and its first alarm."""
    first = _campaign("c-1", Level.SUSPECT, "ab", 0.7)
    told = _told([first], [_campaign("c-1", Level.SUSPECT, "ab", merged_into="c-2"), _campaign("c-2", Level.WATCH, "abcd")])
    assert [(one.campaign.id, one.level, one.flagged_us) for one in told.reported()] == [("c-2", Level.SUSPECT, 1)]
    assert campaign_of(told.reported()) == dict.fromkeys("abcd", "c-2")


def test_a_key_belongs_to_the_campaign_that_lives() -> None:
    """A closed campaign remembers its last members; one of them that is in another one now belongs there."""
    told = _told([_campaign("c-1", Level.CONFIRMED, "ab", closed=True), _campaign("c-2", Level.SUSPECT, "bc")])
    assert campaign_of(told.reported()) == {"a": "c-1", "b": "c-2", "c": "c-2"}
