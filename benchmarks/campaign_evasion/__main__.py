"""What evasion costs an operation, and what still catches it.

    python -m benchmarks.campaign_evasion [--seeds 1 2 3] [--bases forced_cot pool_answering] [--parts settings channels]

Prints the tables of docs/evasion.md. It needs the labelled benchmark beside the checkout and says so without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from benchmarks.campaign_evasion import ablate, tables
from benchmarks.campaign_evasion.linkage import Operation, Outcome, every_key, judged, linked, operation_of
from benchmarks.campaign_evasion.multiplier import multiplier
from benchmarks.campaign_evasion.settings import BASES, CROWDS, MIXES, settings
from benchmarks.campaign_evasion.stage import Played, Stage, operations, outcomes, stage
from benchmarks.labelled import NoBench
from detectors.campaign.trace import Kind

PARTS = ("settings", "channels")

Found = dict[str, list[Outcome]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays, links and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--bases", choices=BASES, nargs="+", default=list(BASES))
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    given = parser.parse_args(arguments)
    try:
        for base in given.bases:
            for part in given.parts:
                _PRINT[part](base, given.seeds)
    except NoBench as error:
        print(f"benchmarks.campaign_evasion: {error}", file=sys.stderr)
        return 2
    return 0


def _settings(base: str, seeds: Sequence[int]) -> None:
    chosen = settings(base)
    found: Found = {one.name: [] for one in chosen}
    for seed in seeds:
        here = stage(seed)
        truth, played = operations(here, base)
        for one in chosen:
            operation = operation_of(truth, one.name, played, here.border_us)
            own = played.of(every_key(truth, one.name))
            found[one.name].append(_outcome(here, base, one.name, operation, own))
            _say(f"{base} {seed} {one.name}: {found[one.name][-1].linked:.2f} {found[one.name][-1].found:.2f}")
    print(f"\n### {base}: one evasion at a time, and all\n")
    print("\n".join(tables.rows(found, {one.name: one.text for one in chosen})))
    print(f"\n### {base}: cost at which half of the keys are found\n")
    _multipliers(found)


def _multipliers(found: Found) -> None:
    covers = ["naive", *(f"mix-{mix}" for mix in MIXES)]
    hidden = ["all", *(f"all-mix-{mix}" for mix in MIXES)]
    crowds = ["all", *(f"all-keys-{keys}" for keys, _ in CROWDS)]
    seeds = range(len(found["naive"]))
    print("| Axis | Linked or alone | Linked | Alone |\n| --- | --- | --- | --- |")
    for title, names, cost in (
        ("cover alone, requests per answer", covers, _requests),
        ("all else evaded, and cover, requests per answer", hidden, _requests),
        ("all else evaded, and more keys, accounts per 1,000 answers", crowds, _accounts),
    ):
        costs = [[cost(found[name][at]) / cost(found[names[0]][at]) for name in names] for at in seeds]
        cells = []
        for who in ("found", "linked", "alone"):
            shares = [[getattr(found[name][at], who) for name in names] for at in seeds]
            cells.append(str(multiplier(costs, shares)))
        print(f"| {title} | {' | '.join(cells)} |")


def _requests(one: Outcome) -> float:
    return one.operation.per_answer


def _accounts(one: Outcome) -> float:
    return one.operation.accounts


def _channels(base: str, seeds: Sequence[int]) -> None:
    names = [name for name in ablate.KINDS if name != "reasoning"]
    changes: dict[str, Callable[[Stage], list[ablate.Change]]] = {"everything": lambda _: []}
    changes |= {f"without {name}": partial(_without, name) for name in names}
    changes |= {f"nothing but {name}": partial(_only, name) for name in names}
    changes["nothing but a replayed block of reasoning"] = lambda _: [ablate.without(Kind), ablate.replaying]
    changes["no mark at all"] = lambda _: [ablate.without(Kind)]
    changes["contents that overlap as a crowd's do"] = lambda _: [ablate.overlapping]
    changes["what it asks about is what an honest key asks about"] = lambda here: [ablate.elsewhere(_pools(here))]
    found: Found = {name: [] for name in changes}
    for seed in seeds:
        here = stage(seed)
        truth, played = operations(here, base)
        operation = operation_of(truth, "naive", played, here.border_us)
        own = played.of(every_key(truth, "naive"))
        for name, change in changes.items():
            found[name].append(_outcome(here, base, name, operation, ablate.changed(own, *change(here))))
            _say(f"{base} {seed} {name}: {found[name][-1].linked:.2f}")
    print(f"\n### {base}: channels taken from the traces of the naive operation\n")
    print("\n".join(tables.ablated(found)))


def _without(name: str, _: Stage) -> list[ablate.Change]:
    return [ablate.without(ablate.KINDS[name])]


def _only(name: str, _: Stage) -> list[ablate.Change]:
    return [ablate.only(name)]


def _pools(here: Stage) -> list[bytes]:
    newest = {one.key_id: one for one in here.honest.traces}
    return [one.pool for _, one in sorted(newest.items()) if one.pooled >= 5.0]


def _outcome(here: Stage, base: str, name: str, operation: Operation, played: Played) -> Outcome:
    """What is found of an operation; found once on a machine for a linker."""
    kept = outcomes(base, here.seed) / name.replace(" ", "-")
    if not kept.is_file():
        kept.write_bytes(msgspec.msgpack.encode(judged(operation, played, *linked(here, played))))
    return msgspec.msgpack.decode(kept.read_bytes(), type=Outcome)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_PRINT: dict[str, Callable[[str, Sequence[int]], None]] = {"settings": _settings, "channels": _channels}


if __name__ == "__main__":
    raise SystemExit(main())
