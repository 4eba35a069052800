"""The published detectors, per key: each sees the embeddings of the key's own queries, in windows, beside the warm-up's.

A key's queries are cut into disjoint windows of 5, then 20, then 100: the largest size that it has filled so far. A
window's statistic is told in units of what one in a hundred windows of its size exceeds in the warm-up, so that sizes can
be compared. Half of the warm-up's keys, chosen by hash, are the reference that methods are fitted on; the other half make
these thresholds. The embedding is our own, of 64 directions, which is what a gateway can afford: not the published one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from benchmarks.baselines.verdicts import Moment
from benchmarks.published.cap import Cap
from benchmarks.published.mahalanobis import Mahalanobis
from benchmarks.published.mmd import Mmd
from benchmarks.published.prada import Prada
from benchmarks.published.seat import Seat
from detectors.analysis import REFUSED
from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint.embedding import vector

SIZES = (5, 20, 100)
PER_KEY, REFERENCE = 20, 2000
"""Queries of one key in the reference, and of all."""

RARE = 0.01
LEAST_WINDOWS = 30
"""Windows of a size in the warm-up below which nothing is said about that size."""

_MICRO = 1_000_000
_EVEN = 1e-9

Embeddings = NDArray[np.float32]
Statistic = Callable[[Embeddings], float]


@dataclass(frozen=True, slots=True)
class Window:
    """Queries of a key: unit embeddings of shape (size, 64); `at` is the time of the last, in unix seconds."""

    key: str
    at: float
    queries: Embeddings


def windows(items: Sequence[tuple[Event, Fingerprint]]) -> list[Window]:
    """Of every key, in the order of time; queries without words and refused ones are not in them."""
    queues: dict[str, list[Embeddings]] = {}
    counts: dict[str, int] = {}
    out = []
    for event, fp in items:
        if event.outcome == REFUSED or not fp.embedding:
            continue
        key = event.key_id
        queue = queues.setdefault(key, [])
        queue.append(vector(fp.embedding))
        counts[key] = counts.get(key, 0) + 1
        del queue[: -SIZES[-1]]
        size = max((size for size in SIZES if size <= counts[key]), default=0)
        if size and counts[key] % size == 0:
            found = np.stack(queue[-size:])
            lengths = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
            out.append(Window(key, event.at_us / _MICRO, found / lengths))
    return out


def is_reference(key: str) -> bool:
    """Whether methods are fitted on this key's warm-up."""
    return xxh3_64_intdigest(key.encode()) % 2 == 0


def reference(found: Sequence[Window], border: float, seed: int = 0) -> Embeddings:
    """Queries of the warm-up's reference keys, a few of each key, float32 of shape (≤ REFERENCE, 64)."""
    own: dict[str, list[Embeddings]] = {}
    for one in found:
        if one.at < border and is_reference(one.key):
            own.setdefault(one.key, []).append(one.queries)
    rng = np.random.default_rng(seed)
    parts = []
    for _, some in sorted(own.items()):
        together = np.unique(np.concatenate(some), axis=0)
        parts.append(together[rng.permutation(len(together))[:PER_KEY]])
    whole = np.concatenate(parts)
    chosen: Embeddings = whole[rng.permutation(len(whole))[:REFERENCE]]
    return chosen


def methods(known: Embeddings) -> dict[str, tuple[Statistic, bool]]:
    """Name → statistic of a window, and whether both of its sides are odd."""
    mmd = Mmd.fit(known, np.random.default_rng(0))
    published = (Prada(known), Seat(known), Cap(known), Mahalanobis(known))
    out: dict[str, tuple[Statistic, bool]] = {one.name: (one.statistic, True) for one in published}
    return {**out, "MMD": (lambda window: mmd.statistic(window, np.random.default_rng(0)), False)}


def moments(statistic: Statistic, both: bool, found: Sequence[Window], border: float) -> Iterator[Moment]:
    """What a method says of windows; 1.0 is what one in a hundred windows of the size exceeds in the warm-up."""
    values = np.array([statistic(one.queries) for one in found])
    sizes = np.array([len(one.queries) for one in found])
    null = np.array([one.at < border and not is_reference(one.key) for one in found])
    told = np.array([one.at >= border for one in found]) | null
    for size in SIZES:
        at = np.flatnonzero((sizes == size) & told)
        usual = values[(sizes == size) & null]
        if len(usual) < LEAST_WINDOWS:
            continue
        values[at] = ratios(values[at], usual, both)
        sizes[at] = -size
    for one, value, size in zip(found, values.tolist(), sizes.tolist(), strict=True):
        if size < 0:
            yield Moment(one.key, one.at, value)


def ratios(values: NDArray[np.float64], usual: NDArray[np.float64], both: bool) -> NDArray[np.float64]:
    """Distance from the usual median in units of the usual (half-)hundredth on that side."""
    rare = RARE / 2 if both else RARE
    low, middle, high = np.quantile(usual, (rare, 0.5, 1.0 - rare)).tolist()
    above: NDArray[np.float64] = (values - middle) / max(high - middle, _EVEN)
    if both and middle - low > _EVEN:
        above = np.maximum(above, (middle - values) / (middle - low))
    return above
