"""A campaign as STIX 2.1 objects: everything that leaves is made here, of values that were meant to leave.

Ids are made of what they stand for (UUIDv5 in a namespace of ours), so a second publication of the same campaign is a new
version of the same objects. Behaviour indicators have a pattern type of ours, `x-stillwatch-sketch`, and a property
extension with scheme, epoch, kind and weights; who does not know it reads an indicator with a time and a confidence.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.errors import ConfigError
from app.intel import atlas, tlp
from app.intel.taxii import times
from detectors.sharing.indicator import BEHAVIOUR, Indicator, checked

NAMESPACE = uuid.UUID("6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10")

EXTENSION = f"extension-definition--{uuid.uuid5(NAMESPACE, 'indicator-sketch')}"
EXTENSION_VERSION = "1.0.0"
CONTEXT = f"extension-definition--{uuid.uuid5(NAMESPACE, 'campaign-context')}"

SKETCH = "x-stillwatch-sketch"
IDENTITY = "x-stillwatch-identity"

_SCHEMA = "Stillwatch documentation, docs/intel.md: What is shared"
_BORN = "2026-11-26T00:00:00.000Z"

_PLAIN = {
    "asn": "[autonomous-system:number = {number}]",
    "client": "[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = '{value}']",
    "network4": "[ipv4-addr:value ISSUBSET '{value}']",
    "network6": "[ipv6-addr:value ISSUBSET '{value}']",
}


@dataclass(frozen=True, slots=True)
class Provider:
    """Who publishes.

    Attributes:
        id: STIX id, `identity--` and a UUID.
        name: as others know it.
        signing_key: fingerprint of the key that signs its feeds; empty without one.
    """

    id: str
    name: str
    signing_key: str = ""


@dataclass(frozen=True, slots=True)
class Shared:
    """What is told of a campaign.

    Attributes:
        ref: what its ids are made of: something that says nothing outside, see `reference`.
        first_us: first activity, unix µs.
        last_us: newest activity.
        keys: how many, rounded.
        exchanges: of all of them, rounded.
        indicators: what to look for.
        kinds: kind of evidence → share of honest keys that show it, too.
        hours: 24 rounded shares of activity by hour of the day, UTC; empty where not told.
        target: capability → rounded share of answers that were about it.
        confidence: 0 … 100.
        tlp: of everything in it.
    """

    ref: str
    first_us: int
    last_us: int
    keys: int
    exchanges: int
    indicators: Sequence[Indicator]
    kinds: Mapping[str, float] = field(default_factory=dict)
    hours: Sequence[float] = ()
    target: Mapping[str, float] = field(default_factory=dict)
    confidence: int = 80
    tlp: str = tlp.DEFAULT


def provider_id(name: str) -> str:
    """A provider's STIX id, of its name."""
    return f"identity--{uuid.uuid5(NAMESPACE, f'provider/{name}')}"


def campaign_stix_id(provider: Provider, ref: str) -> str:
    """The STIX id of a campaign."""
    return f"campaign--{uuid.uuid5(NAMESPACE, f'{provider.id}/campaign/{ref}')}"


def indicator_stix_id(provider: Provider, ref: str, kind: str, value: str) -> str:
    """The STIX id of an indicator of a campaign; `value` tells several of one kind apart."""
    return f"indicator--{uuid.uuid5(NAMESPACE, f'{provider.id}/campaign/{ref}/{kind}/{value}')}"


def rounded(count: int) -> int:
    """To two significant digits: exact numbers tell one customer's volume from another's."""
    digits = max(0, len(str(count)) - 2)
    return round(count, -digits)


def objects(provider: Provider, shared: Shared, now_us: int, revoked: bool = False) -> list[dict[str, Any]]:
    """All that leaves of one campaign, in an order in which every reference has come before.

    Args:
        provider: who says it.
        shared: what is said.
        now_us: time of this version.
        revoked: the campaign and its indicators are taken back.

    Raises:
        ValueError: the level is red or none; an indicator is not as it must be.
    """
    tlp.may_leave(shared.tlp)
    common = {
        "spec_version": "2.1",
        "created_by_ref": provider.id,
        "created": _time(shared.first_us),
        "modified": _time(now_us),
        "object_marking_refs": [tlp.LEVELS[shared.tlp]],
    } | ({"revoked": True} if revoked else {})
    campaign = campaign_stix_id(provider, shared.ref)
    techniques = [*atlas.TECHNIQUES, *([atlas.PROXIES] if any(one.kind == "network" for one in shared.indicators) else [])]
    made: list[dict[str, Any]] = [
        tlp.marking(shared.tlp),
        _identity(provider),
        *_extensions(provider),
        *(atlas.pattern(technique) for technique in techniques),
        _campaign(campaign, common, shared),
    ]
    indicators = [_indicator(checked(one), common, campaign) for one in shared.indicators]
    made += indicators
    if not revoked:
        made += _seen(provider, shared, common, campaign, indicators)
    made += [_related(common, campaign, "uses", technique.stix_id) for technique in techniques]
    made += [_related(common, one["id"], "indicates", campaign) for one in indicators]
    return made


def bundle(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Objects as a bundle, whose id is made of theirs."""
    names = "/".join(f"{one['id']}@{one.get('modified', '')}" for one in found)
    return {"type": "bundle", "id": f"bundle--{uuid.uuid5(NAMESPACE, names)}", "objects": list(found)}


def validated(found: Mapping[str, Any]) -> None:
    """Checks a bundle against STIX 2.1 with the library of its makers.

    Raises:
        ConfigError: the extra `share` is not installed.
        ValueError: it is no valid bundle; the message says where.
    """
    try:
        import stix2
        from stix2.exceptions import STIXError
    except ImportError:
        raise ConfigError("sharing needs the extra 'share': pip install 'stillwatch[share]'") from None
    try:
        stix2.parse(dict(found), allow_custom=False, version="2.1")
    except (STIXError, ValueError) as error:
        raise ValueError(f"bundle: not valid STIX 2.1: {type(error).__name__}") from None


def _identity(provider: Provider) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "identity",
        "spec_version": "2.1",
        "id": provider.id,
        "created": _BORN,
        "modified": _BORN,
        "name": provider.name,
        "identity_class": "organization",
    }
    if provider.signing_key:
        made["external_references"] = [{"source_name": "ed25519", "external_id": provider.signing_key}]
    return made


def _extensions(provider: Provider) -> list[dict[str, Any]]:
    names = {
        EXTENSION: ("indicator sketch", "Keyed sketches of behaviour: scheme, epoch of the group's key, kind, weights."),
        CONTEXT: ("campaign context", "Counts, kinds of evidence, active hours and aims of a distillation campaign."),
    }
    return [
        {
            "type": "extension-definition",
            "spec_version": "2.1",
            "id": extension,
            "created_by_ref": provider.id,
            "created": _BORN,
            "modified": _BORN,
            "name": f"Stillwatch {name}",
            "description": description,
            "schema": _SCHEMA,
            "version": EXTENSION_VERSION,
            "extension_types": ["property-extension"],
        }
        for extension, (name, description) in names.items()
    ]


def _campaign(identifier: str, common: Mapping[str, Any], shared: Shared) -> dict[str, Any]:
    context: dict[str, Any] = {
        "extension_type": "property-extension",
        "keys": shared.keys,
        "exchanges": shared.exchanges,
        "evidence": [{"kind": kind, "honest_share": round(share, 4)} for kind, share in sorted(shared.kinds.items())],
    }
    if shared.hours:
        context["active_hours_utc"] = [round(share, 2) for share in shared.hours]
    if shared.target:
        context["capability_target"] = [
            {"capability": name, "share": round(share, 2)} for name, share in sorted(shared.target.items())
        ]
    if not context["evidence"]:
        del context["evidence"]
    return {
        "type": "campaign",
        "id": identifier,
        **common,
        "name": f"Distillation campaign {identifier[-12:]}",
        "objective": "Collect a model's answers to train another model.",
        "first_seen": _time(shared.first_us),
        "last_seen": _time(max(shared.first_us, shared.last_us)),
        "confidence": shared.confidence,
        "external_references": [{"source_name": "mitre-atlas", "external_id": atlas.CASE}],
        "extensions": {CONTEXT: context},
    }


def _indicator(one: Indicator, common: Mapping[str, Any], campaign: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "indicator",
        "id": one.id,
        **common,
        "name": f"{one.kind} of {campaign[-12:]}",
        "indicator_types": ["malicious-activity"],
        "valid_from": _time(one.valid_from_us),
        "valid_until": _time(one.valid_until_us),
        "confidence": one.confidence,
    }
    if one.kind in BEHAVIOUR or one.kind == "identity":
        made["pattern_type"] = SKETCH if one.kind in BEHAVIOUR else IDENTITY
        made["pattern_version"] = EXTENSION_VERSION
        made["pattern"] = f"{one.scheme}:{one.epoch}:{','.join(one.tokens)}"
        sketch: dict[str, Any] = {
            "extension_type": "property-extension",
            "kind": one.kind,
            "scheme": one.scheme,
            "key_epoch": one.epoch,
            "tokens": list(one.tokens),
            "campaign_ref": campaign,
        }
        if one.weights:
            sketch["weights"] = list(one.weights)
        made["extensions"] = {EXTENSION: sketch}
    else:
        made["pattern_type"], made["pattern_version"] = "stix", "2.1"
        made["pattern"] = " OR ".join(_plain(one.kind, value) for value in one.tokens)
    return made


def _plain(kind: str, value: str) -> str:
    name = ("network6" if ":" in value else "network4") if kind == "network" else kind
    # The values have no quotes or backslashes: `checked` saw to that.
    return _PLAIN[name].format(value=value, number=value.removeprefix("AS"))


def _seen(
    provider: Provider, shared: Shared, common: Mapping[str, Any], campaign: str, indicators: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    first, last = _time(shared.first_us), _time(max(shared.first_us, shared.last_us))
    # STIX has nothing for "an account that we do not name"; the observed data tells how many.
    account = {
        "type": "user-account",
        "spec_version": "2.1",
        "id": f"user-account--{uuid.uuid5(NAMESPACE, f'{campaign}/accounts')}",
        "account_type": "api-key",
        "display_name": "accounts of the campaign, not named",
    }
    observed = {
        "type": "observed-data",
        "id": f"observed-data--{uuid.uuid5(NAMESPACE, f'{campaign}/exchanges')}",
        **common,
        "first_observed": first,
        "last_observed": last,
        "number_observed": max(1, min(999_999_999, shared.exchanges)),
        "object_refs": [account["id"]],
    }
    sightings = [
        {
            "type": "sighting",
            "id": f"sighting--{uuid.uuid5(NAMESPACE, f'{one}/{provider.id}')}",
            **common,
            "first_seen": first,
            "last_seen": last,
            "count": max(1, min(999_999_999, shared.keys)),
            "sighting_of_ref": one,
            "observed_data_refs": [observed["id"]],
            "where_sighted_refs": [provider.id],
        }
        for one in (campaign, *(found["id"] for found in indicators))
    ]
    return [account, observed, *sightings]


def _related(common: Mapping[str, Any], source: str, kind: str, target: str) -> dict[str, Any]:
    return {
        "type": "relationship",
        "id": f"relationship--{uuid.uuid5(NAMESPACE, f'{source}/{kind}/{target}')}",
        **common,
        "relationship_type": kind,
        "source_ref": source,
        "target_ref": target,
    }


def _time(at_us: int) -> str:
    return times.version(at_us // 1000 * 1000)
