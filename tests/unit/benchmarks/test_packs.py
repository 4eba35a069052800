"""The packs of wordings: what the traffic generator reads is there, and no pack repeats another."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

PACKS = Path(__file__).parents[3] / "benchmarks" / "training" / "packs"
NAMES = ("b", "c", "d", "e", "f")
# Tables that may hold one entry or many, of which each has the keys named here (the optional ones in brackets).
ENTRIES = {
    "models": ({"name", "snapshot", "tier", "tokens_per_s", "first_token_ms"}, {"launch"}),
    "viral_apps": ({"temperature", "system", "answer", "template", "samples"}, set()),
    "hackathons": ({"system", "answer", "template"}, set()),
    "toolkits": ({"role", "system", "tasks", "tools"}, {"services", "results"}),
    "pipelines.classification": ({"labels", "templates"}, set()),
    "pipelines.extraction": ({"fields", "templates"}, set()),
    "pipelines.judge_pairs": ({"templates", "verdicts"}, set()),
    "pipelines.judge_single": ({"templates", "verdicts"}, set()),
}
# What the generator fills in where; a wording elsewhere has no slot.
SLOTS = {
    "attacks.lists.verdicts": {"score"},
    "attacks.lists.personas": {"jobs", "places", "habits"},
    "attacks.elicitation.frames": {"target", "form", "excuse"},
    "attacks.seed_generation": {"seed"},
    "attacks.forced_cot": {"tag"},
    "attacks.relay": {"tag"},
    "attacks.reconstruction": {"question", "answer"},
    "attacks.rubric_judge": {"question", "candidate"},
    "attacks.evol_rewrite": {"method", "task"},
    "attacks.persona_grid": {"domain", "persona"},
    "attacks.rejection_sampling": {"question"},
    "attacks.tool_trajectory": {"task"},
    "attacks.transcript_cleaning": {"question", "trace"},
    "attacks.self_chat": {"topic"},
    "viral_apps.answer": {"first", "second"},
    "viral_apps.template": {"text"},
    "hackathons.answer": {"first", "second"},
    "hackathons.template": {"text"},
    "probes.frames": {"goal", "topic"},
    "phrases.product_rules": {"company", "language", "product", "bot"},
    "phrases.product_roles": {"company", "language", "product", "bot"},
    "phrases.followups": {"language"},
    "phrases.support_answers": {"product", "company"},
    "phrases.home_batch": {"language", "text"},
    "phrases.ci_requests": {"repo", "number", "diff"},
    "pipelines.routing": {"company", "text"},
    "pipelines.rag_frames": {"company", "context", "question"},
    "pipelines.questions": {"about"},
    "pipelines.localisation": {"company", "language", "text"},
    "pipelines.audit": {"decision", "text"},
    "pipelines.reasons": {"decision", "quote"},
    "pipelines.synthetic": {"topic", "style", "audience", "count", "seed"},
    "pipelines.eval_frames": {"question"},
    "pipelines.eval_frames_cot": {"question"},
    "pipelines.classification.templates": {"labels", "company", "text"},
    "pipelines.extraction.templates": {"fields", "text"},
    "pipelines.judge_pairs.templates": {"question", "a", "b"},
    "pipelines.judge_single.templates": {"question", "a", "criterion"},
    "pipelines.judge_single.verdicts": {"score"},
    "pipelines.judge_pairs.verdicts": {"score"},
    "toolkits.tasks": {"about", "text", "number"},
    "toolkits.results": {"number", "id", "text"},
}
# Without these a wording would lose what the request is about. A sentence list needs them in one sentence of each language.
NEEDED = {
    "attacks.forced_cot": set(),  # some ask for reasoning in words alone
    "attacks.relay": set(),
    "attacks.reconstruction": {"question", "answer"},
    "attacks.rubric_judge": {"question", "candidate"},
    "attacks.evol_rewrite": {"method", "task"},
    "attacks.persona_grid": {"domain", "persona"},
    "attacks.rejection_sampling": {"question"},
    "attacks.tool_trajectory": {"task"},
    "attacks.transcript_cleaning": {"question", "trace"},
    "attacks.self_chat": {"topic"},
    "attacks.seed_generation": {"seed"},
    "viral_apps.template": {"text"},
    "hackathons.template": {"text"},
    "phrases.home_batch": {"text"},
    "phrases.ci_requests": {"diff"},
    "pipelines.routing": {"text"},
    "pipelines.rag_frames": {"context", "question"},
    "pipelines.questions": {"about"},
    "pipelines.localisation": {"language", "text"},
    "pipelines.audit": {"decision", "text"},
    "pipelines.synthetic": {"topic", "style", "audience", "count", "seed"},
    "pipelines.eval_frames": {"question"},
    "pipelines.eval_frames_cot": {"question"},
    "pipelines.classification.templates": {"labels", "text"},
    "pipelines.extraction.templates": {"fields", "text"},
    "pipelines.judge_pairs.templates": {"question", "a", "b"},
    "pipelines.judge_single.templates": {"a", "criterion"},
}
SLOT = re.compile(r"\{([a-z_]+)\}")
CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
CONTROLS = {"order", "join", "optional"}
FIVE_WORDS = re.compile(r"\w+(?:\W+\w+){4,}")


@cache
def _pack(name: str) -> dict[str, Any]:
    """All tables of a pack."""
    found: dict[str, Any] = {}
    for path in sorted((PACKS / name).glob("*.toml")):
        found |= tomllib.loads(path.read_text())
    return found


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of every string; entries of a list have the path of the list."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, path)


def _keys(value: Any, path: str = "") -> set[str]:
    """Paths of all tables and lists that the generator names; what a list of tables holds is told by ENTRIES."""
    if not isinstance(value, dict) or path == "attacks.courtesies":
        return {path}
    inner = {key: item for key, item in value.items() if not _is_language(path, key)}
    return {path} | {found for key, item in inner.items() for found in _keys(item, f"{path}.{key}".lstrip("."))}


def _is_language(path: str, key: str) -> bool:
    return path.startswith("attacks.") and len(key) == 2 and key != "en"


def _templates(pack: dict[str, Any]) -> Iterator[tuple[str, str, list[list[str]], dict[str, Any]]]:
    """Name, language and sentences of the campaigns' templates, with the template's table."""
    for name, table in pack["attacks"].items():
        if name not in ("courtesies", "lists", "elicitation"):
            for language in sorted(set(table) - CONTROLS):
                yield name, language, table[language], table


def _place(path: str, table: dict[str, set[str]]) -> set[str]:
    return next((slots for prefix, slots in table.items() if path == prefix or path.startswith(f"{prefix}.")), set())


def _spun(text: str) -> str:
    while (found := CHOICE.search(text)) is not None:
        text = text[: found.start()] + max(found.group(1).split("|"), key=len) + text[found.end() :]
    return text


def test_packs_have_the_same_keys() -> None:
    """Every pack answers everything that the generator asks another one for."""
    first, *others = (
        {key for key in _keys(_pack(name)) if not key.endswith((".join", ".order", ".optional"))} for name in NAMES
    )
    for other in others:
        assert other == first


@pytest.mark.parametrize("name", NAMES)
def test_entries_have_the_keys_that_are_read(name: str) -> None:
    """A model, an app, an event, a kit and a pipeline's task hold what the generator reads, and nothing it does not."""
    pack = _pack(name)
    for path, (needed, allowed) in ENTRIES.items():
        table: Any = pack
        for part in path.split("."):
            table = table[part]
        for entry in table:
            assert needed <= set(entry) <= needed | allowed, path


@pytest.mark.parametrize("name", NAMES)
def test_slots_are_those_that_are_filled(name: str) -> None:
    """A wording names only what is filled in at its place, so that none reaches a request."""
    for path, text in _texts(_pack(name)):
        assert set(SLOT.findall(text)) <= _place(path, SLOTS), (path, text)


@pytest.mark.parametrize("name", NAMES)
def test_wordings_keep_what_a_request_is_about(name: str) -> None:
    """No wording drops the text, question or decision that its request is about."""
    for path, text in _texts({key: table for key, table in _pack(name).items() if key != "attacks"}):
        assert _place(path, NEEDED) <= set(SLOT.findall(text)), (path, text)
    for template, language, sentences, _ in _templates(_pack(name)):
        named = set().union(*(set.intersection(*(set(SLOT.findall(text)) for text in sentence)) for sentence in sentences))
        assert NEEDED[f"attacks.{template}"] <= named, (template, language)


@pytest.mark.parametrize("name", NAMES)
def test_languages_have_the_same_sentences(name: str) -> None:
    """A template has as many sentences in each language, since those that may be left out are known by their number."""
    for template, language, sentences, table in _templates(_pack(name)):
        assert len(sentences) == len(table["en"]), (template, language)
        assert all(sentence and all(text.strip() for text in sentence) for sentence in sentences), (template, language)
        assert set(table.get("optional", ())) < set(range(len(sentences)))


@pytest.mark.parametrize("name", NAMES)
def test_brackets_are_closed(name: str) -> None:
    """Choices are closed, and none is left when every one is decided."""
    for path, text in _texts(_pack(name)):
        if path.startswith(("models", "toolkits.tools")):
            continue
        assert text.count("[") == text.count("]"), (path, text)
        assert not CHOICE.search(_spun(text))


@pytest.mark.parametrize("name", NAMES)
def test_a_world_can_be_made(name: str) -> None:
    """There is a model of every size and one on launch day, a kit for code and for errands, and whole tool schemas."""
    pack = _pack(name)
    assert {model["tier"] for model in pack["models"] if not model.get("launch")} == {
        "small",
        "mid",
        "large",
        "reason",
        "embed",
    }
    assert sum(bool(model.get("launch")) for model in pack["models"]) == 1
    assert {kit["role"] for kit in pack["toolkits"]} == {"agent", "code"} <= set(pack["phrases"]["product_roles"])
    assert len(pack["toolkits"]) >= 6
    for kit in pack["toolkits"]:
        names = [tool["name"] for tool in kit["tools"]]
        assert len(set(names)) == len(names) >= 3
        assert set(kit["results"]) <= set(names)
        for tool in kit["tools"]:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"])
            assert set(tool["parameters"]["required"]) <= set(tool["parameters"]["properties"])


@pytest.mark.parametrize(("one", "other"), list(combinations(NAMES, 2)))
def test_packs_share_no_sentence(one: str, other: str) -> None:
    """No wording of five words or more, and no tool, company, model, app or tag of one pack occurs in another."""
    sentences, names = ([], [])
    for name in (one, other):
        pack = _pack(name)
        sentences.append({text for _, text in _texts(pack) if FIVE_WORDS.search(text)})
        names.append(
            {tool["name"] for kit in pack["toolkits"] for tool in kit["tools"]}
            | {model["name"] for model in pack["models"]}
            | {*pack["phrases"]["companies_first"], *pack["phrases"]["companies_second"], *pack["phrases"]["bot_names"]}
            | {*pack["attacks"]["lists"]["tags"], *pack["attacks"]["lists"]["verdicts"]}
            | {json.dumps(tool["parameters"], sort_keys=True) for kit in pack["toolkits"] for tool in kit["tools"]}
        )
    assert not sentences[0] & sentences[1]
    assert not names[0] & names[1]
