"""An import of accounts as JSON lines: the accounts, or every line that breaks a rule, by number, field and rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.admin.bodies import faults_of
from app.admin.models import AccountLine
from app.admin.problems import FieldError, field_error

MAX_FAULTS = 10_000
"""Faults that one answer names, about 1 MB; beyond it they are only counted."""


@dataclass
class Checked:
    """What is in the body of an import.

    Attributes:
        accounts: of the good lines, in order.
        faults: of the bad ones, in order, the first MAX_FAULTS.
        bad_lines: how many lines are bad.
        lines: how many hold something.
    """

    accounts: list[AccountLine] = field(default_factory=list)
    faults: list[FieldError] = field(default_factory=list)
    bad_lines: int = 0
    lines: int = 0

    @property
    def sentence(self) -> str:
        """What is wrong, for a person; "" when nothing is."""
        if not self.faults:
            return ""
        first = f"{self.faults[0].field}: {self.faults[0].rule}"
        if self.lines == 1:
            return first
        cut = f", of which the first {len(self.faults):,} faults are named" if len(self.faults) == MAX_FAULTS else ""
        return f"{self.bad_lines:,} of {self.lines:,} lines break a rule{cut}, nothing is stored; the first: {first}"


def check_lines(body: bytes) -> Checked:
    """Every line of a body; empty ones are skipped."""
    found = Checked()
    line_of: dict[str, int] = {}
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line.strip():
            continue
        found.lines += 1
        place = f"body line {number}"
        faults: list[dict[str, Any]] = []
        try:
            account = AccountLine.model_validate_json(line, strict=True)
        except ValidationError as error:
            faults = faults_of(error, place)
        else:
            first = line_of.setdefault(account.key_id, number)
            if first != number:
                rule = f"must not be the key of line {first} again"
                faults = [{"type": "repeated", "loc": (place, "key_id"), "msg": rule}]
            else:
                found.accounts.append(account)
        if faults:
            found.bad_lines += 1
            found.faults += map(field_error, faults[: MAX_FAULTS - len(found.faults)])
    return found
