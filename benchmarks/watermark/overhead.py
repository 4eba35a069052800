"""What marking a token costs over plain sampling, by the number of candidates."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.watermark.texts import profile, secret, table, tenants, words_of, zipf
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.sampling import Marker, choose, plainly

NAME = "overhead"


def add(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--tokens", type=int, default=20_000, help="per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="the median is printed (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    table(("candidates", "plain, us", "marked, us", "over plain, us", "times"), _rows(args))
    return 0


def _rows(args: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    kind = profile()
    master = secret(3)
    word = words_of(master, tenants(1), kind)[0]
    for size in (50, 1000, 32_000):
        tokens = max(200, args.tokens * 50 // max(50, size))
        p = zipf(1.0, size)
        offsets = offsets_of(np.arange(size))
        answer = np.random.default_rng(1).integers(0, 1 << 15, tokens + 4).tolist()
        randomness = np.random.default_rng(2)

        def plain(tokens: int = tokens, p: np.ndarray = p, randomness: np.random.Generator = randomness) -> None:
            for _ in range(tokens):
                plainly(p, randomness)

        def marked(
            tokens: int = tokens, p: np.ndarray = p, offsets: np.ndarray = offsets, answer: list[int] = answer
        ) -> None:
            marker = Marker(Prf(master, kind), kind, word)
            for at in range(tokens):
                by = marker.next(answer[at : at + 4])
                if by is not None:
                    choose(p, offsets, by)

        times = [(_took(plain) / tokens, _took(marked) / tokens) for _ in range(args.rounds)]
        one, other = (statistics.median(part) * 1e6 for part in zip(*times, strict=True))
        yield size, f"{one:.1f}", f"{other:.1f}", f"{other - one:.1f}", f"{other / one:.2f}"


def _took(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
