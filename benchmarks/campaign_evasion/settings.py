"""The attackers of the study: a naive operation, the same with one evasion, and with all of them, as worlds of the labelled
benchmark.

Every operation has its own pool order, keys, clock and disguise. They stand in one log to be generated together, and are
linked one at a time (`linkage`), so that none is found through another.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.labelled import PACKS
from benchmarks.training.profiles import toml

PACK = "e"
"""Wordings that nothing that is shipped was fitted on."""

KEYS, RATE = 40, 25.0
"""Keys of the naive operation, and its requests per key and day."""

CLIENTS = 4
"""Client installations of the naive operation. With one, a row of the table would say which one it drew."""

START_DAY, END_DAY = 2.0, 3.0
"""One day of harvest after two of warm-up."""

BASES: dict[str, dict[str, Any]] = {
    "forced_cot": {"family": "forced_cot", "pool": [{"source": "alpaca_52k_en", "limit": 12000}]},
    "pool_answering": {"family": "pool_answering", "pool": [{"source": "alpaca_52k_en", "limit": 12000}]},
}
"""What is harvested: reasoning in tags, asked for by one fragment; and plain answers to plain questions."""

NAIVE: dict[str, Any] = {
    "keys": KEYS,
    "rate": RATE,
    "mix": 1.0,
    "paraphrase": "none",
    "infra": "shared",
    "accounts": "new",
    "timing": "round_robin",
    "contract": "stable",
    "stacks": CLIENTS,
    "partition": "disjoint",
    "start_day": START_DAY,
    "end_day": END_DAY,
}

MIXES = (0.5, 0.25, 0.1, 0.05)
CROWDS = ((100, 10.0), (200, 5.0), (400, 2.5))
"""More keys with the same number of requests in all."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One operation.

    Attributes:
        name: unique within its base.
        text: what the operator does, as the row of a table.
        changes: fields of a campaign of the benchmark that differ from NAIVE.
    """

    name: str
    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mix(self) -> float:
        """Share of its requests that harvest."""
        return float(self.changes.get("mix", 1.0))

    @property
    def keys(self) -> int:
        """Keys it has."""
        return int(self.changes.get("keys", KEYS))


SPOKEN = (
    Setting("per-key", "another wording for every key", {"paraphrase": "per-key"}),
    Setting("per-request", "another wording for every request", {"paraphrase": "per-request"}),
    Setting("contract", "other answer tags for every key", {"contract": "varied"}),
)
"""Evasions of operations that say something of their own; a pool of questions has no wording."""

SILENT = (
    Setting("stacks", "another client for every key", {"stacks": KEYS}),
    Setting("residential", "own payment and home addresses for every key", {"infra": "residential"}),
    Setting("aged", "accounts of weeks, most of them used before", {"accounts": "aged"}),
    Setting("circadian", "the hours of a person", {"timing": "circadian"}),
    Setting("repeat", "every question on four keys", {"partition": "repeat:4"}),
    *(Setting(f"mix-{mix}", f"{mix:.0%} harvest, the rest cover", {"mix": mix}) for mix in MIXES),
    Setting("keys-400", "400 keys at 2.5 requests a day", {"keys": 400, "rate": 2.5}),
    Setting("failover", "all keys replaced at noon, within minutes", {"failover": {"day": 2.5, "keys": KEYS}}),
    Setting("pivot", "half of it moves to a model of that day", {"pivot": True, "accounts": "aged"}),
)

ALL: dict[str, Any] = {
    "stacks": KEYS,
    "infra": "residential",
    "accounts": "aged",
    "timing": "circadian",
}
ALL_SPOKEN: dict[str, Any] = {"paraphrase": "per-request", "contract": "varied"}
"""Every evasion but cover and more accounts, which cost requests and accounts."""


def settings(base: str) -> tuple[Setting, ...]:
    """The operations of a base, the naive one first.

    Raises:
        KeyError: there is no such base.
    """
    family = BASES[base]["family"]
    spoken = family == "forced_cot"
    everything = ALL | (ALL_SPOKEN if spoken else {})
    crowds = [
        Setting(
            f"all-keys-{keys}", f"all of these, and {keys} keys", {**everything, "keys": keys, "rate": rate, "stacks": keys}
        )
        for keys, rate in CROWDS
    ]
    covers = [
        Setting(f"all-mix-{mix}", f"all of these, and {1 - mix:.0%} cover", {**everything, "mix": mix}) for mix in MIXES
    ]
    return (
        Setting("naive", "four clients, shared payment and addresses, new accounts"),
        *(SPOKEN if spoken else ()),
        *SILENT,
        Setting("all", "all of these, without cover", everything),
        *covers,
        *crowds,
    )


def world(frame: Path, base: str | None) -> str:
    """TOML of a world: the honest customers of a profile, and the operations of a base.

    Worlds of one seed have the same honest customers, whatever operations stand beside them.

    Args:
        frame: profile of the benchmark whose honest customers are taken.
        base: None for a world without any operation.
    """
    found = tomllib.loads(frame.read_text())
    lines = [
        'name = "evasion"',
        f"start = {found['start']}",
        f"days = {END_DAY + 0.2}",
        f"warmup_days = {START_DAY}",
        f"launch_day = {START_DAY + 0.3}",
        "contamination = 0.0",
        f"response_text_share = {found['response_text_share']}",
        f'pack = "{PACKS / PACK}"',
    ]
    for table in ("traces", "roles", "strata"):
        lines += ["", f"[{table}]", *(f"{name} = {toml(value)}" for name, value in found[table].items())]
    for setting in settings(base) if base else ():
        spec = {"name": setting.name, **BASES[base or ""], **NAIVE, **setting.changes}
        lines += ["", "[[campaigns]]", *(f"{name} = {toml(value)}" for name, value in spec.items())]
    return "\n".join(lines) + "\n"
