"""p-values of every method on every pair and size, kept in a file so that a run that was stopped goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.windows.protocol import SHARES, Plan, Tally, interval


@dataclass(slots=True)
class Results:
    """By pair, size and method; `left_out`: texts of a pair that were near-copies, across its sides and within honest."""

    plan: Plan
    tallies: dict[tuple[str, int, str], Tally] = field(default_factory=dict)
    left_out: dict[str, tuple[int, int]] = field(default_factory=dict)

    def pairs(self, size: int) -> list[str]:
        """With a figure for a size, in the order they were measured in."""
        return list(dict.fromkeys(pair for pair, of, _ in self.tallies if of == size))

    def power(self, size: int, method: str, level: float) -> dict[str, list[float]]:
        """Share of alarmed windows by pair, for each share of attacking texts."""
        return {
            pair: [self.tallies[pair, size, method].power(share, level) for share in SHARES]
            for pair in self.pairs(size)
            if (pair, size, method) in self.tallies
        }

    def mean_power(self, size: int, method: str, level: float) -> list[float]:
        """Mean over pairs, for each share."""
        return [float(value) for value in np.mean(list(self.power(size, method, level).values()), axis=0)]

    def false_alarms(self, size: int, method: str, level: float, disjoint: bool) -> tuple[int, int, float, float]:
        """Alarms, honest windows, and the exact 95 % interval of their rate, over all pairs."""
        found = [tally for (_, of, name), tally in self.tallies.items() if of == size and name == method]
        values = np.concatenate([tally.disjoint if disjoint else tally.honest for tally in found])
        alarms = int((values <= level).sum())
        return alarms, len(values), *interval(alarms, len(values))

    def write(self, path: Path) -> None:
        """As JSON; holds no text."""
        rows = [
            {"pair": pair, "size": size, "method": method, **asdict(tally)}
            for (pair, size, method), tally in self.tallies.items()
        ]
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"plan": asdict(self.plan), "left_out": self.left_out, "rows": rows}))
        new.replace(path)

    @classmethod
    def read(cls, path: Path, plan: Plan) -> Results:
        """What a file holds of the same plan; nothing where there is none."""
        if not path.is_file():
            return cls(plan)
        held = json.loads(path.read_text())
        if held["plan"] != asdict(plan):
            return cls(plan)
        out = cls(plan, left_out={pair: (copies, repeats) for pair, (copies, repeats) in held["left_out"].items()})
        for row in held["rows"]:
            attacked = {float(share): values for share, values in row["attacked"].items()}
            out.tallies[row["pair"], row["size"], row["method"]] = Tally(row["disjoint"], row["honest"], attacked)
        return out
