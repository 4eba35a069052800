"""Chooses the embedding: detection power per microsecond of every candidate, on the same texts in one run.

    python -m benchmarks.embedding [--pairs NAME …] [--windows 400] [--rounds 1]

For each candidate: time of a text from its characters to the embedding, in batches on one core; the same without what other
fingerprints need anyway (folding, tokens, hashes); bytes; power of the test of `embedding.power`, mean over the pairs of
`benchmarks.windows.pairs` and as often as `--rounds` deals the honest texts; and the same in another script, the letters of
all texts replaced by Cyrillic ones, which the table was not fitted to. The teacher's row needs the dependency group
`embedding`, its model, and half an hour where the texts are not in its cache; without them the run says so and goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.embedding.candidates import CANDIDATES, CUT_TOKENS, REFERENCE, Candidate, missing, only_tokens
from benchmarks.embedding.power import SHARES, SIZES, Powers, powers
from benchmarks.embedding.teacher import encode
from benchmarks.labelled import NoBench
from benchmarks.windows import pairs

TIMED = 400
TIMED_ENCODED = 32
"""Texts that are timed."""

OTHER_SCRIPT = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "".join(map(chr, (*range(0x0430, 0x044A), *range(0x0410, 0x042A)))),
)

SMALLEST = max(SIZES) * 11 // 5
"""Honest texts that a pair must have."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status is 1 when there are no texts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", choices=pairs.names(), default=pairs.names(), metavar="NAME")
    parser.add_argument("--windows", type=int, default=400, help="honest windows of each size (default: 400)")
    parser.add_argument("--rounds", type=int, default=1, help="deals of the honest texts (default: 1)")
    given = parser.parse_args(arguments)
    absent = missing()
    candidates = CANDIDATES if absent else (*CANDIDATES, REFERENCE)
    found: dict[tuple[str, bool], list[Powers]] = {}
    sample: list[str] = []
    used = 0
    try:
        for name in given.pairs:
            pair = pairs.load(name)
            if len(pair.honest) < SMALLEST:
                print(f"{name}: {len(pair.honest)} honest texts are too few", file=sys.stderr)
                continue
            used += 1
            sample += [*pair.honest[: TIMED // 20], *pair.attack[: TIMED // 20]]
            for candidate in candidates:
                for foreign in (False, True) if candidate.small else (False,):
                    found.setdefault((candidate.name, foreign), []).extend(_of_pair(candidate, pair, foreign, given))
            print(f"{name} measured", file=sys.stderr, flush=True)
    except NoBench as reason:
        print(f"benchmarks.embedding: {reason}", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print("\n".join(_table(candidates, found, sample[:TIMED], used)))
    if absent:
        print(f"\nThe row of the teacher is missing: {absent}")
    return 0


def _of_pair(candidate: Candidate, pair: pairs.Pair, foreign: bool, given: argparse.Namespace) -> list[Powers]:
    texts = [*pair.honest, *pair.attack]
    vectors = candidate.embed([text.translate(OTHER_SCRIPT) for text in texts] if foreign else texts)
    honest, attack = vectors[: len(pair.honest)], vectors[len(pair.honest) :]
    return [powers(honest, attack, given.windows, seed) for seed in range(given.rounds)]


def _table(
    candidates: Sequence[Candidate], found: dict[tuple[str, bool], list[Powers]], sample: list[str], used: int
) -> list[str]:
    cells = [(size, share) for size in SIZES for share in SHARES]
    spent = _least(lambda: only_tokens(sample), 5) / len(sample)
    head = ["Embedding", "µs a text", "beyond tokens", "bytes"]
    head += [f"{share:.0%} of {size}" for size, share in cells] + ["mean", "mean per 100 µs", "mean, other script"]
    lines = [
        f"{used} pairs; {len(sample)} texts timed, {np.mean([len(text) for text in sample]):.0f} characters on average",
        "",
        f"| {' | '.join(head)} |",
        f"| --- |{' ---: |' * (len(head) - 1)}",
    ]
    for candidate in candidates:
        took = _time(candidate, sample)
        row = {cell: float(np.mean([one[cell] for one in found[candidate.name, False]])) for cell in cells}
        mean = float(np.mean(list(row.values())))
        other = found.get((candidate.name, True))
        figures = [f"{took:,.0f}", f"{took - 1e6 * spent:,.0f}" if candidate.small else "", f"{candidate.size:,}"]
        figures += [f"{value:.2f}" for value in row.values()] + [f"{mean:.3f}", f"{100.0 * mean / took:.3g}"]
        figures.append(f"{np.mean([list(one.values()) for one in other]):.3f}" if other else "")
        lines.append(f"| {candidate.name} | {' | '.join(figures)} |")
    return lines


def _time(candidate: Candidate, sample: list[str]) -> float:
    """Microseconds per text."""
    if candidate.small:
        return 1e6 * _least(lambda: candidate.embed(sample), 5) / len(sample)
    some = sample[:: max(1, len(sample) // TIMED_ENCODED)][:TIMED_ENCODED]
    return 1e6 * _least(lambda: encode(some, CUT_TOKENS), 2) / len(some)


def _least(run: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        before = time.process_time()
        run()
        best = min(best, time.process_time() - before)
    return best


if __name__ == "__main__":
    raise SystemExit(main())
