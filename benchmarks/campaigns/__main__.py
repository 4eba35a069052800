"""How well campaigns are found, how early, and whether any is seen where there is none.

    python -m benchmarks.campaigns score --worlds dev:4 dev:11 random-ae:700-703
    python -m benchmarks.campaigns early [--variants cot-shared pool-spread] [--seeds 1]
    python -m benchmarks.campaigns confounders [--wordings a b c d e f] [--seeds 1 2]
    python -m benchmarks.campaigns leave-out --families forced_cot relay --worlds dev:4 random:700-703
    python -m benchmarks.campaigns score --leave-out FAMILY --worlds …      the same tables, by trees that never saw it

Worlds are generated, fingerprinted and judged once, at a few minutes each, and kept in the temporary folder. Tables are
Markdown on stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from app.errors import StillwatchError
from benchmarks.campaigns import frames, left_out, tables
from benchmarks.campaigns.judged import Judged, digest, judged
from benchmarks.campaigns.left_out import NOTHING, Teaching
from benchmarks.labelled import NoBench
from benchmarks.training import worlds
from benchmarks.training.__main__ import HELD_OUT, TRAIN
from benchmarks.training.profiles import POOLS
from detectors.scorers.boosted import Boosted

WORDINGS = ("a", "b", "c", "d", "e", "f")
"""Packs of wordings: the benchmark's own, and the folders of `benchmarks.labelled.PACKS`."""

WORLDS = ("dev:4", "dev:11", "random:700-703", "random-ae:704,705")


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges and prints."""
    given = _parser().parse_args(arguments)
    digest()  # of the sources as they were imported
    try:
        for line in given.run(given):
            print(line, flush=True)
    except (NoBench, StillwatchError, argparse.ArgumentTypeError) as error:
        print(f"benchmarks.campaigns: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaigns", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    score = commands.add_parser("score", help="campaigns of labelled worlds")
    score.set_defaults(run=_score)
    score.add_argument("--leave-out", choices=sorted(POOLS), help="judge with trees that never saw this family")
    early = commands.add_parser("early", help="one operation of many quiet keys: how early it is detected")
    early.set_defaults(run=_early)
    early.add_argument("--variants", nargs="+", choices=list(frames.VARIANTS), default=list(frames.VARIANTS))
    confounders = commands.add_parser("confounders", help="worlds without any campaign")
    confounders.set_defaults(run=_confounders)
    confounders.add_argument("--wordings", nargs="+", choices=WORDINGS, default=list(WORDINGS))
    for part in (early, confounders):
        part.add_argument("--seeds", nargs="+", type=int, default=[1])
    families = commands.add_parser("leave-out", help="families in turn, by trees that never saw them")
    families.set_defaults(run=_left_out)
    families.add_argument("--families", nargs="+", choices=sorted(POOLS), default=sorted(POOLS))
    for part in (score, families):
        part.add_argument("--worlds", nargs="+", default=list(WORLDS), help="to judge (default: %(default)s)")
        part.add_argument("--train", nargs="+", default=list(TRAIN), help="worlds to learn from, of those that are here")
        part.add_argument("--held-out", nargs="+", default=list(HELD_OUT), help="worlds to calibrate the trees on")
    return parser


def _score(given: argparse.Namespace) -> Sequence[str]:
    trees, name = None, "shipped"
    if given.leave_out:
        trees, name = _trees(given.leave_out, _teaching(given))
    return list(tables.everything(_judged(given.worlds, trees, name)))


def _early(given: argparse.Namespace) -> Sequence[str]:
    names = [f"{frames.EARLY}-{variant}:{seed}" for variant in given.variants for seed in given.seeds]
    found = _judged(names)
    return [*tables.early(tables.all_campaigns(found)), "", *tables.by_stratum(found)]


def _confounders(given: argparse.Namespace) -> Sequence[str]:
    names = [f"{frames.CONFOUNDERS}-a{letter}:{seed}" for letter in given.wordings for seed in given.seeds]
    return list(tables.confounders(_judged(names)))


def _left_out(given: argparse.Namespace) -> Iterator[str]:
    teaching = _teaching(given)
    whole = _judged(given.worlds, *_trees(NOTHING, teaching))

    def rows() -> Iterator[tuple[str, Sequence[Judged], Sequence[Judged]]]:
        for family in given.families:
            known = [one for one in whole if tables.of_family([one], family)]
            if known:
                yield family, known, _judged([one.name for one in known], *_trees(family, teaching))

    return tables.left_out(rows())


def _teaching(given: argparse.Namespace) -> Teaching:
    return Teaching(left_out.available(given.train), left_out.available(given.held_out))


def _trees(family: str, teaching: Teaching) -> tuple[Boosted, str]:
    return left_out.trees_without(family, teaching), f"{family}-{teaching.name}"


def _judged(names: Sequence[str], trees: Boosted | None = None, trees_name: str = "shipped") -> list[Judged]:
    single = [f"{profile}:{seed}" for name in names for profile, seed in worlds.parsed(name)]
    return [judged(name, trees, trees_name) for name in dict.fromkeys(single)]


if __name__ == "__main__":
    raise SystemExit(main())
