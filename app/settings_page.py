"""The settings as a page for people: `python -m app.settings_page > docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import (
    ENV_PREFIX,
    FILE_SUFFIX,
    FROM_FILES,
    SHORT_NAMES,
    ActionRule,
    CapRule,
    LimitRule,
    PlanLimits,
    Section,
    Settings,
)

_INTRO = """\
# Configuration

Generated from `app/settings.py`; do not edit this page.

Settings come from a TOML file (`--config FILE` or `STILLWATCH_CONFIG`), then from the environment, then from options on the
command line; the later one wins. In the file a setting `section.field` is `field = …` under `[section]`; in the environment
it has the name in the last column. Lists are comma-separated in the environment. Settings marked *file only* are tables.
`stillwatch config check` reads everything, says what is wrong in one sentence, and starts nothing. An unknown name in the
file, or under the prefix with two underscores, is an error and no silent typo; another name under the prefix is warned of
at the start, as it may belong to another program. Secrets are never printed.

A secret may stand in a file instead, as orchestrators mount them: the variable with `_FILE` at its end names it. So do
{files}. Without its last line end the whole file is the secret.
"""

_PLAIN: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Path: "path",
    SecretStr: "secret text",
}


def page() -> str:
    """The whole page, as Markdown."""
    files = [f"`{name}{FILE_SUFFIX}`" for name in FROM_FILES]
    parts = [_INTRO.replace("{files}", f"{', '.join(files[:-1])} and {files[-1]}")]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        parts.append(f"\n## [{name}]\n\n{section.__doc__}\n\n{_table(section, name)}")
    parts.append(_nested("An action", "enforcement.watch", ActionRule))
    parts.append(_nested("Capped features", "enforcement.cap", CapRule))
    parts.append(_nested("A plan", "limits.plans.default", PlanLimits))
    parts.append(_nested("Budgets", "limits.plans.default.key", LimitRule))
    return "".join(parts)


def _nested(title: str, example: str, section: type[Section]) -> str:
    return f"\n## {title}: for example [{example}]\n\n{section.__doc__}\n\n{_table(section, '')}"


def _table(section: type[Section], name: str) -> str:
    """One row per field; `name` is the section's, empty for a nested table that only a file can set."""
    head = "| Name | Default | Rule | Meaning |" + (" Environment |" if name else "")
    rows = [head, "| --- " * (5 if name else 4) + "|"]
    for field_name, field in section.model_fields.items():
        cells = [f"`{field_name}`", _default(field), _rule(field), (field.description or "").replace("<", r"\<")]
        if name:
            cells.append(_environment(name, field_name, field))
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, ActionRule):
        return f"`{value.action}`" if value.action == "observe" else f"`{value.action}`, factor `{value.factor}`"
    if isinstance(value, CapRule):
        return "all of them"
    if isinstance(value, Section | dict):
        return "no limits"
    if isinstance(value, SecretStr) or value in (None, "", ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _rule(field: FieldInfo) -> str:
    return ", ".join([_kind(field.annotation), *_bounds(field.metadata)])


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{choice}`" if choice else "empty" for choice in parts)
    if origin is Annotated:
        return ", ".join([_kind(parts[0]), *_bounds(parts[1].metadata)])
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in parts if part is not type(None))
    if origin is tuple:
        return "list"
    if origin is dict or issubclass(annotation, Section):
        return "table"
    return _PLAIN[annotation]


def _bounds(metadata: Sequence[Any]) -> list[str]:
    out = []
    for rule in metadata:
        for sign, name in (("≥", "ge"), (">", "gt"), ("≤", "le"), ("<", "lt")):
            if hasattr(rule, name):
                out.append(f"{sign} {getattr(rule, name):g}")
        if getattr(rule, "pattern", None):
            out.append(f"matches `{rule.pattern}`")
    return out


def _environment(section: str, name: str, field: FieldInfo) -> str:
    if _kind(field.annotation) == "table":
        return "*file only*"
    short = next((short for short, place in SHORT_NAMES.items() if place == (section, name)), None)
    long = f"`{ENV_PREFIX}{section.upper()}__{name.upper()}`"
    return f"`{short}` or {long}" if short else long


if __name__ == "__main__":
    print(page(), end="")
