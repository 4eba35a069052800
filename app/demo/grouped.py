"""What the linker made of the past: the operation that was planted there, and the viral app beside it."""

from __future__ import annotations

from app.demo.history import Past
from app.offline.linking import Reported

EVIDENCE = 4
"""Channels named of a campaign."""

MISSED_SHARE = 0.5
"""Share of the planted keys that the campaign must hold at least."""


def told(past: Past, keep: bool) -> list[str]:
    """Lines about the campaigns of the past's last day.

    Args:
        past: with what was found in it.
        keep: the folder of the run stays, and so does the picture.
    """
    lines = [
        f"On the last day {len(past.operation)} keys of one operation, each of few requests, and {len(past.crowd)} users "
        f"of one viral app came new. The linker reports {len(past.campaigns)} campaign{_s(len(past.campaigns))}:"
    ]
    for one in past.campaigns:
        keys = set(one.keys)
        lines.append(
            f"  {one.campaign.id}: {one.level.name.lower()}, {len(keys)} keys of {one.campaign.organisations} "
            "organisations, "
            f"{len(keys & past.operation)} of the {len(past.operation)} planted ones, "
            f"{len(keys & past.crowd)} of the app's users"
        )
        lines += [f"    {line}" for line in _evidence(one)]
    if past.picture is not None:
        where = str(past.picture) if keep else "kept with --keep FOLDER, in history/"
        lines.append(f"  their picture: {where}")
    return lines


def shortfall(past: Past) -> str:
    """A sentence about a planted operation that was missed, or honest keys in a campaign; "" when there is neither."""
    if not past.operation:
        return ""
    found = {key for one in past.campaigns for key in one.keys}
    parts = []
    if len(found & past.operation) < MISSED_SHARE * len(past.operation):
        parts.append(f"of the operation's {len(past.operation)} keys {len(found & past.operation)} are in a campaign")
    if found - past.operation:
        parts.append(f"honest keys in a campaign: {len(found - past.operation)}")
    return "; ".join(parts)


def _evidence(one: Reported) -> list[str]:
    return [
        f"{said.channel.replace('_', ' ')}: {said.text} ({said.share:.0%} of members, {said.honest:.1%} of honest keys)"
        for said in one.campaign.evidence[:EVIDENCE]
    ]


def _s(number: int) -> str:
    return "" if number == 1 else "s"
