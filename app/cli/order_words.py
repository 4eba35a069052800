"""What the commands about orders and about proposals say alike."""

from __future__ import annotations

import time
from typing import Any

from app.cli.acting import counted
from app.cli.api import Api, part
from app.cli.common import err, out

POLL_SEC = 0.5


def effect_lines(found: dict[str, Any]) -> list[str]:
    """The effect in a few lines."""
    levels, traffic = found["levels"], found["traffic"]
    lines = [
        f"{counted(found['keys'], 'key')}, {counted(found['organisations'], 'organisation')}, "
        f"{found['with_account']:,} with an account, "
        f"{found['paying']:,} with a means of payment",
        f"levels: {levels['confirmed']:,} confirmed, {levels['suspect']:,} suspect, {levels['watch']:,} watch, "
        f"{levels['unjudged_or_clear']:,} clear or unjudged",
        f"traffic of the last day: {traffic['requests']:,} requests, {traffic['requests_share']:.2%} of all"
        if traffic["known"]
        else "traffic of the last day: not known (the admin process has no archive to read)",
        "done already: " + (", ".join(f"{number:,} {name}" for name, number in found["already"].items()) or "nothing"),
    ]
    if found["allowed_subjects"]:
        lines.append(f"on the allow-list: {', '.join(found['allowed_subjects'])}")
    return lines + [f"! {sentence}" for sentence in found["warnings"]]


def follow(api: Api, bulk_id: str) -> dict[str, Any]:
    """Wait until a bulk order is carried out, and tell how far it is."""
    told = -1
    while True:
        found: dict[str, Any] = api.get(f"/v1/proposals/{part(bulk_id)}")
        if found["status"] not in ("applying", "undoing"):
            return found
        if found["done"] != told:
            told = found["done"]
            err.print(f"  {told:,} of {found['keys']:,} keys")
        time.sleep(POLL_SEC)


def print_fields(found: dict[str, Any], names: tuple[str, ...]) -> None:
    """Those of the fields that say something, one a line."""
    for name in names:
        if found[name] not in (None, ""):
            out.print(f"  {name.replace('_', ' '):<16} {found[name]}", soft_wrap=True, markup=False)
