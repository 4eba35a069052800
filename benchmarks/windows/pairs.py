"""Pairs of an honest and an attacking source: three of the paper, and modern ones.

Texts are those of the labelled benchmark's data folder and never leave it. A text that nearly repeats one of the other
side, or an honest one an earlier honest one, is left out: a test would find copies. A pair with many of them is refused.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.labelled import NoBench, find_bench
from detectors.fingerprint.normalise import fold, tokens

CUT_CHARS = 3000
MOST_PAPER = 2000
MOST_ATTACK = 1000
MOST_HONEST = 1800
LARGE = "alpaca_52k_en/banking77"
LARGE_ATTACK, LARGE_HONEST = 1700, 5200
"""One pair is large enough for the paper's own window size; its texts are short."""

SHINGLE = 8
NEAR = 0.5
"""Share of a text's eight-token shingles in one other text from which on it is a near-copy."""

FRAME = 0.01
"""A shingle in more than this share of a side's texts belongs to their template."""

COPIES = 0.02
"""Share of near-copies of the other side above which a pair is refused; those below are left out."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Texts of both sides.

    Attributes:
        background: names of the honest sources that may serve as other traffic: none is on either side, or related to one
            that is.
        harvests: the same of attacking sources, which may serve as harvests that are known.
        copies: texts left out as near-copies of one of the other side.
        repeats: honest texts left out as near-copies of another honest one.
    """

    name: str
    honest: tuple[str, ...]
    attack: tuple[str, ...]
    background: tuple[str, ...]
    harvests: tuple[str, ...]
    copies: int
    repeats: int


PAPER = ("agnews", "imdb", "boolq_random")
MODERN = (
    ("alpaca_52k_en", "arena_1k"),
    ("alpaca_52k_en", "instructionwild"),
    ("alpaca_52k_en", "sharegpt_sample"),
    ("alpaca_generation_requests", "sgd_dialogues"),
    ("codealpaca", "copilot_cups"),
    ("evol_rewrite_requests", "t0_templated"),
    ("gpteacher_roleplay", "sharegpt_sample"),
    ("zeroshot_cot_gsm8k_requests", "mmlu_eval_requests"),
    ("zena007_teacher_log", "banking77"),
    ("alpaca_52k_en", "banking77"),
)
"""An attack pool against people (arena, InstructionWild, ShareGPT), tools (the editor of Copilot, a dialogue system) or
pipelines (templates, an evaluation, utterances to classify). Chosen before anything was measured on them."""

HONEST = (
    "arena_1k", "awesome_prompts", "banking77", "copilot_cups", "gsm8k_eval_requests", "instructionwild",
    "llm_judge_requests", "mmlu_eval_requests", "sgd_dialogues", "sharegpt_sample", "t0_templated",
)  # fmt: skip

ATTACKS = tuple(sorted({attack for attack, _ in MODERN}))

RELATIVES = (
    {"alpaca_52k_en", "alpaca_generation_requests", "codealpaca", "evol_rewrite_requests", "llm_judge_requests"},
    {"zeroshot_cot_gsm8k_requests", "gsm8k_eval_requests"},
    {"gpteacher_roleplay", "awesome_prompts"},
    {"agnews", "imdb", "boolq_random", "t0_templated"},
    {"arena_1k", "sharegpt_sample"},
)
"""Sources of one origin, making or kind: no member may serve as background, or as known harvest, for
a pair with another."""


def names() -> list[str]:
    """Of all pairs."""
    return [*PAPER, *(f"{attack}/{honest}" for attack, honest in MODERN)]


def related(used: set[str]) -> set[str]:
    """Sources and what is related to one of them."""
    return {member for kin in RELATIVES if kin & used for member in kin} | used


def load(name: str) -> Pair:
    """The pair of a name.

    Raises:
        NoBench: the data folder is missing, or the two sides are too much alike.
    """
    data = find_bench().parent / "data"
    if name in PAPER:
        path = data / "pairs" / f"{name}.parquet"
        if not path.is_file():
            raise NoBench(f"the benchmark's data has no pair {name}")
        sides = pl.read_parquet(path)
        attack, honest = (
            _texts(sides.filter(pl.col("role") == role)["query"], MOST_PAPER) for role in ("attack", "benign")
        )
        used = {name}
    else:
        attack_name, honest_name = name.split("/")
        attack = source(data, "attack", attack_name, LARGE_ATTACK if name == LARGE else MOST_ATTACK)
        honest = source(data, "benign", honest_name, LARGE_HONEST if name == LARGE else MOST_HONEST)
        used = {attack_name, honest_name}
    kept_attack, kept_honest, repeats = apart(attack, honest)
    copies = len(attack) - len(kept_attack)
    if copies > COPIES * len(attack):
        raise NoBench(f"{copies} of {len(attack)} attacking texts of {name} nearly repeat an honest one: they are no pair")
    background, harvests = (tuple(sorted(set(known) - related(used))) for known in (HONEST, ATTACKS))
    return Pair(name, kept_honest, kept_attack, background, harvests, copies, repeats)


def source(data: Path, kind: str, name: str, most: int) -> tuple[str, ...]:
    """Different texts of a source, shuffled.

    Raises:
        NoBench: there is no such file.
    """
    path = data / "prompts" / kind / f"{name}.parquet"
    if not path.is_file():
        raise NoBench(f"the benchmark's data has no {kind} source {name}")
    return _texts(dict.fromkeys(pl.read_parquet(path)["prompt"]), most)


def apart(attack: Sequence[str], honest: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Both sides without near-copies, and how many honest texts nearly repeated an earlier honest one."""
    of_attack, of_honest = ([_shingles(text) for text in side] for side in (attack, honest))
    frame = _frame(of_attack) | _frame(of_honest)
    index: dict[int, list[int]] = defaultdict(list)
    kept_honest: list[str] = []
    for text, shingles in zip(honest, of_honest, strict=True):
        if not _near(shingles - frame, index):
            for shingle in shingles - frame:
                index[shingle].append(len(kept_honest))
            kept_honest.append(text)
    kept_attack = [text for text, shingles in zip(attack, of_attack, strict=True) if not _near(shingles - frame, index)]
    return tuple(kept_attack), tuple(kept_honest), len(honest) - len(kept_honest)


def _near(shingles: set[int], index: dict[int, list[int]]) -> bool:
    held = Counter(place for shingle in shingles for place in index.get(shingle, ()))
    return bool(held) and max(held.values()) >= NEAR * len(shingles)


def _frame(side: Sequence[set[int]]) -> set[int]:
    counts = Counter(shingle for shingles in side for shingle in shingles)
    return {shingle for shingle, count in counts.items() if count > max(2.0, FRAME * len(side))}


def _texts(raw: Iterable[str | None], most: int) -> tuple[str, ...]:
    kept = [text for text in raw if text and text.strip()]
    random.Random(1).shuffle(kept)
    return tuple(dict.fromkeys(text[:CUT_CHARS] for text in kept[:most]))


def _shingles(text: str) -> set[int]:
    words = tokens(fold(text))
    if len(words) < SHINGLE:
        return {hash(tuple(words))} if words else set()
    return {hash(tuple(words[at : at + SHINGLE])) for at in range(len(words) - SHINGLE + 1)}
