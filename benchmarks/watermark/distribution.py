"""Whether Gumbel marks leave the sampling distribution as it is: chi-square over keys, beside plain sampling."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.stats import chisquare

from benchmarks.watermark.texts import profile, secret, table, tenants, words_of
from detectors.watermark.green import biased
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.sampling import Marker, choose, plainly

NAME = "distribution"
SIZES = (2, 3, 10, 50, 100)


def add(parser: argparse.ArgumentParser) -> None:
    """How many keys."""
    parser.add_argument("--keys", type=int, default=20_000, help="each draws once per row (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints p-values of the chi-square test that tokens, and pairs of tokens in a row, have the model's shares."""
    table(
        ("candidates", "marked, one token", "marked, two in a row", "plain, one token", "green bias, one token"),
        _rows(args.keys),
    )
    return 0


def _rows(keys: int) -> Iterator[tuple[object, ...]]:
    kind, green = profile(), profile(scheme="green")
    for size in SIZES:
        randomness = np.random.default_rng(size)
        first, second = randomness.dirichlet(np.ones(size)), randomness.dirichlet(np.ones(size))
        offsets = offsets_of(np.arange(size))
        pairs, plain, bent = np.zeros((size, size)), np.zeros(size), np.zeros(size)
        for number in range(keys):
            master = secret(number)
            word = words_of(master, tenants(1), kind)[0]
            marker = Marker(Prf(master, kind), kind, word)
            by = marker.next([901, 902, 903, 904])
            assert by is not None
            one = choose(first, offsets, by)
            then = marker.next([902, 903, 904, one])
            assert then is not None
            pairs[one, choose(second, offsets, then)] += 1
            plain[plainly(first, randomness)] += 1
            gumbel = randomness.gumbel(size=size)
            bent[int((biased(np.log(first), green, offsets, by) + gumbel).argmax())] += 1
        yield (
            size,
            f"{_p(pairs.sum(axis=1), first):.3f}",
            f"{_p(pairs.ravel(), np.outer(first, second).ravel()):.3f}",
            f"{_p(plain, first):.3f}",
            f"{_p(bent, first):.3f}",
        )


def _p(counts: np.ndarray, shares: np.ndarray) -> float:
    expected = shares * counts.sum()
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    # Cells that expect fewer than five are put together, as the test demands.
    small = int(np.searchsorted(np.cumsum(expected), 5.0)) if expected[0] < 5 else 0
    while small < len(expected) and expected[small] < 5:
        small += 1
    if small:
        counts = np.append(counts[small:], counts[:small].sum())
        expected = np.append(expected[small:], expected[:small].sum())
    return float(chisquare(counts, expected).pvalue)
