"""docs/levels.md says what the policy does."""

from __future__ import annotations

import re
from pathlib import Path

from detectors.policy import RULES, Policy

PAGE = (Path(__file__).parents[4] / "docs" / "levels.md").read_text(encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def test_the_table_has_every_rule_with_its_thresholds() -> None:
    """Each rule of the policy, its four thresholds, and the uses that excuse it."""
    rows = [_cells(line) for line in PAGE.splitlines() if re.match(r"\| `[a-z_]+` \| [\d–]", line)]
    told = {row[0]: row[1:] for row in rows}
    assert told == {
        name: [
            *map(_number, (rule.watch, rule.suspect, rule.suspect_if_rare, rule.confirmed)),
            ", ".join(f"`{use}`" for use in rule.excused_by).strip("`") or "–",
        ]
        for name, rule in RULES.items()
    }


def test_the_text_has_the_numbers_of_the_policy() -> None:
    """Evidence, rarity and calm are those that judge."""
    policy = Policy()
    for sentence in (
        f"peer score of {policy.rare:g} or more",
        f"from {policy.peers_evidence} answered exchanges on",
        f"needs {policy.confirmed_evidence} answered exchanges",
        f"fewer than {policy.least_evidence} answered exchanges",
        f"for {policy.calm_us // 3_600_000_000} hours of the key's own time",
        f"| a peer scorer | {policy.watch:g} |",
    ):
        assert sentence in PAGE.replace("\n", " "), sentence
