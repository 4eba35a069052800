"""The newest look at the whole fleet as Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def markdown(report: Mapping[str, Any]) -> str:
    """The JSON of the report (`GET /v1/looks`) as Markdown."""
    look = report["look"]
    if look is None:
        return (
            "No look was made yet: the first one follows ten minutes after the first whole interval (worker.look_hours).\n"
        )
    frozen = ", ".join(f"`{name}`" for name in look["frozen"]) or "nothing"
    lines = [
        "# The newest look at the whole fleet",
        "",
        f"Exchanges until {_when(look['until'])}; keys are judged under it from {_when(look['counts_from'])} on.",
        "",
        f"- frozen, because {look['organisations']:,} settled organisations together moved in them: {frozen}",
        f"- keys compared: {look['judged']:,}; called: {look['called']:,}, of which {report['honest_share']:.0%} may be "
        "expected to be honest",
    ]
    if look["reference_old"]:
        lines.append("- **the model is of other days**: more features moved than may be frozen; fit a new one")
    if report["keys"]:
        lines += ["", "| key | p-value |", "| --- | ---: |"]
        lines += [f"| `{one['key_id']}` | {one['p_value']:.2g} |" for one in report["keys"]]
    return "\n".join(lines) + "\n"


def _when(text: str) -> str:
    return f"{text[:16].replace('T', ' ')} UTC"
