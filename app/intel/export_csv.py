"""Indicators as CSV (RFC 4180): a row for each value to look for."""

from __future__ import annotations

import csv
import io

from app.intel.content import Content
from app.intel.taxii import times

HEAD = (
    *("indicator_id", "kind", "value", "weight", "scheme", "key_epoch", "valid_from", "valid_until"),
    *("confidence", "tlp", "revoked", "reported_by"),
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|")
"""What a spreadsheet reads as the beginning of a formula or a command; OWASP, "CSV Injection"."""


def exported(found: Content) -> str:
    """The rows, with a head. A cell that a spreadsheet would run begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEAD)
    for line in found.lines:
        one = line.indicator
        for number, token in enumerate(one.tokens):
            weight = f"{one.weights[number]:g}" if one.weights else ""
            row = (
                *(one.id, one.kind, token, weight, one.scheme, one.epoch),
                *(times.version(one.valid_from_us), times.version(one.valid_until_us)),
                *(str(one.confidence), line.tlp, "yes" if line.revoked else "no", line.said_by),
            )
            writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value
