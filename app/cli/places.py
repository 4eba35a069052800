"""The fields of the admin API as a person at the command line knows them: the options and arguments they were typed as."""

from __future__ import annotations

import re

_EVERYWHERE = {
    "body.action": "ACTION",
    "body.contact": "--contact",
    "body.factor": "--factor",
    "body.hours": "--hours",
    "body.key_id": "ID",
    "body.note": "--note",
    "body.owner": "--owner",
    "body.reason": "--reason",
    "body.reason_code": "--code",
    "body.requests_per_min": "--requests-per-min",
    "body.subjects": "--key, --org or --at-least",
    "body.subjects.keys": "--key",
    "body.subjects.match.min_score": "--min-score",
    "body.subjects.match.prefix": "--prefix",
    "body.subjects.org_id": "--org",
    "body.ttl_sec": "--for",
    "header.idempotency_key": "--idempotency-key",
    "path.appeal_id": "ID",
    "path.investigation_id": "ID",
    "path.bulk_id": "ID",
    "path.key_id": "ID",
    "path.name": "NAME",
    "path.ref": "REF",
    "path.subject": "SUBJECT",
    "path.token_id": "ID",
    "query.by": "--by",
    "query.key_id": "--key",
    "query.reason": "--reason",
    "query.since": "--since",
    "since": "--since",
}
_AT = {
    "/v1/accounts": {
        "body.org_id": "--org",
        "body.plan": "--plan",
        "body.created_at": "--created",
        "body.country": "--country",
        "body.payment_id": "--payment-id",
        "body.authorised": "--allow",
    },
    "/v1/allow": {"body.expires": "--for"},
    "/v1/appeals": {"body.ref": "REF", "body.text": "what was given on standard input"},
    "/v1/keys": {
        "query.q": "ID",
        "query.org_id": "--org",
        "query.plan": "--plan",
        "query.action": "--action",
        "query.level": "--level",
        "query.min_score": "--min-score",
        "query.max_score": "--max-score",
        "query.seen_after": "--seen-after",
        "query.seen_before": "--seen-before",
    },
    "/v1/intel/intersections": {"body.group": "--group", "body.peer": "--with"},
    "/v1/intel/indicators": {
        "path.group": "GROUP",
        "path.indicator_id": "ID",
        "query.group": "--group",
        "query.kind": "--kind",
        "query.now": "--now",
        "query.reporter": "--reporter",
    },
    "/v1/intel/publications": {
        "body.asns": "--asn",
        "body.campaign_id": "CAMPAIGN",
        "body.clients": "--client",
        "body.group": "--group",
        "body.identities": "--identities",
        "body.networks": "--network",
        "body.tlp": "--tlp",
        "path.publication_id": "ID",
    },
    "/v1/labels": {"body.since": "--since", "body.until": "--until", "body.weight": "--weight", "body.ref": "--ref"},
    "/v1/policy": {"body": "the policy"},
    "/v1/plans": {"body": "the plan"},
    "/v1/tokens": {"body.name": "NAME", "body.days": "--days"},
    "/v1/watermark": {
        "body.bytes": "FILE",
        "body.field": "--field",
        "body.format": "--form",
        "body.fwer": "--fwer",
        "body.name": "--name",
        "body.profile": "--profile",
    },
}
_FILES = ("/v1/policy", "/v1/plans")
"""Addresses whose body is a file of the person: its fields are named as they stand there."""

_SPAN = re.compile(r"[\d,]+ seconds \(([^)]+)\)")


def told(path: str, field: str, rule: str) -> str:
    """One fault of a request, as a sentence with the option's name.

    Args:
        path: of the request, without its query.
        field: place in the request, as the API names it.
        rule: what the field must be.
    """
    start = next((prefix for prefix in _AT if path.startswith(prefix)), "")
    here = _AT.get(start, {})
    if start in _FILES and field.startswith("body."):
        return f"{field.removeprefix('body.')}: {rule}"
    names = {**_EVERYWHERE, **here}
    place = field
    while place not in names and "." in place:  # an entry of a list is told by the list's name
        place = place.rpartition(".")[0]
    name = names.get(place) or re.sub(r"^(body|query|path|header)\.", "", field)
    if place == "body" and re.match(r"[a-z_]+\.[a-z_.]+ must ", rule):
        return rule  # a rule about several fields names them itself
    said = _SPAN.sub(r"\1", rule) if name.startswith("--") else rule  # a span is typed as people count
    return f"{name}: {said}"
