"""verdicts.jsonl and campaigns.jsonl, as the benchmark's scorer and our successors read them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.offline.linking import Reported
from app.offline.tracks import Track
from detectors.campaign.contract import Evidence, Member, Turn

VERDICTS = "verdicts.jsonl"
CAMPAIGNS = "campaigns.jsonl"


def write_verdicts(out: Path, ranked: Sequence[Track], campaign_of: Mapping[str, str] | None = None) -> Path:
    """One line per key of the log, most suspicious first. The same tracks give the same bytes.

    Args:
        out: existing folder.
        ranked: tracks, the most suspicious first.
        campaign_of: key id → id of the reported campaign it belongs to.
    """
    path = out / VERDICTS
    homes = campaign_of or {}
    _replace(path, b"".join(msgspec.json.encode(line(track, homes.get(track.key_id))) + b"\n" for track in ranked))
    return path


def write_campaigns(out: Path, reported: Sequence[Reported]) -> Path:
    """One line per campaign that was reported, most suspicious first; the same ones give the same bytes."""
    path = out / CAMPAIGNS
    _replace(path, b"".join(msgspec.json.encode(campaign_line(one)) + b"\n" for one in reported))
    return path


def line(track: Track, campaign: str | None = None) -> dict[str, Any]:
    """One key's verdict.

    `score` is the highest of the judged part and 0 for a key that was never judged; `level` the highest reached; `first_ts`
    the log's time, in unix seconds, at which the key was first flagged; `campaign` the id of the reported one it is in.
    """
    return {
        "key": track.key_id,
        "score": min(1.0, max(0.0, track.score)),
        "level": track.level.name.lower(),
        "first_ts": None if track.flagged_us is None else track.flagged_us / 1_000_000,
        "campaign": campaign,
        "reasons": [reason.text for reason in track.reasons],
    }


def campaign_line(one: Reported) -> dict[str, Any]:
    """One campaign. `score` and `level` are the highest it had, `first_ts` the end of the pass that first reported it."""
    campaign = one.campaign
    return {
        "campaign": campaign.id,
        "keys": list(one.keys),
        "score": min(1.0, max(0.0, one.score)),
        "first_ts": one.flagged_us / 1_000_000,
        "level": one.level.name.lower(),
        "size": len(campaign.members),
        "organisations": campaign.organisations,
        "requests": campaign.requests,
        "leaked": campaign.leaked,
        "evidence": [_evidence(said) for said in campaign.evidence],
        "members": [_member(member) for member in campaign.members],
        "history": [_turn(turn) for turn in campaign.history],
    }


def _evidence(one: Evidence) -> dict[str, Any]:
    return {
        "channel": one.channel,
        "kind": one.kind,
        "nats": round(one.nats, 3),
        "share": round(one.share, 4),
        "honest_share": round(one.honest, 6),
        "text": one.text,
    }


def _member(one: Member) -> dict[str, Any]:
    return {
        "key": one.key_id,
        "org": one.org,
        "joined_ts": one.joined_us / 1_000_000,
        "strength": one.strength,
        "channels": list(one.channels),
        "requests": one.requests,
        "leaked": one.leaked,
    }


def _turn(one: Turn) -> dict[str, Any]:
    told = {"ts": one.at_us / 1_000_000, "what": one.what, "keys": one.keys}
    return told | ({"other": one.other} if one.other else {}) | ({"level": one.level} if one.level else {})


def _replace(path: Path, data: bytes) -> None:
    """A reader never sees half a file."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
