"""A bundle of ours for people: made from its bytes and nothing else, so what is read is what leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from app.intel import tlp
from app.intel.bundle import CONTEXT, EXTENSION

_SHOWN_HOURS = 0.03
"""Share of activity from which an hour of the day is named: all 24 alike have 0.04."""


def counts(data: bytes) -> dict[str, int]:
    """Type → how many objects."""
    return dict(sorted(Counter(one["type"] for one in orjson.loads(data)["objects"]).items()))


def lines(data: bytes) -> list[str]:
    """What a bundle says, a sentence each."""
    found = orjson.loads(data)["objects"]
    levels = {tlp.level_of(one["object_marking_refs"]) for one in found if "object_marking_refs" in one}
    told = [f"TLP:{level.upper()}" for level in sorted(levels)]
    for one in found:
        if one["type"] == "identity":
            told.append(f"from {one['name']}")
        elif one["type"] == "campaign":
            told += _campaign(one)
        elif one["type"] == "indicator":
            told.append(_indicator(one))
    techniques = [one["external_references"][0]["external_id"] for one in found if one["type"] == "attack-pattern"]
    return [*told, f"MITRE ATLAS: {', '.join(techniques)}"] if techniques else told


def _campaign(one: Mapping[str, Any]) -> list[str]:
    if one.get("revoked"):
        return [f"taken back: {one['id']}"]
    context = one["extensions"][CONTEXT]
    told = [
        f"{one['id']}: about {context['keys']:,} keys and {context['exchanges']:,} exchanges, from {one['first_seen']} to "
        f"{one['last_seen']}, confidence {one['confidence']}"
    ]
    if evidence := context.get("evidence"):
        named = [f"{kind['kind']} ({kind['honest_share']:.2%} of honest keys show it)" for kind in evidence]
        told.append(f"evidence: {', '.join(named)}")
    if hours := context.get("active_hours_utc"):
        busy = [f"{hour:02d}" for hour, share in enumerate(hours) if share >= _SHOWN_HOURS]
        told.append(f"active hours, UTC: {' '.join(busy)}")
    if target := context.get("capability_target"):
        aims = [f"{aim['capability']} {aim['share']:.0%}" for aim in target]
        told.append(f"after: {', '.join(aims)}")
    return told


def _indicator(one: Mapping[str, Any]) -> str:
    sketch = one.get("extensions", {}).get(EXTENSION)
    kind = one["name"].partition(" ")[0]
    if one.get("revoked"):
        return f"taken back: {kind} indicator {one['id']}"
    end = f"until {one['valid_until']}, confidence {one['confidence']}"
    if sketch is None:
        return f"{kind}: {one['pattern']}, {end}"
    what = "accounts" if kind == "identity" else "marks"
    return f"{kind}: {len(sketch['tokens']):,} {what} as keyed hashes of epoch {sketch['key_epoch']}, {end}"
