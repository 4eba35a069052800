"""When a look is due."""

from __future__ import annotations

import pytest

from app.state.looks import Progress, read_looks
from app.worker.looker import due, told
from detectors.looks import DELAY_US, SETTLE_US, Dated

EVERY_US = 86_400_000_000
END_US = 10 * EVERY_US
"""Of interval 9."""

LATER_US = 1 << 60


def _progress(
    *newest_us: int, waiting: tuple[int, ...] = (), numbers: tuple[int, ...] = (9,), now: int = LATER_US
) -> Progress:
    return Progress(newest_us, frozenset(waiting), numbers, now)


@pytest.mark.parametrize(
    ("progress", "wanted"),
    [
        (_progress(), None),
        (_progress(END_US + SETTLE_US - 1, 0), None),
        (_progress(END_US + SETTLE_US, 0), 9),
        (_progress(END_US + SETTLE_US, END_US - 1, waiting=(1,)), None),
        (_progress(END_US + SETTLE_US, END_US, waiting=(1,)), 9),
        (_progress(END_US + DELAY_US, END_US - 1, waiting=(1,)), 9),
        (_progress(END_US + SETTLE_US, numbers=()), None),
        (_progress(END_US + SETTLE_US, numbers=(8, 9)), 8),
        (_progress(LATER_US, now=END_US - 1), None),
    ],
    ids=["idle", "early", "due", "behind", "not behind", "too late to wait", "no ballots", "in order", "fast clock"],
)
def test_a_look_is_due_when_nobody_is_behind_its_interval(progress: Progress, wanted: int | None) -> None:
    """Ten minutes after the interval's end by event time, and in any case when it has to count; one after the other."""
    assert due(progress, EVERY_US, None) == wanted
    assert due(progress, EVERY_US, Dated(9, END_US)) is None


def test_a_look_is_told_in_one_sentence() -> None:
    """Features are named by the catalogue; that the reference is old is said."""
    text = told(Dated(9, END_US, {"weekend_share": 0}, True, 120, 300, 4, 0.001))
    assert "frozen: weekend_share; more moved than may be frozen" in text
    assert "4 of 300 judged keys stand out" in text
    assert "no feature is frozen" in told(Dated(9, END_US))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"every_us": 1, "q": 0.05, "past": []}'])
def test_looks_of_another_rhythm_or_release_are_none(data: bytes) -> None:
    """Then the first look begins anew."""
    assert read_looks(data, EVERY_US, 0.1).past == ()
