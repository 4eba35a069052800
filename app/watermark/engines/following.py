"""Which numbers an answer's next token is chosen by, however an engine walks through the answer.

`detectors.watermark.sampling.Marker` goes forward one token at a time. An engine also asks for the same place again (a
prompt fed in parts, a step that is thrown away), comes back with tokens that were there already (a request that was set
aside and resumed), asks for several places at once, and takes tokens back (drafts that were not accepted). What is said
here depends on the answer's tokens alone, never on how often it was asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.watermark.engines.keys import Marking
from detectors.watermark.sampling import Marked


class Following:
    """One answer.

    Args:
        marking: how it is marked.
    """

    __slots__ = ("_first", "_marking", "_model_symbol", "_once", "_seeds", "_width", "_word")

    def __init__(self, marking: Marking) -> None:
        self._marking = marking
        self._word: list[int] = marking.word.tolist()
        self._width = marking.profile.context_width
        self._once = marking.profile.dedup == "answer"
        self._model_symbol = marking.profile.symbols
        self._seeds: list[int | None] = []
        """Of the contexts so far: the one of the first `width` tokens, and so on; None where a token is unknown."""
        self._first: dict[int, int] = {}
        """Where each seed came first."""

    @property
    def marking(self) -> Marking:
        """How the answer is marked."""
        return self._marking

    def next(self, answer: Sequence[int]) -> Marked | None:
        """For the token after these, which are without the prompt.

        An answer that is as long as one given before, or shorter, takes back what came after it; all tokens before its
        end are taken to be the ones that were given. So drafts may be asked about one after the other, and replaced.

        Returns:
            None: it is chosen plainly. Too few tokens stand before it, one of the last is unknown (below zero), or the
            context was there already.
        """
        at = len(answer) - self._width
        if at < 0:
            return None
        self._forget(at)
        for missed in range(len(self._seeds), at):
            self._remember(self._step(answer[missed : missed + self._width])[0])
        seed, position = self._step(answer[at:])
        self._remember(seed)
        if seed is None or (self._once and self._first[seed] < at):
            return None
        return Marked(seed, self._model_symbol if position < 0 else self._word[position])

    def _step(self, context: Sequence[int]) -> tuple[int | None, int]:
        if min(context) < 0:
            return None, -1
        return self._marking.prf.step(context)

    def _remember(self, seed: int | None) -> None:
        if seed is not None:
            self._first.setdefault(seed, len(self._seeds))
        self._seeds.append(seed)

    def _forget(self, at: int) -> None:
        while len(self._seeds) > at:
            seed = self._seeds.pop()
            if seed is not None and self._first[seed] == len(self._seeds):
                del self._first[seed]
