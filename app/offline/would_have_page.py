"""The would-have report as Markdown, for people who decide whether policy is enforced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.offline.would_have import TOP

_WHO = (
    "Who asked is not told apart: an archived exchange says what was done about it, not whether policy or a person's order "
    "asked for it. Orders of people are in `stillwatch orders list` and, also those that ended, in the audit log."
)


def markdown(report: Mapping[str, Any]) -> str:
    """The JSON of the report (`GET /v1/reports/would-have`) as Markdown."""
    if not report["known"]:
        return "The admin process has no archive to read, so there is nothing to report from.\n"
    lines = [
        "# What enforcement did, and would have done",
        "",
        f"{_when(report['since'])} to {_when(report['until'])} (the newest archived exchange), policy "
        f"`{report['policy_digest']}` in {report['mode']} mode.",
        "",
        f"{report['requests']:,} requests and {report['tokens']:,} tokens of {report['keys']:,} keys, "
        f"{report['organisations']:,} organisations.",
        "",
        "## By action",
        "",
        _WHO,
        "",
    ]
    if report["actions"]:
        lines += _table(
            ("action", "", "keys", "organisations", "requests", "of all", "refused", "tokens", "of all"),
            [
                (
                    one["action"],
                    "done" if one["really"] else "only counted",
                    f"{one['keys']:,}",
                    f"{one['organisations']:,}",
                    f"{one['requests']:,}",
                    f"{one['requests_share']:.2%}",
                    f"{one['refused']:,}",
                    f"{one['tokens']:,}",
                    f"{one['tokens_share']:.2%}",
                )
                for one in report["actions"]
            ],
        )
        lines += ["", f"A narrowed budget would have refused {report['would_refuse']:,} of the requests only counted."]
    else:
        lines.append("No action touched any request, nor would have.")
    lines += ["", "## By plan", ""]
    lines += _table(
        ("plan", "keys", "touched keys", "requests", "touched requests"),
        [
            (
                one["plan"] or "(none)",
                f"{one['keys']:,}",
                f"{one['touched_keys']:,}",
                f"{one['requests']:,}",
                f"{one['touched_requests']:,}",
            )
            for one in report["plans"]
        ],
    )
    if report["customers"]:
        lines += ["", f"## Customers touched most (at most {TOP})", ""]
        lines += _table(
            ("customer", "plan", "action", "keys", "requests", "touched", "refused", "level now", "what stands out"),
            [
                (
                    one["customer"],
                    one["plan"] or "(none)",
                    one["action"],
                    f"{one['keys']:,}",
                    f"{one['requests']:,}",
                    f"{one['touched_requests']:,}",
                    f"{one['refused']:,}",
                    one["level"],
                    one["reason"] or "–",
                )
                for one in report["customers"]
            ],
        )
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (list(heads), ["---"] * len(heads), *cells)]


def _when(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
