"""Packs of wordings for the labelled traffic: whole, of one structure, and not copies of each other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from benchmarks import labelled

FILES = ("apps", "attacks", "models", "phrases", "pipelines", "toolkits")
SETTINGS = {"order", "join", "optional"}
LONGEST_SHARED = 6
"""Words: a longer sentence that two packs share is a copy, not a coincidence."""
SENTENCE_END = re.compile(r"[\n.!?:;]+")
SLOT = re.compile(r"\{([a-z_]+)\}")
WORD = re.compile(r"[^\W_]+")

MADE = sorted(path.name for path in labelled.PACKS.glob("*") if path.is_dir())
Tables = Mapping[str, Any]


def read(folder: Path) -> dict[str, Tables]:
    """File name without suffix → its tables."""
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.toml"))}


def packs() -> dict[str, dict[str, Tables]]:
    """Every pack of this checkout, and the benchmark's own where it is."""
    found = {name: read(labelled.PACKS / name) for name in MADE}
    try:
        own = labelled.find_bench() / "packs" / "dev"
    except labelled.NoBench:
        return found
    return found | ({"dev": read(own)} if own.is_dir() else {})


def strings(value: object) -> Iterator[str]:
    """Every text below a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)


def sentences(pack: Mapping[str, Tables]) -> set[str]:
    """The longer sentences of a pack, in lower case, as words alone: choices and punctuation do not hide a copy."""
    split = (WORD.findall(part.lower()) for text in strings(pack) for part in SENTENCE_END.split(text))
    return {" ".join(words) for words in split if len(words) > LONGEST_SHARED}


def structure(pack: Mapping[str, Tables]) -> dict[str, set[str]]:
    """Names that the generator reads: tables of every file, and the keys of each; languages are a pack's own matter."""
    found = {
        name: {f"{table}.{key}" for table, content in tables.items() for key in keys(content)}
        for name, tables in pack.items()
    }
    found["families"] = set(pack["attacks"]["attacks"])
    found["lists"] = set(pack["attacks"]["attacks"]["lists"])
    found["roles"] = set(pack["phrases"]["phrases"]["product_roles"])
    return found


def keys(content: object) -> set[str]:
    """Keys of a table, or of any table of an array of them that are not left out at will."""
    if isinstance(content, Mapping):
        return set(content)
    if isinstance(content, list):
        return {key for one in content for key in one}
    return set()


@pytest.mark.parametrize("name", MADE)
def test_a_pack_holds_the_six_files(name: str) -> None:
    """A pack consists of the six files that the generator reads, and of nothing else."""
    assert sorted(path.name for path in (labelled.PACKS / name).iterdir()) == [f"{file}.toml" for file in FILES]


def test_all_packs_have_one_structure() -> None:
    """Tables, families, lists and roles have the same names in every pack."""
    shapes = {name: structure(pack) for name, pack in packs().items()}
    first = next(iter(shapes))
    assert {name: shape for name, shape in shapes.items() if shape != shapes[first]} == {}


def test_no_sentence_is_in_two_packs() -> None:
    """Two packs share no sentence of more than six words."""
    said = {name: sentences(pack) for name, pack in packs().items()}
    assert {(a, b): shared for a, b in combinations(sorted(said), 2) if (shared := said[a] & said[b])} == {}


@pytest.mark.parametrize("name", MADE)
def test_a_translated_wording_fills_the_slots_of_the_english_one(name: str) -> None:
    """A family's other languages use the slots of its English wordings, no more and no fewer."""
    pack = read(labelled.PACKS / name)["attacks"]["attacks"]
    for family, template in pack.items():
        if not isinstance(template, Mapping) or "en" not in template or family == "courtesies":
            continue
        slots = {
            language: {slot for text in strings(words) for slot in SLOT.findall(text)}
            for language, words in template.items()
            if language not in SETTINGS
        }
        assert {language: found for language, found in slots.items() if found != slots["en"]} == {}, family


@pytest.mark.parametrize("name", MADE)
def test_a_catalogue_has_a_model_of_every_tier_and_one_launch(name: str) -> None:
    """A pack's models cover every tier apart from the one model that is launched while the traffic runs."""
    models = read(labelled.PACKS / name)["models"]["models"]
    assert {model["tier"] for model in models if not model.get("launch")} == {"small", "mid", "large", "reason", "embed"}
    assert sum(bool(model.get("launch")) for model in models) == 1
