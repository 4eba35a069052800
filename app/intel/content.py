"""What a document tells: its indicators with who says so and under which marking, for people and for other formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import BadInput
from app.intel import tlp
from app.intel.documents import Document, Found
from app.intel.parse import Told, meaning
from detectors.sharing.indicator import Indicator

_MAX_NAMES = 1_000
"""Identities of a document whose names are kept."""


@dataclass(frozen=True, slots=True)
class Line:
    """One indicator.

    Attributes:
        indicator: what to look for.
        tlp: level it is marked with.
        revoked: taken back.
        said_by: name of who made it, as the document says; its id where it gives none; "" where nothing says it.
    """

    indicator: Indicator
    tlp: str
    revoked: bool
    said_by: str


@dataclass(slots=True)
class Content:
    """What a document holds.

    Attributes:
        types: STIX type → how many objects.
        levels: TLP level → how many of the indicators and campaigns.
        lines: indicators that this release understands.
        others: indicators that it does not.
        endless: indicators without `valid_until`, of both sorts.
        campaigns: (STIX id, name, objective).
        techniques: (id, name) of MITRE ATLAS.
        names: STIX id of an identity → its name.
        faults: (place, rule) of objects that are left out.
    """

    types: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    lines: list[Line] = field(default_factory=list)
    others: int = 0
    endless: int = 0
    campaigns: list[tuple[str, str]] = field(default_factory=list)
    techniques: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)

    @property
    def level(self) -> str:
        """The strictest level in it."""
        return tlp.level_of([tlp.LEVELS[level] for level in self.levels])


def content(document: Document, now_us: int) -> Content:
    """All of it."""
    made = Content()
    told: list[tuple[Told, bool, str]] = []
    for found in document.objects():
        if found.content is None:
            made.faults.append((f"objects.{found.number}", found.fault))
        else:
            _add(made, told, found, found.content, now_us)
    for one, revoked, author in told:
        made.lines.append(Line(one.indicator, one.tlp, revoked, made.names.get(author, author)))
    return made


def may_leave(found: Content) -> None:
    """BadInput where something in it is marked TLP:RED, or broke a rule."""
    if found.faults:
        place, rule = found.faults[0]
        raise BadInput(f"{place}: {rule}")
    if found.levels["red"]:
        raise BadInput("document: TLP:RED is in it, and never leaves")


def _add(made: Content, told: list[tuple[Told, bool, str]], found: Found, one: dict[str, Any], now_us: int) -> None:
    kind, place = str(one["type"]), f"objects.{found.number}"
    made.types[kind] += 1
    if kind in ("indicator", "campaign") or found.red:
        made.levels["red" if found.red else tlp.level_of(one.get("object_marking_refs"))] += 1
    if kind == "identity" and len(made.names) < _MAX_NAMES:
        made.names[one["id"]] = _text(one.get("name"))
    elif kind == "campaign":
        made.campaigns.append((one["id"], _text(one.get("name"))))
    elif kind == "attack-pattern":
        made.techniques += [(identifier, _text(one.get("name"))) for identifier in _atlas(one.get("external_references"))]
    if kind != "indicator":
        return
    made.endless += "valid_until" not in one
    if found.red:
        return
    try:
        said = meaning({**one, "revoked": False}, now_us)
    except ValueError as error:
        made.faults.append((place, str(error)))
        return
    if isinstance(said, Told):
        author = one.get("created_by_ref")
        told.append((said, one.get("revoked") is True, author if isinstance(author, str) else ""))
    else:
        made.others += 1


def _atlas(references: object) -> Sequence[str]:
    if not isinstance(references, list):
        return ()
    return [
        _text(one["external_id"])
        for one in references
        if isinstance(one, dict) and one.get("source_name") == "mitre-atlas" and isinstance(one.get("external_id"), str)
    ]


def _text(value: object) -> str:
    """A name for people: one line of what prints."""
    return "".join(sign for sign in value if sign.isprintable())[:200] if isinstance(value, str) else ""
