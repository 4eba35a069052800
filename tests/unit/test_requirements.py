"""docs/requirements.md says what is so: every test it names exists, and its table of roles is the code's."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from app.admin.roles import PERMISSIONS, ROLES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def _rows(first: str) -> list[list[str]]:
    """Cells of the rows of all tables whose first heading is this."""
    rows: list[list[str]] = []
    inside = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            rows.append(cells)
    return rows


@cache
def _tests(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_test_that_is_named_exists() -> None:
    """Each path::function on the page is a file of the project with a test of that name."""
    named = NAMED.findall(PAGE)
    assert len(named) > 80
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in _tests(path) or not name.startswith("test_")
    ]
    assert missing == []


def test_every_requirement_has_a_test_or_says_why_not() -> None:
    """A row names tests, or says that it does not apply or where we fall short."""
    rows = _rows("Requirement")
    assert len(rows) > 60
    for requirement, how, tests in rows:
        assert re.match(r"API\d+ |v5\.0\.0-\d+\.\d+(\.\d+)?[, ]", requirement), requirement
        assert NAMED.search(tests) or how.startswith(("not applicable: ", "falls short: ")), requirement
        assert not NAMED.sub("", tests).strip(", "), requirement


def test_all_ten_of_the_top_ten_are_there() -> None:
    """API1 to API10 have a row each."""
    assert sorted(int(row[0].split()[0][3:]) for row in _rows("Requirement") if row[0].startswith("API")) == list(
        range(1, 11)
    )


def test_the_table_of_roles_is_the_codes() -> None:
    """The page gives each role exactly the permissions that it has in the code, and names each permission once."""
    found: dict[str, set[str]] = {}
    roles = ("viewer", "analyst", "approver", "admin", "auditor")
    for cells in _rows("Permission"):
        for permission in re.findall(r"`([\w.]+)`", cells[0]):
            assert permission not in found
            found[permission] = {role for role, cell in zip(roles, cells[1:], strict=True) if cell == "x"}
    assert set(found) == set(PERMISSIONS)
    assert found == {name: {role for role in roles if name in ROLES[role]} for name in PERMISSIONS}
