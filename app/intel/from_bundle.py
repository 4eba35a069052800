"""Indicators of a bundle file, as if a member had sent it just now: for looking, and without keeping any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from app.errors import BadInput
from app.intel.parse import Revoked, Told, meaning
from app.state.intel_indicators import MAX_INDICATORS, Held, Standing, Word
from detectors.sharing.indicator import BEHAVIOUR
from detectors.sharing.tokens import SCHEME, GroupKey

MAX_BYTES = 256 * 1024 * 1024

MEMBER = "file"
"""Name of the reporter: somebody of whom nothing is known."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a bundle holds.

    Attributes:
        held: its indicators.
        standings: of its only reporter.
        refused: objects that broke a rule.
    """

    held: tuple[Held, ...]
    standings: Mapping[tuple[str, str], Standing]
    refused: int


def taken(data: bytes, group: str, now_us: int) -> Taken:
    """A bundle's bytes → its indicators; of several versions of one the newest.

    Raises:
        BadInput: it is no bundle of STIX, or holds too many objects.
    """
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise BadInput("bundle: must be JSON") from None
    objects = found.get("objects") if isinstance(found, dict) and found.get("type") == "bundle" else None
    if not isinstance(objects, list):
        raise BadInput("bundle: must be an object with type bundle and a list of objects")
    if len(objects) > 8 * MAX_INDICATORS:
        raise BadInput(f"bundle: must have at most {8 * MAX_INDICATORS:,} objects")
    newest: dict[str, Held] = {}
    revoked: set[str] = set()
    refused = 0
    for one in objects:
        try:
            said = meaning(one, now_us) if isinstance(one, dict) else None
        except (ValueError, TypeError, RecursionError):
            refused += 1
            continue
        if isinstance(said, Revoked):
            revoked.add(said.object_id)
        elif isinstance(said, Told):
            word = Word(MEMBER, said.version_us, now_us, said.indicator.confidence)
            held = Held(said.indicator, group, MEMBER, said.version_us, said.tlp, (word,))
            known = newest.get(said.indicator.id)
            if known is None or known.version_us < held.version_us:
                newest[said.indicator.id] = held
    kept = tuple(held for name, held in newest.items() if name not in revoked)
    return Taken(kept, {(group, MEMBER): Standing(group, MEMBER, MEMBER, now_us)}, refused)


def misfit(held: tuple[Held, ...], keys: Mapping[str, GroupKey]) -> str:
    """Why behaviour indicators cannot be compared with this group's keys, as the end of a sentence; empty if all can be.

    Args:
        held: of one group.
        keys: epoch → key of that group.
    """
    behaviour = [one.indicator for one in held if one.indicator.kind in BEHAVIOUR]
    schemes = sorted({one.scheme for one in behaviour} - {SCHEME})
    epochs = sorted({one.epoch for one in behaviour if one.scheme == SCHEME and one.epoch not in keys})
    several = sum(one.scheme != SCHEME or one.epoch not in keys for one in behaviour)
    if not several:
        return ""
    why = [f"key epoch {', '.join(epochs[:5])}, of which intel.keys_dir has no secret"] if epochs else []
    why += [f"scheme {', '.join(schemes[:5])}, which this release does not make"] if schemes else []
    return f"{several:,} of {len(behaviour):,} behaviour indicators are of {' or '.join(why)}"
