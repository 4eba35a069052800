"""Fields of the admin API are told by the names of the options that a person typed."""

from __future__ import annotations

import pytest

from app.cli.places import told


@pytest.mark.parametrize(
    ("path", "field", "rule", "sentence"),
    [
        ("/v1/orders", "body.ttl_sec", "must be at most 2,592,000 seconds (30 days)", "--for: must be at most 30 days"),
        ("/v1/orders", "body.reason_code", "must be given", "--code: must be given"),
        ("/v1/orders", "body.subjects.keys.3", "must be hex", "--key: must be hex"),
        ("/v1/orders/x", "query.reason", "must be short", "--reason: must be short"),
        ("/v1/tokens", "body.days", "must be at most 366 days", "--days: must be at most 366 days"),
        ("/v1/tokens/nope", "path.token_id", "must be 8 letters", "ID: must be 8 letters"),
        ("/v1/allow/org:a", "body.expires", "must be within 400 days", "--for: must be within 400 days"),
        ("/v1/appeals", "body.ref", "must be a reference", "REF: must be a reference"),
        ("/v1/reports/would-have", "query.since", "must be a time", "--since: must be a time"),
        ("/v1/policy", "body.suspect.ttl_sec", "must be at least 60 seconds (1 minute)",
         "suspect.ttl_sec: must be at least 60 seconds (1 minute)"),
        ("/v1/policy", "body", "suspect.action must not be above automatic_up_to",
         "suspect.action must not be above automatic_up_to"),
        ("/v1/policy", "body", "must be valid TOML", "the policy: must be valid TOML"),
        ("/v1/plans/team", "body.reason", "is not a field here", "reason: is not a field here"),
        ("/v1/accounts:import", "body line 12.plan", "must be short", "body line 12.plan: must be short"),
        ("/v1/orders", "query.cursor", "must be whole", "cursor: must be whole"),
    ],
)  # fmt: skip
def test_a_fault_names_the_option(path: str, field: str, rule: str, sentence: str) -> None:
    """An option or argument by its name, a field of a person's file as it stands there, and spans as they are typed."""
    assert told(path, field, rule) == sentence
