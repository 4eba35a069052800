"""Scores → verdict: the policy's levels, hysteresis in event time, reasons, the leak count, contracts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.contract import USES, Level, Reason, Score, ScoreStatus, Status, Verdict
from detectors.policy import ALARM, CERTAIN, PATTERN, RULES, Policy, demoted
from detectors.verdict import Moment, Standing, combined, judge, level_called

HOUR = 3_600_000_000
DAY = 24 * HOUR
T0 = 1_790_000_000_000_000


def _score(scorer: str, value: float | None, *reasons: Reason) -> Score:
    if value is None:
        return Score(scorer, "1", ScoreStatus.WARMING_UP)
    return Score(scorer, "1", ScoreStatus.SCORED, value, reasons)


def _moment(
    at_us: int = T0, evidence: int = 100, valuable: int = 0, authorised: tuple[str, ...] = (), leak: float = 0.0
) -> Moment:
    return Moment("k", "key", at_us, valuable, evidence, authorised, leak)


def _level(scores: Sequence[Score], policy: Policy | None = None, **facts: object) -> Level:
    return level_called(policy or Policy(), _moment(**facts), scores)[0]  # type: ignore[arg-type]


Judge = Callable[..., Verdict]


@pytest.fixture
def judged() -> Judge:
    """judged(scores, **moment): verdicts of one entity, one after the other."""
    standing = Standing()
    held: list[tuple[Reason, ...]] = [()]

    def go(*scores: Score, **facts: object) -> Verdict:
        verdict = judge(Policy(), "m", standing, _moment(**facts), scores, held[-1])  # type: ignore[arg-type]
        held.append(verdict.reasons)
        return verdict

    return go


@pytest.mark.parametrize(
    ("scores", "level"),
    [
        ([("tails", 0.5), ("isolation", 0.6)], Level.CLEAR),
        ([("tails", 0.995)], Level.WATCH),
        ([("tails", 0.9999), ("isolation", 0.9999)], Level.WATCH),
        ([("logit_sweep", 0.4)], Level.CLEAR),
        ([("logit_sweep", 0.6)], Level.SUSPECT),
        ([("logit_sweep", 1.0)], Level.CONFIRMED),
        ([("task_harvest", 1.0)], Level.WATCH),
        ([("task_harvest", 1.0), ("tails", 0.8)], Level.WATCH),
        ([("task_harvest", 0.6), ("isolation", 0.95)], Level.SUSPECT),
        ([("task_harvest", None), ("tails", 0.995)], Level.WATCH),
    ],
)
def test_the_shipped_policy(scores: list[tuple[str, float | None]], level: Level) -> None:
    """Oddness alone is worth a look; a pattern needs it to be suspect; a certain rule needs nothing."""
    assert _level([_score(*pair) for pair in scores]) is level


def test_peer_scores_raise_nothing_on_little_evidence() -> None:
    """A share of six exchanges is extreme by chance, so oddness waits for twenty."""
    odd = [_score("tails", 0.999), _score("task_harvest", 1.0)]
    assert (_level(odd, evidence=19), _level(odd, evidence=20)) == (Level.WATCH, Level.SUSPECT)
    assert _level([_score("tails", 0.999)], evidence=19) is Level.CLEAR


def test_confirmed_needs_evidence() -> None:
    """The highest level waits for forty exchanges, whatever the rule says."""
    sure = [_score("forced_reasoning", 1.0)]
    assert (_level(sure, evidence=39), _level(sure, evidence=40)) == (Level.SUSPECT, Level.CONFIRMED)


def test_oddness_alone_may_be_made_suspect_by_policy() -> None:
    """With enough history one in a thousand can be suspect without any rule, except under a contract."""
    bold = msgspec.structs.replace(Policy(), suspect=0.999)
    odd = [_score("tails", 0.9995)]
    assert _level(odd, bold) is Level.SUSPECT
    assert _level(odd, bold, authorised=("evaluation",)) is Level.WATCH


GRID = [None, 0.0, 0.3, 0.5, 0.76, 0.96, 0.995, 1.0]
NAMES = ("tails", "isolation", "logit_sweep", "rejection_sampling", "task_harvest")


@given(
    st.tuples(*[st.sampled_from(GRID)] * len(NAMES)),
    st.integers(0, len(NAMES) - 1),
    st.sampled_from(GRID[1:]),
    st.integers(5, 60),
)
def test_more_evidence_never_lowers_a_verdict(
    values: tuple[float | None, ...], at: int, more: float, evidence: int
) -> None:
    """Raising one score raises or keeps level and combined score."""
    before = [_score(name, value) for name, value in zip(NAMES, values, strict=True)]
    after = list(before)
    if (values[at] or 0.0) <= more:
        after[at] = _score(NAMES[at], more)
    assert _level(after, evidence=evidence) >= _level(before, evidence=evidence)
    moment = _moment(evidence=evidence)
    assert combined(Policy(), moment, after) >= combined(Policy(), moment, before)
    assert 0.0 <= combined(Policy(), moment, after) <= 1.0


def test_too_little_evidence_is_a_status_and_no_score(judged: Judge) -> None:
    """A new account is warming up: not clear for certain, and not scored."""
    verdict = judged(_score("tails", None), evidence=2)
    assert (verdict.status, verdict.score, verdict.level) == (Status.WARMING_UP, 0.0, Level.CLEAR)
    assert judged(_score("tails", 0.4), evidence=5).status is Status.JUDGED


def test_no_scorer_with_a_number_means_warming_up(judged: Judge) -> None:
    """However much was seen, without any number there is no judgement."""
    assert judged(_score("tails", None), _score("probe", None), evidence=50).status is Status.WARMING_UP


def test_a_level_rises_at_once_and_falls_one_step_a_day(judged: Judge) -> None:
    """From CONFIRMED down to CLEAR takes three quiet days of event time."""
    assert judged(_score("logit_sweep", 1.0)).level is Level.CONFIRMED
    seen = [(hours, judged(_score("logit_sweep", 0.0), at_us=T0 + hours * HOUR).level) for hours in range(6, 79, 6)]
    assert [level for hours, level in seen if hours in (18, 24, 42, 48, 66, 72)] == [
        Level.CONFIRMED, Level.SUSPECT, Level.SUSPECT, Level.WATCH, Level.WATCH, Level.CLEAR,
    ]  # fmt: skip


def test_a_relapse_restarts_the_calm(judged: Judge) -> None:
    """One call for the level within the day keeps it for another day."""
    judged(_score("logit_sweep", 0.6))
    judged(_score("logit_sweep", 0.6), at_us=T0 + 20 * HOUR)
    assert judged(_score("logit_sweep", 0.0), at_us=T0 + 43 * HOUR).level is Level.SUSPECT
    assert judged(_score("logit_sweep", 0.0), at_us=T0 + 44 * HOUR).level is Level.WATCH


def test_since_and_flagged_tell_when(judged: Judge) -> None:
    """`since` is the start of the present level, `flagged` the first SUSPECT ever, kept after it is over."""
    judged(_score("task_harvest", 1.0))
    first = judged(_score("logit_sweep", 0.6), at_us=T0 + HOUR)
    assert (first.since_us, first.flagged_us) == (T0 + HOUR, T0 + HOUR)
    later = judged(_score("logit_sweep", 0.0), at_us=T0 + 2 * DAY)
    assert (later.level, later.since_us, later.flagged_us) == (Level.WATCH, T0 + 2 * DAY, T0 + HOUR)


def test_leaked_counts_from_the_first_suspicious_verdict(judged: Judge) -> None:
    """What was taken before anyone was suspicious is not a leak; the count goes on whatever the level is later."""
    assert judged(_score("tails", 0.2), valuable=30).leaked == 0
    assert judged(_score("task_harvest", 1.0), valuable=40).leaked == 0
    assert judged(_score("task_harvest", 1.0), valuable=55).leaked == 15
    cleared = judged(_score("task_harvest", 0.0), valuable=60, at_us=T0 + 3 * DAY)
    assert (cleared.level, cleared.leaked) == (Level.CLEAR, 20)


def _reason(feature: str, weight: float) -> Reason:
    return Reason(feature, 1.0, 99.0, "high", weight, "The share is 1.")


def test_reasons_of_rules_come_before_those_of_peers_and_each_feature_once(judged: Judge) -> None:
    """At most five, the strongest rule's first."""
    verdict = judged(
        _score("tails", 0.999, _reason("slot_novelty", 0.9), _reason("rewrite_share", 0.1)),
        _score("task_harvest", 0.6, _reason("user_top_share", 0.5), _reason("valuable_share", 0.5)),
        _score("logit_sweep", 0.7, _reason("valuable_share", 0.3), _reason("logprobs_share", 0.7)),
    )
    assert [r.feature for r in verdict.reasons] == [
        "logprobs_share", "valuable_share", "user_top_share", "slot_novelty", "rewrite_share",
    ]  # fmt: skip
    assert all(score.reasons == () for score in verdict.scores)


def test_a_level_that_is_only_held_keeps_the_reasons_it_was_raised_for(judged: Judge) -> None:
    """Two quiet hours later the level still says why it is there."""
    judged(_score("logit_sweep", 0.6, _reason("logprobs_share", 1.0)))
    held = judged(_score("tails", 0.1), at_us=T0 + 2 * HOUR)
    assert (held.level, [r.feature for r in held.reasons]) == (Level.SUSPECT, ["logprobs_share"])


def test_a_contract_excuses_what_it_allows_and_nothing_else(judged: Judge) -> None:
    """A synthetic-data customer who generates tasks is at most watched and authorised; one who sweeps logits is neither."""
    agreed = judged(_score("task_harvest", 1.0), _score("tails", 0.999), authorised=("synthetic_data",))
    assert (agreed.level, agreed.authorised) == (Level.WATCH, True)
    sweeping = judged(_score("logit_sweep", 1.0), authorised=("synthetic_data",))
    assert (sweeping.level, sweeping.authorised) == (Level.CONFIRMED, False)


def test_an_excused_rule_does_not_raise_the_score() -> None:
    """What a contract allows leaves the rank to the peers."""
    scores = [_score("task_harvest", 1.0), _score("tails", 0.6)]
    assert combined(Policy(), _moment(authorised=("synthetic_data",)), scores) == pytest.approx(0.6)
    assert combined(Policy(), _moment(), scores) == pytest.approx(1 - 0.4 * 0.1)


def test_a_demoted_rule_only_watches_unless_the_peers_agree() -> None:
    """A certain rule that honest customers fulfil becomes a pattern; a pattern they fulfil never goes beyond WATCH."""
    careful = msgspec.structs.replace(
        Policy(), rules={"logit_sweep": demoted(CERTAIN, False), "task_harvest": demoted(PATTERN, True)}
    )
    assert _level([_score("logit_sweep", 1.0)], careful) is Level.WATCH
    assert _level([_score("logit_sweep", 1.0), _score("tails", 0.95)], careful) is Level.SUSPECT
    assert _level([_score("task_harvest", 1.0), _score("tails", 0.95)], careful) is Level.WATCH


@pytest.mark.parametrize(("first", "second"), list(product(Level, Level)))
def test_hysteresis_never_skips_down(first: Level, second: Level) -> None:
    """Whatever is called for next, a level falls by at most one step at a time."""
    calls = {Level.CLEAR: 0.0, Level.WATCH: 0.5, Level.SUSPECT: 0.75, Level.CONFIRMED: 1.0}
    policy = msgspec.structs.replace(
        Policy(), rules={"rejection_sampling": msgspec.structs.replace(CERTAIN, suspect=0.75, confirmed=1.0)}
    )
    standing = Standing()
    before = judge(policy, "m", standing, _moment(), [_score("rejection_sampling", calls[first])])
    after = judge(policy, "m", standing, _moment(at_us=T0 + 2 * DAY), [_score("rejection_sampling", calls[second])])
    assert before.level is first
    assert after.level is (second if second >= first else Level(first - 1))


def test_every_use_excuses_something_and_no_rule_knows_another() -> None:
    """The vocabulary of contracted uses is exactly what the rules' excuses are made of."""
    assert {use for rule in RULES.values() for use in rule.excused_by} == set(USES)


def test_the_leak_alarm_is_worth_a_look_and_says_why(judged: Judge) -> None:
    """From its bound on the verdict is leaking, at watch at least, and names the accountant's evidence as a reason."""
    quiet = judged(_score("boosted", 0.5), leak=ALARM - 0.01)
    assert (quiet.leaking, quiet.level) == (False, Level.CLEAR)
    alarmed = judged(_score("boosted", 0.5), leak=ALARM)
    assert (alarmed.leaking, alarmed.level) == (True, Level.WATCH)
    assert [reason.feature for reason in alarmed.reasons] == ["leak_evidence"]
    after = judged(_score("boosted", 0.5), leak=1.0)
    assert (after.leaking, after.level) == (False, Level.WATCH)


def test_the_leak_alarm_is_no_matter_of_contracted_uses(judged: Judge) -> None:
    """Whoever may make data takes valuable answers all day; nor does it speak where too little is known."""
    for use in USES:
        found = judged(_score("boosted", 0.5), leak=50.0, authorised=(use,))
        assert (found.leaking, found.level) == (False, Level.CLEAR)
    assert not judged(_score("boosted", 0.5), leak=50.0, evidence=4).leaking


def test_the_leak_alarm_gives_the_reason_that_its_scorer_gave(judged: Judge) -> None:
    """With its percentile, beside the strongest of the others."""
    given_reason = Reason("leak_evidence", 9.0, 99.5, "high", 1.0, "…")
    others = [Reason(f"f{at}", 1.0, 99.0, "high", 0.9, "…") for at in range(6)]
    found = judged(_score("leak", 0.95, given_reason), _score("tails", 0.99, *others), leak=9.0)
    assert given_reason in found.reasons
    assert len(found.reasons) == 5
