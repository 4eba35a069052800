"""Worlds of this measurement, beside those of the benchmark and the random ones: one large and quiet operation, and none.

"early-VARIANT:seed" has the honest customers of the profile `dev` and one operation of 300 keys at 25 requests a day.
"confounders-aX:seed" has no operation, but many of the honest customers that look like one, on the benchmark's texts and
the wordings X ("a" the benchmark's own, else a folder of `benchmarks.labelled.PACKS`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.labelled import LabelledRun, find_bench, generate, kit_of, made
from benchmarks.training.profiles import Kit, toml

FRAME = "dev"
EARLY, CONFOUNDERS = "early", "confounders"

KEYS, RATE = 300, 25.0
"""Of the early operation: 7,500 requests a day, each key far below every limit."""

_COT: dict[str, Any] = {"family": "forced_cot", "pool": [{"source": "alpaca_52k_en"}, "codealpaca"]}
_POOL: dict[str, Any] = {"family": "pool_answering", "pool": [{"source": "alpaca_52k_en"}, "codealpaca"]}
_SEEDS: dict[str, Any] = {"family": "seed_generation", "pool": ["alpaca_generation_requests"]}
_SHARED: dict[str, Any] = {"infra": "shared", "timing": "round_robin", "accounts": "new", "stacks": 3}
_SPREAD: dict[str, Any] = {"infra": "residential", "timing": "circadian", "accounts": "aged", "stacks": 12}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "cot-shared": _COT | _SHARED,
    "cot-spread": _COT | _SPREAD,
    "cot-worded-shared": _COT | _SHARED | {"paraphrase": "per-key"},
    "cot-worded-spread": _COT | _SPREAD | {"paraphrase": "per-key"},
    "pool-shared": _POOL | _SHARED,
    "pool-spread": _POOL | _SPREAD,
    "seeds-shared": _SEEDS | _SHARED,
    "seeds-spread": _SEEDS | _SPREAD,
}
"""How the early operation harvests and hides: shared payments and narrow addresses, or each key as a person of its own."""

PLENTY: Mapping[str, Mapping[str, Any]] = {
    "viral_app": {"keys": 700, "groups": 5},
    "hackathon": {"keys": 300, "groups": 4, "rate": 10},
    "sharded_saas": {"keys": 240, "groups": 6, "rate": 8},
    "aggregator": {"keys": 8, "rate": 120},
    "ci_agent": {"keys": 50, "rate": 20},
    "eval_harness": {"keys": 130, "rate": 24},
    "migration": {"keys": 90, "rate": 14},
}
"""Strata of the frame that are enlarged where there is no operation."""

JUDGED_DAYS = 3.0
WARM_DAYS = 2.0


def run_of(profile: str, seed: int) -> LabelledRun:
    """The run of a profile of this module, or of any that `benchmarks.labelled` knows.

    Raises:
        NoBench: the benchmark is missing, knows no such world, or refuses the seed.
    """
    kind, _, variant = profile.partition("-")
    if kind == EARLY and variant in VARIANTS:
        frame = find_bench() / "profiles" / f"{FRAME}.toml"
        return made(profile, seed, early(frame, variant))
    if kind == CONFOUNDERS:
        bench = find_bench()
        frame = bench / "profiles" / f"{FRAME}.toml"
        data, kit = kit_of(variant, bench.parent / "data", Kit.of_frame(frame))
        return made(profile, seed, confounders(frame, kit), data)
    return generate(profile, seed)


def early(frame: Path, variant: str) -> str:
    """TOML of a world with one operation.

    Raises:
        KeyError: there is no such variant.
    """
    warm = WARM_DAYS
    spec = {
        "name": variant, "keys": KEYS, "rate": RATE, **VARIANTS[variant],
        "start_day": warm, "end_day": warm + JUDGED_DAYS,
    }  # fmt: skip
    campaign = ["", "[[campaigns]]", *(f"{name} = {toml(value)}" for name, value in spec.items())]
    found = tomllib.loads(frame.read_text())
    return "\n".join([*_world(EARLY, found, Kit.of_frame(frame), found["strata"]), *campaign]) + "\n"


def confounders(frame: Path, kit: Kit) -> str:
    """TOML of a world without any operation, on these texts and wordings."""
    found = tomllib.loads(frame.read_text())
    strata = {name: {**table, **PLENTY.get(name, {})} for name, table in found["strata"].items()}
    return "\n".join(_world(CONFOUNDERS, found, kit, strata)) + "\n"


def _world(name: str, frame: Mapping[str, Any], kit: Kit, strata: Mapping[str, Any]) -> list[str]:
    lines = [
        f'name = "{name}"',
        f"start = {frame['start']}",
        f"days = {WARM_DAYS + JUDGED_DAYS}",
        f"warmup_days = {WARM_DAYS}",
        f"launch_day = {WARM_DAYS + 1.3}",
        "contamination = 0.0",
        f"response_text_share = {frame['response_text_share']}",
        f'pack = "{kit.pack}"',
    ]
    for table, held in (("traces", kit.traces), ("roles", kit.roles), ("strata", strata)):
        lines += ["", f"[{table}]", *(f"{key} = {toml(value)}" for key, value in held.items())]
    return lines
