"""How often a marked text of one suspected key is found at 1e-6, by its length and entropy, and how often a clean one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from benchmarks.watermark.texts import Writer, profile, secret, table, tenants, words_of, zipf
from detectors.watermark import single
from detectors.watermark.budget import expected_excess
from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf
from detectors.watermark.single import log10_tails

NAME = "power"
LENGTHS = ((1.0, 164), (0.5, 555), (0.25, 1955))
"""Bits per token and tokens at which theory has 90 %."""


def add(parser: argparse.ArgumentParser) -> None:
    """How many texts."""
    parser.add_argument("--texts", type=int, default=1000, help="per row (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    table(
        (
            "bits per token",
            "scored tokens",
            "excess per token, nats",
            "found at 1e-6",
            "clean at 1e-3 (of decoys)",
            "at 1e-4",
        ),
        _rows(args.texts),
    )
    return 0


def _rows(texts: int) -> Iterator[tuple[object, ...]]:
    kind = profile()
    for row, (bits, length) in enumerate(LENGTHS):
        found, below, decoys = 0, np.zeros(2), 0
        for number in range(texts):
            # A new secret a text: what is measured is a probability over secrets.
            master = secret(row * 1_000_000 + number)
            prf = Prf(master, kind)
            word = words_of(master, tenants(1), kind)[0]
            text = Writer(prf, kind, bits, number).marked(word, length)
            evidence = Evidence.of(prf, kind, [text])
            found += single.test(evidence, word).log10_p <= -6
            score, counted = evidence.decoys(200)
            p = log10_tails(kind, np.full(200, counted), score)
            below += [(p <= -3).sum(), (p <= -4).sum()]
            decoys += 200
        share = found / texts
        error = 1.96 * np.sqrt(share * (1 - share) / texts)
        yield (
            bits,
            length,
            f"{float(expected_excess(zipf(bits))):.3f}",
            f"{share:.3f} ± {error:.3f}",
            f"{below[0] / decoys:.2e} of {decoys:,}",
            f"{below[1] / decoys:.1e}",
        )
