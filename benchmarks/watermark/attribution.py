"""Who is named among 100,000 keys: from one text, and from a data set of which one document in a hundred is theirs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.watermark.texts import Clock, Writer, profile, secret, table, tenants, words_of
from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile

NAME = "attribution"
ONE_TEXT = ((1.0, 200), (1.0, 300), (1.0, 500), (0.5, 1000), (2.0, 100))


def add(parser: argparse.ArgumentParser) -> None:
    """How many keys, texts and runs."""
    parser.add_argument("--keys", type=int, default=100_000, help="issued codewords (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=200, help="single texts per row (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=10, help="data sets per row (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=1000, help="in a data set (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints two tables."""
    print(f"One text, {args.keys:,} keys, probability of any innocent named at most 1e-3\n")
    table(("bits per token", "scored tokens", "named", "innocents named"), _one(args))
    print(f"\n{args.documents:,} documents of 250 tokens at one bit, {args.keys:,} keys, the same bound\n")
    table(
        ("guilty keys", "documents each", "runs", "named", "log10 p: worst, median", "innocents named", "seconds a run"),
        _mixtures(args),
    )
    return 0


def _one(args: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    kind = profile()
    names = tenants(args.keys)
    master = secret(1)
    prf = Prf(master, kind)
    roster = Roster(names, words_of(master, names, kind), np.arange(kind.positions))
    for bits, length in ONE_TEXT:
        writer = Writer(prf, kind, bits, length)
        named = innocents = 0
        for number in range(args.texts):
            guilty = (number * 7919) % args.keys
            text = writer.marked(roster.words[guilty], length)
            found = attribute(Evidence.of(prf, kind, [text]), [roster], best=0)
            mine = [fit.name == names[guilty] for fit in found.named]
            named += any(mine)
            innocents += len(mine) - sum(mine)
        yield bits, length, f"{named / args.texts:.3f}", innocents


def _mixtures(args: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    hundredth = max(1, args.documents // 100)
    for guilty, each in ((1, hundredth), (20, hundredth), (2, args.documents // 2), (0, 0)):
        named = innocents = 0
        p: list[float] = []
        clock = Clock()
        for number in range(args.runs):
            print(f"\r{guilty} guilty: run {number + 1} of {args.runs}", end="", file=sys.stderr)
            mine, others, fits = _mixture(args, profile(), guilty, each, number)
            named, innocents = named + mine, innocents + others
            p += fits
        print("\r" + " " * 40, end="\r", file=sys.stderr)
        worst = f"{max(p):.1f}, {np.median(p):.1f}" if p else "-"
        yield guilty, each, args.runs, f"{named} of {guilty * args.runs}", worst, innocents, f"{clock() / args.runs:.1f}"


def _mixture(
    args: argparse.Namespace, kind: MarkProfile, guilty: int, each: int, number: int
) -> tuple[int, int, list[float]]:
    master = secret(100 + number)
    prf = Prf(master, kind)
    names = tenants(args.keys)
    roster = Roster(names, words_of(master, names, kind), np.arange(kind.positions))
    writer = Writer(prf, kind, 1.0, number)
    who = writer.randomness.choice(args.keys, guilty, replace=False).tolist()
    documents = [writer.marked(roster.words[tenant], 250) for tenant in who for _ in range(each)]
    documents += writer.clean(args.documents - len(documents), 250)
    order = writer.randomness.permutation(len(documents))
    found = attribute(Evidence.of(prf, kind, [documents[at] for at in order]), [roster], best=0)
    theirs = {names[tenant] for tenant in who}
    mine = [fit.log10_p for fit in found.named if fit.name in theirs]
    return len(mine), len(found.named) - len(mine), mine
