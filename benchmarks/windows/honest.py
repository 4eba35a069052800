"""False alarms of our own test where there are texts enough to count them: on windows that share no text.

Large honest sources are cut into chunks of `CHUNK` texts. A chunk is two halves, each in turn the reference for the
disjoint windows of the other; no text is in two chunks. The published methods are left out: their encoder is too slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import find_bench
from benchmarks.windows import pairs
from benchmarks.windows.queries import FORM, rows
from detectors.pooled import window as pooled

SOURCES = ("banking77", "mmlu_eval_requests", "sgd_dialogues", "t0_templated")
HALF = 1400
CHUNK = 2 * HALF
MOST = 25_200
"""Texts of a source that are read: nine chunks."""


def p_values(
    sizes: Sequence[int], other: dict[str, NDArray[np.float32]], told: Callable[[str], None]
) -> dict[str, dict[int, list[float]]]:
    """By source and size, of disjoint honest windows.

    Args:
        other: rows by honest and attacking source; those that are not related to the tested one are background and known
            harvest.

    Raises:
        NoBench: the data folder is missing.
    """
    data = find_bench().parent / "data"
    found: dict[str, dict[int, list[float]]] = {}
    for name in SOURCES:
        _, kept, _ = pairs.apart((), pairs.source(data, "benign", name, MOST))
        # What is left of near-copies is the first of each, so the order says which texts have many: dealt anew.
        kept = tuple(kept[at] for at in np.random.default_rng(0).permutation(len(kept)))
        background, harvest = (
            np.concatenate([other[source] for source in known if source not in pairs.related({name})])
            for known in (pairs.HONEST, pairs.ATTACKS)
        )
        found[name] = {size: [] for size in sizes}
        for start in range(0, len(kept) - CHUNK + 1, CHUNK):
            chunk = rows(kept[start : start + CHUNK])
            for reference, tested in ((chunk[:HALF], chunk[HALF:]), (chunk[HALF:], chunk[:HALF])):
                test = pooled.fit(reference, background, start, harvest, FORM)
                for size in sizes:
                    for window in range(HALF // size):
                        found[name][size].append(test.p_value(tested[window * size : (window + 1) * size]))
            told(f"{name}, {min(start + CHUNK, len(kept)):,} of {len(kept):,} texts")
    return found
