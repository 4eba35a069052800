"""The Traffic Light Protocol 2.0 as STIX 2.1 markings: the published objects, which stix2 does not ship.

Source: OASIS cti-stix-common-objects, extension definition "TLP 2.0"; FIRST, TLP 2.0 (August 2022).
"""

from __future__ import annotations

from typing import Any

EXTENSION = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"

DEFAULT = "amber+strict"
"""For the receiving organisation alone, on a need to know basis."""

LEVELS: dict[str, str] = {
    "clear": "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    "green": "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    "amber": "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    "amber+strict": "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    "red": "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
"""Level → id of its marking, the freest first."""

_OLD = {
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "clear",
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "green",
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "amber+strict",
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "red",
}
"""Of TLP 1.0, which others still send. Its AMBER did not say whether clients may know: it is read strictly."""

_LEVEL_OF = {marking: level for level, marking in LEVELS.items()} | _OLD
_STRICTNESS = {level: number for number, level in enumerate(LEVELS)}


def marking(level: str) -> dict[str, Any]:
    """The marking object of a level, as it was published; KeyError for no level."""
    return {
        "type": "marking-definition",
        "spec_version": "2.1",
        "id": LEVELS[level],
        "created": "2022-10-01T00:00:00.000Z",
        "name": f"TLP:{level.upper()}",
        "extensions": {EXTENSION: {"extension_type": "property-extension", "tlp_2_0": level}},
    }


def level_of(references: object) -> str:
    """The strictest level among an object's markings; the default where none is known."""
    named = [one for one in references if isinstance(one, str)] if isinstance(references, list) else []
    found = [_LEVEL_OF[one] for one in named if one in _LEVEL_OF]
    return max(found, key=_STRICTNESS.__getitem__) if found else DEFAULT


def may_leave(level: str) -> None:
    """ValueError for a level that is none, or that never leaves."""
    if level not in LEVELS:
        raise ValueError(f"tlp: must be one of {', '.join(LEVELS)}")
    if level == "red":
        raise ValueError("tlp: red is for the ears of those present, and never leaves")
