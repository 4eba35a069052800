"""Code-keyed Gumbel-max sampling: the next token by keyed numbers instead of random ones.

argmax of log(u) / p over the candidates, u the keyed uniforms, is a draw from p exactly (the Gumbel-max trick; Aaronson
2022), so over keys the model's distribution is left as it is. Which numbers: those of the tenant's symbol at the step's
position, or, where the keyed coin says so, those of the model-level channel, alike for all tenants. A context that came
already in this answer is sampled plainly: the same numbers again would repeat the same choice, and loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.prf import Prf, uniforms
from detectors.watermark.registry import MarkProfile

_NEVER = 1e-300
"""In place of a probability of zero: never chosen beside any other, and no division by zero."""


class Marked(NamedTuple):
    """Which numbers a token is chosen by."""

    seed: int
    symbol: int


class Marker:
    """Follows one answer: which numbers its next token is chosen by.

    Args:
        prf: under the epoch's secret and the profile.
        profile: whose `dedup` it keeps to.
        word: the tenant's codeword: uint8 of shape (positions,).
    """

    __slots__ = ("_model_symbol", "_once", "_prf", "_seen", "_width", "_word")

    def __init__(self, prf: Prf, profile: MarkProfile, word: NDArray[np.uint8]) -> None:
        if word.shape != (profile.positions,):
            raise ValueError(f"word: a codeword of {profile.positions} symbols is needed, not one of shape {word.shape}")
        self._prf = prf
        self._word: list[int] = word.tolist()
        self._width = profile.context_width
        self._once = profile.dedup == "answer"
        self._model_symbol = profile.symbols
        self._seen: set[int] = set()

    def next(self, answer: Sequence[int]) -> Marked | None:
        """For the token after the answer so far, which is without the prompt.

        None: it is chosen plainly, because too few tokens stand before it or the context was there already.
        """
        if len(answer) < self._width:
            return None
        seed, position = self._prf.step(answer)
        if self._once:
            if seed in self._seen:
                return None
            self._seen.add(seed)
        return Marked(seed, self._model_symbol if position < 0 else self._word[position])


def choose(probabilities: NDArray[np.float64], offsets: NDArray[np.uint64], by: Marked) -> int:
    """Index of the candidate that the keyed numbers choose.

    Args:
        probabilities: of the candidates, after temperature and truncation; any scale; shape (n,).
        offsets: of the same candidates (`detectors.watermark.prf.offsets_of`); shape (n,).
        by: which numbers.
    """
    numbers = uniforms(by.seed, by.symbol, offsets)
    np.log(numbers, numbers)
    np.divide(numbers, np.maximum(probabilities, _NEVER), numbers)
    return int(numbers.argmax())


def noise(offsets: NDArray[np.uint64], by: Marked) -> NDArray[np.float64]:
    """Keyed Gumbel noise: added to the logits divided by the temperature, their argmax is the choice. Shape (n,)."""
    return -np.log(-np.log(uniforms(by.seed, by.symbol, offsets)))


def plainly(probabilities: NDArray[np.float64], randomness: np.random.Generator) -> int:
    """Index of a candidate drawn without a key."""
    numbers = randomness.random(len(probabilities))
    # A draw is in [0, 1); what is left of 1 is in (0, 1], so its logarithm is finite.
    np.subtract(1.0, numbers, numbers)
    np.log(numbers, numbers)
    np.divide(numbers, np.maximum(probabilities, _NEVER), numbers)
    return int(numbers.argmax())
