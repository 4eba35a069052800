"""Trains what is shipped, and says how it does on what it never saw.

    python -m benchmarks.training fit [--write]       fits the boosted trees and judges them on other worlds
    python -m benchmarks.training signs               in which sources a feature turns its side
    python -m benchmarks.training leave-out           every family and stratum left out in turn, the worst first
        [--without "ratio of single exchanges"]       … without what another artefact, which saw all families, says of them
    python -m benchmarks.training ablation            what each group and each feature is worth

Worlds are generated and played once, at about half a minute each, and kept in the temporary folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.labelled import LabelledRun, NoBench
from benchmarks.training import ablation, ship, worlds
from benchmarks.training.fit import GROUPS, fit, usable, used
from benchmarks.training.judge import by_key, summary
from benchmarks.training.leave_out import leave_out
from benchmarks.training.rows import LabelledRows, joined, labelled_rows
from benchmarks.training.signs import TURNS, corpora, signs
from detectors.scorers.boosted import Boosted

TRAIN = (
    "random:108-110,118-123,128-131", "random-ab:240-242", "random-ba:240,241", "random-bb:240-243", "random-ac:240-242",
    "random-bc:240-242", "random-ad:260,261", "random-bd:260,261", "random-af:260,261", "random-bf:260,261",
    "random-cc:310-312", "random-cd:322-324",
)  # fmt: skip
"""Worlds that no other shipped artefact was fitted on, so that what those say about them is no memory."""

HELD_OUT = ("random:126,127", "random-bf:262", "random-ac:243")
"""For the shipped calibration, and to judge on beside the benchmark's own profile."""

TEST = ("dev:4",)


def chosen(rows: LabelledRows, runs: Sequence[LabelledRun]) -> tuple[list[str], list[str]]:
    """Features to train on: those whose side does not turn; and of these the ones on another side than the catalogue's,
    which are not constrained: few honest pipelines have as many words of their own as harvesters have."""
    found = {one.name: one for one in signs(rows.take(usable(rows)), corpora(runs))}
    names = [name for name in used() if found[name].turns < TURNS]
    return names, [name for name in names if found[name].against]


def main() -> int:
    """Runs one of the commands."""
    parser = argparse.ArgumentParser(description="Train and examine the shipped models.")
    parser.add_argument("command", choices=("fit", "signs", "leave-out", "ablation"))
    parser.add_argument("--write", action="store_true", help="write the artefact and its card")
    parser.add_argument("--train", nargs="+", default=list(TRAIN), help="worlds (default: %(default)s)")
    parser.add_argument("--held-out", nargs="+", default=list(HELD_OUT), help="worlds (default: %(default)s)")
    parser.add_argument("--test", nargs="+", default=list(TEST), help="worlds (default: %(default)s)")
    parser.add_argument("--without", choices=tuple(GROUPS), help="features that the trees do not see")
    args = parser.parse_args()
    try:
        runs = worlds.runs(args.train)
        train, held, test = (
            joined([labelled_rows(run) for run in part])
            for part in (runs, worlds.runs(args.held_out), worlds.runs(args.test))
        )
    except (NoBench, argparse.ArgumentTypeError) as error:
        print(f"training: not possible, {error}", file=sys.stderr)
        return 1
    names, free = chosen(train, runs)
    names = [name for name in names if name not in GROUPS.get(args.without, ())]
    if args.command == "signs":
        return _print_signs(train, runs, names)
    if args.command == "leave-out":
        return _print_left_out(train, joined([test, held]), names, free)
    if args.command == "ablation":
        return _print_ablation(train, test, names, free)
    trees = ship.calibrated(fit(train, names, free), held)
    lines = []
    for name, rows in ((", ".join(args.test), test), (", ".join(args.held_out), held)):
        lines += [f"{name}:", *summary(by_key(rows, trees.log_odds(rows.matrix)))]
    print("\n".join(lines))
    if args.write:
        ship.write(trees, _card(args.train, args.held_out, trees, lines))
    return 0


def _card(train: Sequence[str], held: Sequence[str], trees: Boosted, lines: Sequence[str]) -> dict[str, object]:
    return {
        "made_by": "python -m benchmarks.training fit --write",
        "contents": "trees by node, the log-odds each model starts from, log-odds of honest organisations for calibration",
        "worlds": list(train),
        "calibration_worlds": list(held),
        "calibration_organisations": len(trees.peers),
        "models": len(trees.base),
        "trees": len(trees.feature),
        "fitted_on": "generated traffic of random worlds: fourteen families of harvesting and nineteen kinds of honest "
        "customers. Only thresholds and log-odds are kept; no text can be read back from them.",
        "good_for": "ranking keys by how much their traffic looks like a harvest, from the first dozens of exchanges on",
        "not_good_for": "a verdict without the peers of one's own history; kinds of customers that no world has",
        "figures": list(lines),
    }


def _print_signs(train: LabelledRows, runs: Sequence[LabelledRun], names: Sequence[str]) -> int:
    print(f"{'feature':<28} {'AUC':>6} {'pairs':>6} {'turns':>6}")
    for one in sorted(signs(train.take(usable(train)), corpora(runs)), key=lambda one: -one.turns):
        notes = ["left out"] * (one.name not in names) + ["against the catalogue"] * one.against
        print(f"{one.name:<28} {one.auc:>6.3f} {one.pairs:>6} {one.turns:>6.2f}  {', '.join(notes)}".rstrip())
    return 0


def _print_left_out(train: LabelledRows, test: LabelledRows, names: Sequence[str], free: Sequence[str]) -> int:
    print(f"{'left out':<24} {'':<8} {'keys':>6} {'known':>7} {'unknown':>8} {'loss':>7}")
    found = []
    for one in leave_out(train, test, names, free):
        print(f"left out {one.kind}: {one.known:.3f} known, {one.unknown:.3f} unknown", file=sys.stderr, flush=True)
        found.append(one)
    for one in sorted(found, key=lambda one: -one.loss):
        kind = "family" if one.attack else "stratum"
        print(f"{one.kind:<24} {kind:<8} {one.keys:>6} {one.known:>7.3f} {one.unknown:>8.3f} {one.loss:>7.3f}", flush=True)
    return 0


def _print_ablation(train: LabelledRows, test: LabelledRows, names: Sequence[str], free: Sequence[str]) -> int:
    print(f"{'without the group':<28} {'AUC':>7} {'recall':>7} {'alone':>7}")
    for one in ablation.groups(train, test, names, free):
        print(
            f"{one.name:<28} {one.auc:>7.4f} {one.recall:>7.3f} {'' if one.alone is None else f'{one.alone:>7.3f}'}",
            flush=True,
        )
    print(f"\n{'shuffled':<28} {'AUC':>7} {'recall':>7}")
    for one in sorted(ablation.features(fit(train, names, free), test), key=lambda one: one.recall):
        print(f"{one.name:<28} {one.auc:>7.4f} {one.recall:>7.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
