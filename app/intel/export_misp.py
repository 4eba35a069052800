"""Indicators as one event of MISP, made offline with pymisp.

The event and its attributes have ids made of what they stand for, so a second export updates the same ones. Nothing in it
may be spread by MISP itself: distribution is "your organisation only", whoever imports it opens it as the TLP tag allows.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from app.errors import ConfigError
from app.intel.bundle import NAMESPACE
from app.intel.content import Content, Line
from app.intel.taxii import times

_TYPES = {"asn": "AS", "client": "user-agent", "network": "ip-src"}
"""Plain kinds → type of MISP's core format, all of the category "Network activity"."""

_DETECTS = frozenset({"network"})
"""Kinds whose values a detection system may alert on by themselves: a provider's AS and a library's name are those of
many honest customers too, and tokens of behaviour mean nothing outside the group."""

_ORGANISATION_ONLY, _HIGH, _COMPLETED = 0, 1, 2


def exported(found: Content, now_us: int) -> str:
    """The event, as JSON that MISP imports and `MISPEvent.load` reads.

    Args:
        found: what is exported.
        now_us: date of the event, unix µs.

    Raises:
        ConfigError: the extra `misp` is not installed.
    """
    try:
        from pymisp import MISPEvent
    except ImportError:
        raise ConfigError("this format needs the extra 'misp': pip install 'stillwatch[misp]'") from None
    event = MISPEvent()
    names = [name or identifier for identifier, name in found.campaigns] or ["Distillation indicators"]
    about = "/".join(sorted([identifier for identifier, _ in found.campaigns] or [one.indicator.id for one in found.lines]))
    event.uuid = str(uuid.uuid5(NAMESPACE, f"misp/event/{about}"))
    event.info = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    event.date = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC).date()
    event.distribution, event.threat_level_id, event.analysis = _ORGANISATION_ONLY, _HIGH, _COMPLETED
    event.add_tag(f"tlp:{found.level}")
    for identifier, name in dict.fromkeys(found.techniques):
        event.add_tag(f'misp-galaxy:mitre-atlas-attack-pattern="{name.replace(chr(34), "")}"')
        event.add_tag(f'mitre-atlas:technique="{identifier.replace(chr(34), "")}"')
    for identifier, name in found.campaigns:
        made: Any = event.add_attribute("campaign-name", name or identifier, category="Attribution", to_ids=False)
        made.uuid = str(uuid.uuid5(NAMESPACE, f"misp/{identifier}"))
    for line in found.lines:
        for number in range(len(line.indicator.tokens)):
            _attribute(event, line, number)
    return str(event.to_json(indent=1))


def _attribute(event: Any, line: Line, number: int) -> None:
    one, token = line.indicator, line.indicator.tokens[number]
    made = event.add_attribute(
        _TYPES.get(one.kind, "other"),
        token,
        category="Network activity" if one.kind in _TYPES else "Other",
        comment=_comment(line, number),
        to_ids=one.kind in _DETECTS and not line.revoked,
        disable_correlation=one.kind not in _TYPES,
    )
    made.uuid = str(uuid.uuid5(NAMESPACE, f"misp/{one.id}/{token}"))
    made.first_seen = times.version(one.valid_from_us)
    made.last_seen = times.version(one.valid_until_us)
    made.add_tag(f"tlp:{line.tlp}")
    if line.revoked:
        made.delete()


def _comment(line: Line, number: int) -> str:
    one = line.indicator
    said = [f"stillwatch {one.kind}"]
    if one.scheme:
        said.append(f"scheme {one.scheme}, key epoch {one.epoch}")
    if one.weights:
        said.append(f"weight {one.weights[number]:g}")
    said += [f"confidence {one.confidence}", f"valid until {times.version(one.valid_until_us)}", one.id]
    return "; ".join(said)
