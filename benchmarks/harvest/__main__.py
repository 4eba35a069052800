"""Trains the network that rates one exchange, says what it does on worlds, families and strata it never saw, and writes it.

    python -m benchmarks.harvest [--train WORLDS …] [--test WORLDS …] [--noise 0.5] [--leave-out] [--write]

Worlds are named as in `benchmarks.training.worlds`. The table shows, at the ratio that 5 % of honest exchanges exceed (each
customer one vote, each stratum alike), the share of every family's exchanges above it and of every stratum's. `--leave-out`
trains again without each family and each stratum in turn and shows what becomes of it. `--write` writes the artefact.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.harvest.exchanges import Exchanges, exchanges
from benchmarks.harvest.training import train, weights
from benchmarks.labelled import ROOT, NoBench
from benchmarks.training import worlds
from detectors.fingerprint.harvest import SHAPE, Network

HONEST_ABOVE = 0.05
NOISE = 0.5
CARD = '''# Card of harvest.npz: how much more often harvesters than honest customers send an exchange like this one.
sha256 = "{sha256}"
exchanges = {exchanges}
worlds = [{worlds}]
made_by = "python -m benchmarks.harvest --write"
columns = [{columns}]
contents = """
first, first_bias, second, second_bias: float32 weights of a network with one hidden layer of rectified units over the
columns and the 64 components of the embedding; its result is a log density ratio"""
fitted_on = """
generated traffic of random worlds: fourteen families of harvesting and nineteen kinds of honest customers. Only weights are
kept; no text can be read back from them"""
good_for = """
weighing the exchanges of a key or a pool, many at a time, against the same weights of its peers"""
not_good_for = """
judging one exchange, or a key without peers: honest evaluation, audit and red-team exchanges look like harvests one by one,
and a kind of honest customer that was left out of training may be rated like a harvester"""
'''
"""What is written beside the weights."""

TRAIN = (
    "random:100-107,111-117", "random-ab:220-223", "random-ba:220,221", "random-bb:220,221,224", "random-ac:230,231",
    "random-bc:231,232", "random-ad:250,251", "random-bd:250,251", "random-af:250,251", "random-bf:250-252",
    "random-cc:300,302", "random-cd:320,321",
)  # fmt: skip
"""Three sets of texts and five packs of wordings: on one of each it learns the pack (docs/generalisation.md)."""

TEST = ("random:124-126",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and prints; writes when asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harvest", description=__doc__.splitlines()[0])
    parser.add_argument("--train", nargs="+", default=TRAIN, help="worlds (default: %(default)s)")
    parser.add_argument("--test", nargs="+", default=TEST, help="worlds (default: %(default)s)")
    parser.add_argument(
        "--noise", type=float, default=NOISE, help="added to embeddings while training (default: %(default)s)"
    )
    parser.add_argument("--leave-out", action="store_true", help="train again without each kind")
    parser.add_argument("--write", action="store_true", help="write over the shipped artefact")
    given = parser.parse_args(arguments)
    try:
        known, test = exchanges(worlds.runs(given.train)), exchanges(worlds.runs(given.test))
    except (NoBench, argparse.ArgumentTypeError) as wrong:
        print(wrong, file=sys.stderr)
        return 1
    print(f"{len(known):,} exchanges; tested on {len(test):,} of other worlds")
    for embedding in (True, False):
        print("\neverything:" if embedding else "\nwithout the embedding:")
        _table(train(known, embedding=embedding, noise=given.noise), test)
    if given.leave_out:
        _leave_out(known, test, given.noise)
    if given.write:
        _write(train(known, noise=given.noise), len(known), given.train)
    return 0


def _ratios(network: Network, of: Exchanges) -> NDArray[np.float64]:
    return network.ratios(of.columns).astype(np.float64)


def _border(ratios: NDArray[np.float64], of: Exchanges) -> float:
    """The ratio that HONEST_ABOVE of the honest exchanges exceed, by weight."""
    honest = ~of.attack
    order = np.argsort(ratios[honest])
    mass = np.cumsum(weights(of)[honest][order])
    return float(ratios[honest][order][np.searchsorted(mass, (1.0 - HONEST_ABOVE) * mass[-1])])


def _table(network: Network, test: Exchanges) -> None:
    ratios = _ratios(network, test)
    border = _border(ratios, test)
    area = roc_auc_score(test.attack, ratios, sample_weight=weights(test))
    print(f"AUROC {area:.3f}; {HONEST_ABOVE:.0%} of honest exchanges are above {border:.2f}")
    for attack in (True, False):
        of = test.attack == attack
        for kind in np.unique(test.kind[of]):
            rows = of & (test.kind == kind)
            above, mean = (ratios[rows] > border).mean(), ratios[rows].mean()
            print(f"  {kind:<22}{above:>6.0%} above, mean {mean:>5.1f}, n {rows.sum()}")


def _leave_out(known: Exchanges, test: Exchanges, noise: float) -> None:
    whole = _ratios(train(known, noise=noise), test)
    border = _border(whole, test)
    print("\nleft out of training: share above the border with it, without it")
    for kind in np.unique(known.kind):
        rows = test.kind == kind
        if not rows.any():
            continue
        without = _ratios(train(known.take(known.kind != kind), noise=noise), test)
        kept = test.take(~rows)
        line = _border(without[~rows], kept) if not test.attack[rows][0] else _border(without, test)
        print(f"  {kind:<22}{(whole[rows] > border).mean():>6.0%}{(without[rows] > line).mean():>6.0%}")


def _write(network: Network, count: int, names: Sequence[str]) -> None:
    data = io.BytesIO()
    np.savez_compressed(
        data,
        allow_pickle=False,
        first=network.first,
        first_bias=network.first_bias,
        second=network.second,
        second_bias=np.array([network.second_bias], np.float32),
    )
    folder = ROOT / "detectors" / "artefacts"
    (folder / "harvest.npz").write_bytes(data.getvalue())
    columns = ", ".join(f'"{name}"' for name in SHAPE)
    listed = ", ".join(f'"{name}"' for name in names)
    stated = {"sha256": sha256(data.getvalue()).hexdigest(), "exchanges": count, "worlds": listed, "columns": columns}
    (folder / "harvest.toml").write_text(CARD.format(**stated), "utf-8")
    print(f"wrote {folder / 'harvest.npz'}: {len(data.getvalue()):,} bytes")


if __name__ == "__main__":
    sys.exit(main())
