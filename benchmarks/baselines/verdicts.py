"""What every method hands in: what it said of each key and when, as the benchmark's scorer reads it.

A baseline is a statistic of keys over time. Its threshold is what `FALSE_RATE` of the keys of the warm-up exceed, the only
traffic it may learn from; a key is flagged when it first exceeds it afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FALSE_RATE = 0.005


@dataclass(frozen=True, slots=True)
class Moment:
    """A statistic of a key at a time (unix seconds); higher is more suspicious."""

    key: str
    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Said:
    """What a method said of a key.

    Attributes:
        score: ranks keys, in any unit; the highest after the warm-up.
        flagged_at: when it was first flagged, in unix seconds; None if never.
    """

    score: float
    flagged_at: float | None = None


def from_moments(moments: Iterable[Moment], border: float) -> dict[str, Said]:
    """Key → what is said of it after the border; a key without a moment there is not in it.

    Args:
        moments: each key's in the order of time.
        border: end of the warm-up, in unix seconds.
    """
    before: dict[str, float] = {}
    after: dict[str, list[Moment]] = {}
    for one in moments:
        if one.at < border:
            before[one.key] = max(one.value, before.get(one.key, one.value))
        else:
            after.setdefault(one.key, []).append(one)
    limit = float(np.quantile(list(before.values()), 1.0 - FALSE_RATE, method="higher")) if before else np.inf
    return {
        key: Said(max(one.value for one in own), next((one.at for one in own if one.value > limit), None))
        for key, own in after.items()
    }


def write(path: Path, said: Mapping[str, Said]) -> None:
    """The scorer's verdicts.jsonl: scores become ranks in (0, 1], equal for equal ones."""
    order: Sequence[float] = sorted({one.score for one in said.values()})
    rank = {score: (place + 1) / len(order) for place, score in enumerate(order)}
    lines = [
        json.dumps(
            {
                "key": key,
                "score": rank[one.score],
                "level": "clear" if one.flagged_at is None else "suspect",
                "first_ts": one.flagged_at,
            }
        )
        for key, one in sorted(said.items())
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read(path: Path) -> dict[str, Said]:
    """A verdicts.jsonl, such as a replay's."""
    out = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        flagged = line["level"] in ("suspect", "confirmed")
        out[str(line["key"])] = Said(float(line["score"]), float(line["first_ts"]) if flagged else None)
    return out
