"""Detection rates of every method by group of keys, by the definitions of the benchmark's scorer.

As there: only what happens after the warm-up counts; keys without requests in that time, and attack keys that sent only
cover, are left out; authorised keys are neither honest nor attackers; a key that a method says nothing about has the
lowest score. A threshold is the smallest score that at most the given share of all honest keys reaches, in each run anew;
hits and keys of several runs are added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.baselines.verdicts import Said

FALSE_RATES = (0.005, 0.001)
BUSY = 100
HALF, QUARTER = "≥ 100 exchanges, half or more attack", "≥ 100 exchanges, 15 to 50 % attack"
GOALS: Mapping[str, float] = {HALF: 0.95, QUARTER: 0.80}
"""Groups at 0.5 % false positives."""


@dataclass(slots=True)
class Count:
    """Keys found of a group."""

    hits: int = 0
    keys: int = 0

    def add(self, hits: int, keys: int) -> None:
        """Of another run."""
        self.hits += hits
        self.keys += keys

    @property
    def rate(self) -> float:
        """0.0 of none."""
        return self.hits / self.keys if self.keys else 0.0


@dataclass(slots=True)
class Rates:
    """What one method does over the runs added so far.

    Attributes:
        found: (group, false-positive rate) → attack keys at or above the score of that rate.
        flagged: honest stratum → keys that the method itself flags.
        authorised: the same of authorised keys.
        waits: answered attack requests, after the warm-up, before each busy and mostly attacking key was flagged;
            infinite where it never was.
    """

    found: dict[tuple[str, float], Count] = field(default_factory=lambda: defaultdict(Count))
    flagged: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    authorised: Count = field(default_factory=Count)
    waits: list[float] = field(default_factory=list)

    def add(self, truth: dict[str, Any], said: Mapping[str, Said]) -> None:
        """The verdicts on one run."""
        keys: dict[str, dict[str, Any]] = truth["keys"]
        attack = [key for key, known in keys.items() if known["label"] == "attack" and known["attack_requests_eval"]]
        others = [key for key, known in keys.items() if known["label"] != "attack" and known["requests_eval"]]
        honest = [key for key in others if not keys[key].get("authorised")]
        scores = {key: one.score for key, one in said.items()}
        groups: dict[str, list[str]] = defaultdict(list)
        for key in attack:
            for group in groups_of(keys[key], truth["campaigns"][keys[key]["campaign"]]):
                groups[group].append(key)
        for rate in FALSE_RATES:
            bar = threshold([scores.get(key, -np.inf) for key in honest], rate)
            for group, members in groups.items():
                hits = sum(scores.get(key, -np.inf) >= bar for key in members)
                self.found[group, rate].add(hits, len(members))
        flags = {key for key, one in said.items() if one.flagged_at is not None}
        for key in honest:
            self.flagged[keys[key]["stratum"]].add(key in flags, 1)
        self.authorised.add(len(flags & (set(others) - set(honest))), len(others) - len(honest))
        self.waits += [_wait(truth, key, said.get(key)) for key in groups[HALF]]

    @property
    def false(self) -> Count:
        """Honest keys that the method itself flags."""
        return Count(sum(one.hits for one in self.flagged.values()), sum(one.keys for one in self.flagged.values()))


def groups_of(key: Mapping[str, Any], campaign: Mapping[str, Any]) -> list[str]:
    """Names of the groups that an attack key counts in."""
    out = ["all attack keys", "single-key attackers" if campaign["k"] == 1 else "campaign keys"]
    if key["requests"] >= BUSY and key["attack_fraction"] >= 0.5:
        out.append(HALF)
    elif key["requests"] >= BUSY and key["attack_fraction"] >= 0.15:
        out.append(QUARTER)
    out.append(f"family {campaign['family']}")
    return [*out, f"mix {campaign['mix']:g}", f"paraphrase {campaign['paraphrase']}"]


def threshold(honest: Sequence[float], false_rate: float) -> float:
    """Smallest score that at most this share of the honest keys reaches; above all of them if none is."""
    scores = np.sort(np.array(honest, np.float64))[::-1]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    fits = last[(last + 1) / len(scores) <= false_rate + 1e-12]
    return float(scores[fits[-1]]) if len(fits) else float(np.nextafter(scores[0], np.inf))


def order(groups: Sequence[str]) -> list[str]:
    """As they are told: whole, goals, families, mixes, paraphrases."""
    whole = ("all attack keys", "single-key attackers", "campaign keys", HALF, QUARTER)
    return sorted(set(groups), key=lambda name: (whole.index(name) if name in whole else len(whole), name))


def _wait(truth: dict[str, Any], key: str, said: Said | None) -> float:
    if said is None or said.flagged_at is None:
        return np.inf
    border = float(truth["warmup_until"])
    return float(sum(border <= answer[0] < said.flagged_at for answer in truth["keys"][key]["answered"]))
