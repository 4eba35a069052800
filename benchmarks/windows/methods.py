"""Every method as one function: reference traffic → a test that gives a window its p-value.

The published ones compare a window's score with `NULL_WINDOWS` windows of the reference, on both sides as their adaptation
does. MMD comes twice: with the null of its paper, whose p-value is not what it says, and with one of the same statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.published.cap import Cap
from benchmarks.published.mahalanobis import Mahalanobis
from benchmarks.published.mmd import Mmd
from benchmarks.published.null import NULL_WINDOWS, drawn, two_sided, upper
from benchmarks.published.prada import Prada
from benchmarks.published.seat import Seat
from benchmarks.windows.queries import FORM, Queries
from detectors.pooled import window as pooled

Test = Callable[[Queries], float]
"""A window → p-value of "drawn from the reference traffic"."""

MAHALANOBIS_FITTED = 0.6
"""Share of the reference that the Gaussian is fitted to; the rest makes its null. Published: 7/8, of larger pools."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """What a method is fitted on: one part of the honest texts, and rows of unrelated honest traffic and of unrelated
    known harvests, shape (m, WIDTH)."""

    reference: Queries
    background: NDArray[np.float32]
    harvest: NDArray[np.float32]
    size: int
    seed: int
    null_windows: int = NULL_WINDOWS

    @property
    def rng(self) -> np.random.Generator:
        """The same numbers for every method."""
        return np.random.default_rng([self.seed, self.size])


@dataclass(frozen=True, slots=True)
class Method:
    """One detector.

    Attributes:
        room: windows of the size that the reference must hold for it.
        encoded: it sees the sentence encoder's embedding.
    """

    name: str
    fit: Callable[[Fitting], Test]
    room: float = 1.0
    encoded: bool = True


def _published(kind: type[Prada | Seat | Cap]) -> Callable[[Fitting], Test]:
    def fit(given: Fitting) -> Test:
        method = kind(given.reference.minilm)
        null = drawn(given.reference.minilm, given.size, method.statistic, given.rng, given.null_windows)
        return lambda window: two_sided(null, method.statistic(window.minilm))

    return fit


def _mahalanobis(given: Fitting) -> Test:
    rng, rows = given.rng, given.reference.minilm
    order = rng.permutation(len(rows))
    cut = round(MAHALANOBIS_FITTED * len(rows))
    method = Mahalanobis(rows[order[:cut]])
    null = drawn(rows[order[cut:]], given.size, method.statistic, rng, given.null_windows)
    return lambda window: two_sided(null, method.statistic(window.minilm))


def _mmd_published(given: Fitting) -> Test:
    rng = given.rng
    method = Mmd.fit(given.reference.minilm, rng)
    null = method.published_null(given.size, given.null_windows, rng)
    return lambda window: upper(null, method.statistic(window.minilm, rng))


def _mmd_matched(given: Fitting) -> Test:
    rng = given.rng
    method = Mmd.fit(given.reference.minilm, rng)
    null = method.matched_null(given.size, given.null_windows, rng)
    return lambda window: upper(null, method.statistic(window.minilm, rng))


def _stillwatch(given: Fitting) -> Test:
    test = pooled.fit(given.reference.ours, given.background, given.seed, given.harvest, FORM)
    return lambda window: test.p_value(window.ours)


MMD = Method("MMD", _mmd_published, 2.0)
METHODS = (
    Method("PRADA", _published(Prada)),
    Method("SEAT", _published(Seat)),
    Method("CAP", _published(Cap)),
    Method("Mahalanobis", _mahalanobis, 1.0 / (1.0 - MAHALANOBIS_FITTED)),
    MMD,
    Method("MMD, matched null", _mmd_matched, 2.0),
    Method("Stillwatch", _stillwatch, encoded=False),
)
