"""A campaign of ours → exactly the bytes that may leave, and exactly the bytes that take them back.

Nothing is read here and nothing is sent: what is known of the campaign comes in, a bundle comes out. Every version of a
publication has the ids of the one before. What the one before said and the new one does not is taken back by the new one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.intel.bundle import Provider, Shared, bundle, campaign_stix_id, indicator_stix_id, objects, rounded, validated
from app.intel.taxii import times
from app.intel.warning_list import WarningList
from detectors.campaign.contract import Campaign
from detectors.campaign.trace import Trace
from detectors.sharing.distil import LEAST_HONEST, LEAST_KEYS, distilled
from detectors.sharing.indicator import DAY_US, VALID_DAYS, Indicator, Kind, checked
from detectors.sharing.shape import active_hours, capability_target
from detectors.sharing.tokens import SCHEME, GroupKey

MOST_PLAIN = 40
"""Values of one plain kind: as STIX patterns they stay below what receivers read, `app.intel.parse`."""

AT_ONCE = 1_000
"""Identity tokens of one indicator: with its pattern it stays below `app.intel.taxii.envelope.MAX_OBJECT_BYTES`."""

REVOCABLE = frozenset({"campaign", "indicator", "relationship", "sighting", "observed-data"})
"""Types of the objects that are ours and speak of a campaign."""

FIELDS: dict[Kind, str] = {"asn": "asns", "client": "clients", "network": "networks"}
"""Plain kinds, and what a request calls them."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the campaign.

    Attributes:
        campaign: as the linker left it.
        keys: its members without those that are on the allow-list, under contract or excused.
        exchanges: of those.
        members: newest traces of those, or of a fair part of them.
        honest: newest traces of keys that are not flagged and in no campaign: a fair sample.
    """

    campaign: Campaign
    keys: int
    exchanges: int
    members: Sequence[Trace]
    honest: Sequence[Trace]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants to be told beside the behaviour.

    Attributes:
        tlp: level of all of it.
        confidence: 0 … 100.
        plain: kind → values, see `plain_values`.
        identities: tokens of accounts, 24 hexadecimal digits each; never addresses.
    """

    tlp: str
    confidence: int
    plain: Mapping[Kind, Sequence[str]] = field(default_factory=dict)
    identities: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """What the versions of a publication have in common.

    Attributes:
        ref: what its ids are made of.
        first_us: first activity as the first version told it: STIX wants it to stay.
        before: bytes of the version before; empty for the first.
    """

    ref: str
    first_us: int
    before: bytes = b""


def plain_values(kind: Kind, values: Sequence[str], warned: WarningList) -> tuple[str, ...]:
    """Values as they are shared: each once, in order.

    Raises:
        ValueError: there are too many, one is not as it must be, or is on the warning list; entry and rule are named.
    """
    if len(values) > MOST_PLAIN:
        raise ValueError(f"must be at most {MOST_PLAIN} of them")
    found = set()
    for number, value in enumerate(values, 1):
        spelt = value
        if kind == "network":
            try:
                spelt = str(ipaddress.ip_network(value))
            except ValueError:
                raise ValueError(
                    f"entry {number} must be a network like 192.0.2.0/24, with zeros behind the prefix"
                ) from None
        try:
            one = checked(Indicator("", kind, (spelt,), 1, 2))
        except ValueError as error:
            raise ValueError(f"entry {number} {str(error).removeprefix('tokens: ')}") from None
        if warned.covers(one):
            raise ValueError(
                f"entry {number} must not be listed: it is on the warning list, or most providers' customers are in it"
            )
        found.add(spelt)
    return tuple(sorted(found))


def shared_of(
    provider: Provider, known: Known, asked: Asked, series: Series, epoch: str, key: GroupKey, now_us: int
) -> Shared:
    """What is told of a campaign.

    Args:
        provider: who says it.
        known: of the campaign.
        asked: beside its behaviour.
        series: of the publication.
        epoch, key: of the group, the newest.
        now_us: from when on it counts.

    Raises:
        ValueError: there are too few keys, or nothing tells the campaign apart.
    """
    if known.keys < LEAST_KEYS:
        raise ValueError(
            f"nothing is shared of fewer than {LEAST_KEYS} keys; without those on the allow-list, under contract or "
            f"excused there are {known.keys}"
        )
    campaign = campaign_stix_id(provider, series.ref)

    def one(
        kind: Kind, tokens: Sequence[str], number: int = 0, weights: Sequence[float] = (), keyed: bool = False
    ) -> Indicator:
        return Indicator(
            id=indicator_stix_id(provider, series.ref, kind, str(number)),
            kind=kind,
            tokens=tuple(tokens),
            valid_from_us=now_us,
            valid_until_us=now_us + VALID_DAYS[kind] * DAY_US,
            scheme=SCHEME if keyed else "",
            epoch=epoch if keyed else "",
            weights=tuple(weights),
            confidence=asked.confidence,
            campaign=campaign,
        )

    indicators = []
    compared = len(known.honest) >= LEAST_HONEST
    for found in distilled(known.members, known.honest) if compared else ():
        indicators.append(one(found.kind, [key.token(mark) for mark in found.marks], 0, found.weights, keyed=True))
    indicators += [one(kind, values) for kind, values in asked.plain.items() if values]
    # In the order of the tokens: that of a person's list might say something.
    tokens = sorted(set(asked.identities))
    for number, first in enumerate(range(0, len(tokens), AT_ONCE)):
        indicators.append(one("identity", tokens[first : first + AT_ONCE], number, keyed=True))
    if not indicators:
        why = (
            "nothing in its behaviour tells it apart from other keys"
            if compared
            else f"to compare behaviour {LEAST_HONEST} keys without a flag are needed, and {len(known.honest)} are known"
        )
        raise ValueError(f"{why}, and no network, system, client or account was named")
    first_us = min(series.first_us, now_us)
    return Shared(
        ref=series.ref,
        first_us=first_us,
        last_us=max(first_us, min(known.campaign.at_us, now_us)),
        keys=rounded(known.keys),
        exchanges=rounded(known.exchanges),
        indicators=indicators,
        kinds=_kinds(known.campaign),
        hours=active_hours(known.members),
        target=capability_target(known.members),
        confidence=asked.confidence,
        tlp=asked.tlp,
    )


def written(provider: Provider, shared: Shared, series: Series, now_us: int) -> bytes:
    """The bundle as it leaves, checked against STIX 2.1.

    Raises:
        ValueError: the level is red or none, or the bundle is not valid.
        ConfigError: the extra `share` is not installed.
    """
    at_us = _later(series.before, now_us)
    made = objects(provider, shared, at_us)
    named = {one["id"] for one in made}
    return _bytes([*made, *_revoked((one for one in _objects(series.before) if one["id"] not in named), at_us)])


def revocation(published: bytes, now_us: int) -> bytes:
    """A bundle that takes back what another one said: the same objects, revoked."""
    found = _objects(published)
    common = [one for one in found if one["type"] in ("marking-definition", "identity")]
    # Not validated: taking back must work where the extra is not installed, and these objects were valid before.
    return orjson.dumps(bundle([*common, *_revoked(found, _later(published, now_us))]))


def entries(data: bytes) -> list[tuple[str, int | None, bytes]]:
    """(id, version in µs or None, JSON) of each object of a bundle: the very bytes that it has in the bundle."""
    found = []
    for one in _objects(data):
        version = one.get("modified") or one.get("created")
        found.append((one["id"], times.parse(version) if version else None, orjson.dumps(one)))
    return found


def _kinds(campaign: Campaign) -> dict[str, float]:
    """Kind of evidence → share of honest keys that show the strongest of its kind, too."""
    found: dict[str, float] = {}
    for one in campaign.evidence:
        if one.nats > 0.0:
            found.setdefault(one.kind, min(1.0, max(0.0, one.honest)))
    return found


def _revoked(found: Iterable[Mapping[str, Any]], at_us: int) -> list[dict[str, Any]]:
    """Last versions of those objects that are ours and were not taken back before."""
    at = times.version(at_us)
    return [
        {**one, "modified": at, "revoked": True} for one in found if one["type"] in REVOCABLE and not one.get("revoked")
    ]


def _later(before: bytes, now_us: int) -> int:
    """Now, in whole ms, and behind every version in `before`: the clocks of two machines may differ."""
    newest = max((times.parse(one["modified"]) for one in _objects(before) if "modified" in one), default=0)
    return max(now_us // 1000 * 1000, newest + 1000)


def _objects(data: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(data)["objects"] if data else []
    return found


def _bytes(found: Sequence[Mapping[str, Any]]) -> bytes:
    made = bundle(found)
    validated(made)
    return orjson.dumps(made)
