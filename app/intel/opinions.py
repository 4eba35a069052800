"""What we say about others' indicators, as STIX objects: an opinion, and a sighting where enough keys showed it.

An opinion says that somebody here agrees or disagrees; no reason, no name of a person and nothing of the indicator but its
id is in it. A sighting tells of how many keys, and of fewer than LEAST_TOLD nothing is told: neither their number nor that
there were any.
"""

from __future__ import annotations

import uuid
from typing import Any

from app.intel import tlp
from app.intel.bundle import NAMESPACE, Provider
from app.intel.taxii import times
from app.state.intel_words import Said

LEAST_TOLD = 10
"""Keys: as in everything that leaves."""


def told(keys: int) -> int:
    """How many keys others are told of: rounded down to one digit, 0 below LEAST_TOLD.

    Two digits would be the exact number of a group of 37.
    """
    if keys < LEAST_TOLD:
        return 0
    step = int("1" + "0" * (len(str(keys)) - 1))
    return keys // step * step


def objects(provider: Provider, said: Said, level: str) -> list[dict[str, Any]]:
    """What others are told of a word: made of the word alone, so a second time it is the same objects.

    Args:
        provider: who says it.
        said: the word.
        level: TLP of the indicator, and so of these.

    Raises:
        ValueError: the level is red, or none.
    """
    tlp.may_leave(level)
    common = {
        "spec_version": "2.1",
        "created_by_ref": provider.id,
        "object_marking_refs": [tlp.LEVELS[level]],
    }
    made: list[dict[str, Any]] = []
    if said.ended_us:
        # STIX knows nothing behind a retraction, so each sighting has an id of its own, and the next one another.
        made.append(_sighting(provider, said, common, said.ended_us) | {"modified": _time(said.at_us), "revoked": True})
    made.append(
        {
            "type": "opinion",
            "id": f"opinion--{uuid.uuid5(NAMESPACE, f'{provider.id}/opinion/{said.group}/{said.indicator}')}",
            **common,
            "created": _time(said.first_us),
            "modified": _time(said.at_us),
            "opinion": said.word,
            "object_refs": [said.indicator],
        }
    )
    if said.keys:
        made.append(_sighting(provider, said, common, said.at_us) | {"count": min(999_999_999, said.keys)})
    return made


def _sighting(provider: Provider, said: Said, common: dict[str, Any], at_us: int) -> dict[str, Any]:
    name = f"{provider.id}/sighting/{said.group}/{said.indicator}/{at_us}"
    return {
        "type": "sighting",
        "id": f"sighting--{uuid.uuid5(NAMESPACE, name)}",
        **common,
        "created": _time(at_us),
        "modified": _time(at_us),
        "sighting_of_ref": said.indicator,
        "where_sighted_refs": [provider.id],
    }


def _time(at_us: int) -> str:
    return times.version(at_us)
