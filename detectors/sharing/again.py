"""A key that does again what is looked for, among much else: its exchange counts, though it is no habit of the key's.

An operation that sends one request of its pool among twenty others keeps each mark below the share from which a trace calls
it a habit. What such an exchange carries is the whole of an indicator at once, and a customer who tries a prompt that goes
round does so once. So an exchange counts from the second on that has the same wording, or form of answer, within a week.
"""

from __future__ import annotations

from collections.abc import Callable

from detectors.campaign.trace import Kind, Trace, grams, with_marks, wordings
from detectors.fingerprint import Fingerprint
from detectors.sharing.indicator import DAY_US
from detectors.sharing.match import LEAST_HABIT

WITHIN_US = 7 * DAY_US
MOST_KEYS = 100_000
"""Keys whose last such exchange is remembered; the one that has been silent longest is forgotten first."""

MOST_MARKS = 8


def marks_of_exchange(fp: Fingerprint) -> list[int]:
    """Every mark that one exchange has by itself."""
    return [
        *(kind << 32 | item for kind, item in wordings(fp)),
        *(Kind.GRAM << 32 | item for item in grams(fp)),
    ]


class Again:
    """Remembers which keys have done something that is looked for, in this process."""

    def __init__(self) -> None:
        self._last: dict[str, dict[int, int]] = {}  # key id → mark → event time

    def compared(self, trace: Trace, fp: Fingerprint, named: Callable[[int], bool]) -> Trace:
        """The trace to compare after an exchange that has something looked for: with all of its marks the second time.

        Args:
            trace: cast after the exchange, to which the model gave an answer.
            fp: the exchange.
            named: whether an indicator names a mark.
        """
        mine = [kind << 32 | item for kind, item in wordings(fp) if named(kind << 32 | item)]
        if not mine:
            return trace
        before = self._last.pop(trace.key_id, {})
        again = any(trace.at_us - before[mark] <= WITHIN_US for mark in mine if mark in before)
        kept = {mark: at_us for mark, at_us in before.items() if mark not in mine} | dict.fromkeys(mine, trace.at_us)
        self._last[trace.key_id] = dict(list(kept.items())[-MOST_MARKS:])
        if len(self._last) > MOST_KEYS:
            del self._last[next(iter(self._last))]
        return with_marks(trace, marks_of_exchange(fp), LEAST_HABIT) if again else trace
