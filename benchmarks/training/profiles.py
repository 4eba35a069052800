"""Random worlds for the labelled traffic generator: no campaign, mix or population is the one of a published profile.

A detector that is fitted on one list of campaigns learns the list. Here every world draws its own: families, numbers of
keys, rates, shares of cover traffic, wording, timing, disguise, and how many honest customers of each kind there are.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

POOLS: dict[str, tuple[str, ...]] = {
    "seed_generation": ("alpaca_generation_requests",),
    "pool_answering": ("alpaca_52k_en", "gpteacher_roleplay", "zena007_teacher_log", "codealpaca"),
    "forced_cot": ("alpaca_52k_en", "codealpaca", "zeroshot_cot_gsm8k_requests"),
    "reconstruction": ("codealpaca", "alpaca_52k_en"),
    "rubric_judge": ("alpaca_52k_en", "codealpaca"),
    "evol_rewrite": ("evol_rewrite_requests",),
    "persona_grid": (),
    "rejection_sampling": ("zeroshot_cot_gsm8k_requests", "codealpaca"),
    "tool_trajectory": ("codealpaca", "alpaca_52k_en"),
    "logit_sweep": (),
    "transcript_cleaning": ("codealpaca", "alpaca_52k_en"),
    "relay": (),
    "probe": ("zena007_teacher_log",),
    "self_chat": ("alpaca_52k_en", "gpteacher_roleplay"),
}
"""Families and the generator's corpora that each may draw on; empty for those that make their own prompts."""

NEVER_MIXED = ("logit_sweep",)
SHAPES = ((1, 250.0), (1, 850.0), (3, 120.0), (8, 85.0), (10, 60.0), (20, 40.0), (40, 20.0), (60, 10.0))
"""Keys of a campaign and requests per key and day: from one busy key to many quiet ones."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a world says and whose texts it takes.

    Attributes:
        pack: folder of wordings, tool schemas and models.
        roles: role of honest texts → references to sources, as in a profile.
        traces: use → names of traces.
        pools: family → references to sources that its campaigns may draw on; empty for those that make their own prompts.
    """

    pack: Path
    roles: Mapping[str, Any]
    traces: Mapping[str, Any]
    pools: Mapping[str, Sequence[Any]]

    @classmethod
    def of_frame(cls, base: Path) -> Kit:
        """The kit of a profile of the benchmark."""
        frame = tomllib.loads(base.read_text())
        return cls((base.parent / frame["pack"]).resolve(), frame["roles"], frame["traces"], POOLS)

    def with_texts(self, path: Path) -> Kit:
        """With the roles, traces and pools of a TOML."""
        found = tomllib.loads(path.read_text())
        return replace(self, roles=found["roles"], traces=found.get("traces") or self.traces, pools=found["pools"])

    def with_pack(self, pack: Path) -> Kit:
        """With other wordings."""
        return replace(self, pack=pack.resolve())


def draw(base: Path, seed: int, kit: Kit | None = None) -> str:
    """TOML of a random world.

    Args:
        base: a profile whose strata are taken as the frame.
        seed: of every choice.
        kit: corpora and wordings (default: those of the base).
    """
    rng = random.Random(seed)
    frame = tomllib.loads(base.read_text())
    kit = kit or Kit.of_frame(base)
    lines = [
        f'name = "random-{seed}"',
        f"start = {frame['start'] + 86_400 * rng.randrange(7)}",
        "days = 4",
        "warmup_days = 2",
        f"launch_day = {rng.uniform(2.2, 3.4):.2f}",
        "contamination = 0.001",
        f"response_text_share = {rng.choice((0.85, 0.92, 1.0))}",
        f'pack = "{kit.pack}"',
    ]
    for table, found in (("traces", kit.traces), ("roles", kit.roles)):
        lines += ["", f"[{table}]", *(f"{name} = {toml(value)}" for name, value in found.items())]
    lines += ["", "[strata]"]
    for name, table in frame["strata"].items():
        table = dict(table)
        grouped = table.get("groups", 1)
        table["keys"] = max(grouped, 2 if name != "aggregator" else 1, round(table["keys"] * rng.uniform(0.5, 1.3)))
        table["rate"] = round(table["rate"] * rng.lognormvariate(0.0, 0.25), 2)
        lines.append(f"{name} = {toml(table)}")
    # Each family once in a while: a world has nine of the fourteen.
    for number, family in enumerate(rng.sample(sorted(kit.pools), 9)):
        lines += ["", "[[campaigns]]", *_campaign(rng, number, family, kit.pools[family])]
    return "\n".join(lines) + "\n"


def _campaign(rng: random.Random, number: int, family: str, pools: Sequence[Any]) -> list[str]:
    keys, rate = rng.choice(SHAPES)
    mixed = family not in NEVER_MIXED
    chosen = rng.sample(pools, rng.randint(1, min(2, len(pools)))) if pools else []
    spec: dict[str, Any] = {
        "name": f"{family}-{number}",
        "family": family,
        "keys": keys,
        "rate": round(rate * rng.uniform(0.7, 1.3), 1),
        # A family that makes its own prompts needs no pool; a relay's mix is the share of chats it tampers with.
        "mix": rng.choice((1.0, 1.0, 0.5, 0.25, 0.1)) if mixed else 1.0,
        "paraphrase": rng.choice(("none", "per-key", "per-request")),
        "languages": rng.choice((0.0, 0.0, 0.3)),
        "infra": rng.choice(("shared", "residential")),
        "accounts": rng.choice(("new", "aged", "aged")),
        "timing": rng.choice(("round_robin", "circadian", "script", "bulk")),
        "placement": rng.choice(("prefix", "suffix", "system")),
        "contract": rng.choice(("stable", "varied")),
        "stacks": rng.choice((1, 2, 3, 6)),
        "cover": rng.choice(("human", "human", "pipeline")),
        "start_day": round(2.0 + rng.choice((0.0, 0.0, 0.5)), 2),
        "end_day": 4.0,
        "warmup_keys": rng.choice((0, 0, min(keys, 3))),
    }
    if family == "relay":
        spec["mix"] = rng.choice((0.5, 0.25, 0.1))
    if family == "rejection_sampling":
        if keys <= 3 and rng.random() < 0.5:
            spec["samples"] = rng.choice((3, 4, 8))
        else:
            spec["partition"] = f"repeat:{rng.choice((4, 8, 16))}"
    if family == "tool_trajectory":
        spec["partition"] = rng.choice(("disjoint", "repeat:4"))
    if chosen:
        spec["pool"] = [_pool(rng, name) for name in chosen]
    return [f"{name} = {toml(value)}" for name, value in spec.items()]


def _pool(rng: random.Random, name: Any) -> Any:
    if name == "zeroshot_cot_gsm8k_requests":
        return {"source": name, "index": ["gsm8k_idx", 2500, 5000]}
    return {"source": name, "limit": rng.choice((2000, 9000))} if name == "alpaca_52k_en" else name


def toml(value: Any) -> str:
    """A value as TOML: a table is an inline one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return repr(value)
