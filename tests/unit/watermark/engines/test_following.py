"""How an answer is followed through an engine that does not only go forward."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.watermark.engines.following import Following
from app.watermark.engines.keys import Marking
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marked, Marker

SECRET = MasterSecret(bytes(range(32)))
WIDE = MarkProfile(id="g4", scheme="gumbel", tokenizer="words-1", epoch="e1", coin=0.25)
NARROW = replace(WIDE, id="g1", context_width=1)
WORD = issued(SECRET, "tenant-1", 128, 16)

# Few different tokens, so that contexts repeat.
answers = st.lists(st.integers(0, 2), max_size=30)
profiles = st.sampled_from([NARROW, WIDE, replace(WIDE, id="g2", context_width=2, dedup="none")])


def _following(profile: MarkProfile) -> Following:
    return Following(Marking(profile, Prf(SECRET, profile), WORD))


def _by_marker(profile: MarkProfile, answer: list[int]) -> list[Marked | None]:
    marker = Marker(Prf(SECRET, profile), profile, WORD)
    return [marker.next(answer[:end]) for end in range(len(answer) + 1)]


@given(answers, profiles)
def test_forward_it_is_the_marker(answer: list[int], profile: MarkProfile) -> None:
    """One token after the other: the same numbers, and none for a repeated context."""
    following = _following(profile)
    assert [following.next(answer[:end]) for end in range(len(answer) + 1)] == _by_marker(profile, answer)


@given(answers, profiles)
def test_asking_twice_changes_nothing(answer: list[int], profile: MarkProfile) -> None:
    """A step that an engine threw away and does again is chosen by the same numbers."""
    following = _following(profile)
    for end, expected in enumerate(_by_marker(profile, answer)):
        assert [following.next(answer[:end]) for _ in range(3)] == [expected] * 3


@given(answers, profiles, st.integers(0, 30))
def test_a_resumed_answer_goes_on_as_before(answer: list[int], profile: MarkProfile, start: int) -> None:
    """A request that comes back with tokens is followed from there, with the contexts of all of them."""
    following = _following(profile)
    expected = _by_marker(profile, answer)
    for end in range(min(start, len(answer)), len(answer) + 1):
        assert following.next(answer[:end]) == expected[end]


@given(answers, st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=4), st.integers(0, 4)), max_size=8), profiles)
def test_drafts_leave_no_trace(answer: list[int], steps: list[tuple[list[int], int]], profile: MarkProfile) -> None:
    """Several places at once, of which only the first drafts are kept: what follows is as if the others had never been."""
    following = _following(profile)
    for drafts, kept in steps:
        expected = _by_marker(profile, answer + drafts)
        rows = [following.next(answer + drafts[:row]) for row in range(len(drafts) + 1)]
        assert rows == expected[len(answer) :]
        answer = [*answer, *drafts[:kept], 1]


def test_an_unknown_token_is_no_context() -> None:
    """A placeholder in the last tokens: chosen plainly, and marked again as soon as it is out of the context."""
    following = _following(WIDE)
    answer = [5, 6, -1, 8, 9, 10, 11]
    made = [following.next(answer[:end]) for end in range(4, 8)]
    assert [by is None for by in made] == [True, True, True, False]


def test_an_engine_that_repairs_its_placeholders_is_marked_from_then_on() -> None:
    """What was unknown when it was asked for stays unmarked; the answer goes on."""
    following = _following(WIDE)
    assert following.next([1, 2, 3, -1]) is None
    assert following.next([1, 2, 3, 4, 5]) == _following(WIDE).next([1, 2, 3, 4, 5])


def test_nothing_is_marked_before_the_context_is_full() -> None:
    """The prompt is no part of it."""
    following = _following(WIDE)
    assert [following.next([1] * length) for length in range(4)] == [None] * 4


def test_a_loop_is_left() -> None:
    """A context that came already is sampled plainly, so that an answer cannot run in a circle of its own numbers."""
    following = _following(WIDE)
    loop = [0, 1, 2] * 100
    assert sum(following.next(loop[:end]) is not None for end in range(300)) == 3
