"""A policy as the TOML that a policy file holds: what is not a default, so that a reader sees what was decided."""

from __future__ import annotations

import json
from typing import Any

from app.settings import EnforcementSettings


def render(policy: EnforcementSettings) -> str:
    """TOML of the fields that were set; reading it again gives an equal policy.

    Raises:
        ValueError: a field is null, for which TOML has no word.
    """
    return _table(policy.model_dump(mode="json", exclude_unset=True))


def render_whole(policy: EnforcementSettings) -> str:
    """TOML of every field; those without a value are left out."""
    return _table(_without_none(policy.model_dump(mode="json")))


def _table(tree: dict[str, Any], place: str = "") -> str:
    lines = []
    tables = {name: value for name, value in tree.items() if isinstance(value, dict)}
    for name, value in tree.items():
        if value is None:
            raise ValueError(f"{place}{name}: must not be null: leave it out, or give a number")
        if name not in tables:
            # A JSON string, number or list of strings is TOML as well, but for one character that TOML wants escaped.
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{name} = {text}")
    below = (f"\n[{place}{name}]\n{_table(value, f'{place}{name}.')}" for name, value in tables.items())
    return "".join(f"{line}\n" for line in lines) + "".join(below)


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value is not None
    }
