"""What a field must be, in the words of this API: a library's sentences speak of "inputs", patterns and bare numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.admin import (
    models,
    models_access,
    models_appeals,
    models_campaigns,
    models_control,
    models_events,
    models_intel,
    models_intel_hits,
    models_intel_indicators,
    models_intel_publications,
    models_orders,
    models_policy,
    models_reasons,
    models_watermark,
    watermark_upload,
)

_CURSOR = "must be the next_cursor of the page before, or empty"

PATTERNS: dict[str, str] = {
    **models.RULES,
    models_access.PUBLIC_ID: "must be 8 letters and digits, as 'stillwatch tokens list' shows it",
    models_access.LABEL: "must be 1 to 64 letters, digits, spaces and _ . : @ -",
    models_access.AUDIT_CURSOR: _CURSOR,
    models_appeals.APPEAL_ID: "must be the id of an appeal, such as ap-q7m2kd5xw3aha ('stillwatch appeals list')",
    models_appeals.APPEAL_CURSOR: _CURSOR,
    models_appeals.LABEL_CURSOR: _CURSOR,
    models_campaigns.CAMPAIGN_ID: "must be c- and 12 hex digits, as 'stillwatch campaigns list' shows it",
    models_control.SUBJECT: "must be key: and 32 hex digits, or org: and a name, such as org:acme",
    models_control.OWNER: "must be one line of plain letters, digits and signs (ASCII)",
    models_events.BEFORE: _CURSOR,
    models_intel.GROUP: "must be 1 to 32 lower-case letters, digits and -, beginning with a letter or digit",
    models_intel.MEMBER: "must be 1 to 64 lower-case letters, digits and _ . -, beginning with a letter or digit",
    models_intel.TITLE: "must be 1 to 80 plain letters, digits and signs (ASCII)",
    models_intel_indicators.INDICATOR: "must be the STIX id of an indicator, as 'stillwatch intel indicators' shows it",
    models_intel_indicators.REPORTER: "must be a member's name, or @ and a token id ('stillwatch intel reporters')",
    models_intel_indicators.ORGANISATION: "must be 1 to 80 letters, digits, spaces and . _ & + -, not a sign at first",
    models_intel_indicators.INDICATOR_CURSOR: _CURSOR,
    models_intel_hits.POSITION: _CURSOR,
    models_intel_publications.PUBLICATION_ID: "must be the id of a publication ('stillwatch intel publications list')",
    models_orders.REF: "must be the reference of an order, such as sw-b3x7qk2m5aduc, or the id of a bulk order",
    models_orders.IDEMPOTENCY_KEY: "must be 8 to 128 letters, digits and signs (ASCII) without spaces",
    models_policy.SINCE: "must be a time such as 2026-11-24T08:00Z, or so long before now: 30m, 12h, 7d",
    models_policy.VERSION: "must be the version that was read before, a whole number",
    models_reasons.REFERENCE: "must be the reference of an action, such as sw-b3x7qk2m5aduc",
    models_watermark.PROFILE_ID: "must be the id of a profile, as 'stillwatch watermark profiles' shows it",
    models_watermark.INVESTIGATION_ID: "must be the id of an investigation, such as wi-q7m2kd5xw3aha",
    models_watermark.GROUP: "must be 1 to 64 letters, digits and _ . : -",
    models_watermark.SHA256: "must be a SHA-256 in 64 hex digits in lower case, as sha256sum prints it",
    models_watermark.FIELD: "must be at most 128 characters that print",
    watermark_upload.CONTENT_RANGE: "must be bytes FIRST-LAST/ALL, such as bytes 1048576-2097151/5000000",
}
"""Every pattern of the API → what it says. A test finds those that are missing."""

_TYPES = {
    "missing": "must be given",
    "json_invalid": "must be valid JSON",
    "extra_forbidden": "is not a field here",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "datetime_type": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-01-31T12:00:00Z",
}

_BOUNDS = {
    "less_than_equal": "at most",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "greater_than": "more than",
}
_LENGTHS = {
    "string_too_short": ("at least", "characters"),
    "string_too_long": ("at most", "characters"),
    "too_short": ("at least", "entries"),
    "too_long": ("at most", "entries"),
}
_PATTERN = re.compile(r"String should match pattern '(.*)'", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_SPANS = ((86_400, "days"), (3600, "hours"), (60, "minutes"))


def rule_of(fault: Mapping[str, Any]) -> str:
    """What the field must be, from what a validator found: its `type`, `msg` and `loc`."""
    kind, message = fault["type"], str(fault["msg"])
    location = fault.get("loc") or ("",)
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "string_pattern_mismatch" and (found := _PATTERN.fullmatch(message)):
        return PATTERNS.get(found[1], "has characters or a length that it must not have")
    numbers = _NUMBER.findall(message)
    if kind in _BOUNDS and numbers:
        return f"must be {_BOUNDS[kind]} {_measured(numbers[0], str(location[-1]))}"
    if kind in _LENGTHS and numbers:
        how, unit = _LENGTHS[kind]
        return f"must have {how} {int(numbers[0]):,} {unit if numbers[0] != '1' else unit.replace('ies', 'y').rstrip('s')}"
    return message.removeprefix("Value error, ").replace("Input should be ", "must be ", 1)


def _measured(bound: str, field: str) -> str:
    """A bound with its unit, which is in the field's name; seconds also as people count them."""
    number = float(bound)
    told = f"{number:,.0f}" if number.is_integer() else f"{number:g}"
    if field.endswith("_sec"):
        for seconds, unit in _SPANS:
            if number >= seconds and number % seconds == 0:
                many = int(number // seconds)
                return f"{told} seconds ({many:,} {unit if many > 1 else unit[:-1]})"
        return f"{told} seconds"
    if field in ("days", "hours"):
        return f"{told} {field}"
    return told + next((unit for end, unit in (("_per_min", " a minute"), ("_percent", " %")) if field.endswith(end)), "")
