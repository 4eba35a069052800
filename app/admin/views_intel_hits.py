"""Keys that show received indicators, as people read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from app.admin.models_intel_hits import HitOut, ReporterOut, SeenOut, SharedOut
from app.admin.models_keys import ReasonOut
from app.admin.views import moment
from app.intel.digesting import agreeing
from app.state.intel_hits import KeyHits, Seen
from app.state.intel_indicators import Held, Standing, place

Standings = Mapping[tuple[str, str], Standing]

_KIND_WORDS = {
    "template": "wordings",
    "contract": "forms of answer",
    "settings": "settings",
    "network": "networks",
    "asn": "autonomous systems",
    "client": "clients",
    "identity": "an account",
}


def hit(found: KeyHits, held: Mapping[str, Held], standings: Standings) -> HitOut:
    """One key of a list."""
    return HitOut(key_id=found.key_id, **_fields(found, held, standings))


def shared(found: KeyHits | None, held: Mapping[str, Held], standings: Standings) -> SharedOut | None:
    """The part of a key's page; None for a key that shows nothing."""
    return None if found is None else SharedOut(**_fields(found, held, standings))


def reason(found: SharedOut) -> ReasonOut:
    """What was shared as one of a verdict's reasons: a sentence with its source and its confidence."""
    kinds = list(dict.fromkeys(one.kind for one in found.seen))
    words = " and ".join(filter(None, (", ".join(_KIND_WORDS[kind] for kind in kinds[:-1]), _KIND_WORDS[kinds[-1]])))
    said = {one.member: one for seen in found.seen for one in seen.reporters}
    who = ", ".join(f"{name} (trust {one.trust:.2f}, confidence {one.confidence})" for name, one in sorted(said.items()))
    return ReasonOut(
        text=f"fits {words} of an operation reported by {who or 'nobody any more'}: {found.score:.0f} of 100"
        + (f"; {found.local}" if found.local else "; a report alone decides nothing"),
        feature="shared",
        value=found.score,
        peer_percentile=None,
        direction="high",
        weight=0.0,
    )


def _fields(found: KeyHits, held: Mapping[str, Held], standings: Standings) -> dict[str, Any]:
    return {
        "effect": found.effect,
        "score": found.score,
        "voices": found.voices,
        "local": found.local,
        "excuse": found.excuse,
        "acted": found.acted,
        "since": moment(found.since_us) if found.since_us else None,
        "until": moment(found.until_us) if found.until_us else None,
        "at": moment(found.at_us),
        "seen": [_seen(one, held.get(place(one.group, one.indicator)), standings) for one in found.seen],
    }


def _seen(one: Seen, held: Held | None, standings: Standings) -> SeenOut:
    told = [] if held is None else agreeing(held, cast("dict[tuple[str, str], Standing]", standings))
    return SeenOut(
        indicator=one.indicator,
        group=one.group,
        campaign=one.campaign,
        kind=one.kind,
        carried=one.carried,
        nats=one.nats,
        first=moment(one.first_us),
        last=moment(one.last_us),
        tlp="" if held is None else held.tlp,
        reporters=[
            ReporterOut(
                member=report.reporter.name.partition("/")[2],
                organisation=report.reporter.organisation,
                trust=round(report.reporter.trust, 3),
                confidence=report.confidence,
                said=moment(report.at_us),
            )
            for report in told
        ],
    )
