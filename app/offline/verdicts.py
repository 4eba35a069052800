"""verdicts.jsonl and campaigns.jsonl, as the benchmark's scorer and our successors read them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.offline.tracks import Track

VERDICTS = "verdicts.jsonl"
CAMPAIGNS = "campaigns.jsonl"


def write_verdicts(out: Path, ranked: Sequence[Track]) -> Path:
    """One line per key of the log, most suspicious first. The same tracks give the same bytes."""
    path = out / VERDICTS
    _replace(path, b"".join(msgspec.json.encode(line(track)) + b"\n" for track in ranked))
    return path


def write_campaigns(out: Path) -> Path:
    """An empty file: groups of keys are not linked yet."""
    path = out / CAMPAIGNS
    _replace(path, b"")
    return path


def line(track: Track) -> dict[str, Any]:
    """One key's verdict.

    `score` is the highest of the judged part and 0 for a key that was never judged; `level` the highest reached; `first_ts`
    the log's time, in unix seconds, at which the key was first flagged.
    """
    return {
        "key": track.key_id,
        "score": min(1.0, max(0.0, track.score)),
        "level": track.level.name.lower(),
        "first_ts": None if track.flagged_us is None else track.flagged_us / 1_000_000,
        "campaign": None,
        "reasons": [reason.text for reason in track.reasons],
    }


def _replace(path: Path, data: bytes) -> None:
    """A reader never sees half a file."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
