"""Loaded by schemathesis: how JSON lines and TOML are written, and ids that exist, so that questions get somewhere."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import schemathesis
from schemathesis.transport.asgi import ASGI_TRANSPORT
from schemathesis.transport.requests import REQUESTS_TRANSPORT

KNOWN = ("0123456789abcdef" * 2, "fedcba9876543210" * 2)
"""Keys that the test has put into the state."""

CAMPAIGN = "c-0123456789ab"
"""A campaign that it has put there."""


def _lines(_: Any, value: Any) -> dict[str, Any]:
    """One object is one line."""
    return {"data": value if isinstance(value, bytes) else json.dumps(value).encode()}


def _text(_: Any, value: Any) -> dict[str, Any]:
    """A document is sent as it is; what is no text becomes some."""
    return {"data": value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")}


for transport in (REQUESTS_TRANSPORT, ASGI_TRANSPORT):
    transport.serializer("application/x-ndjson")(_lines)
    transport.serializer("application/toml")(_text)


@schemathesis.hook
def map_path_parameters(_: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Two of three well-formed key ids become known ones, and half the campaigns'; what is not well-formed stays so."""
    campaign_id = (path_parameters or {}).get("campaign_id")
    if isinstance(campaign_id, str) and re.fullmatch("c-[0-9a-f]{12}", campaign_id) and int(campaign_id[2:], 16) % 2:
        path_parameters = {**(path_parameters or {}), "campaign_id": CAMPAIGN}
    investigation = (path_parameters or {}).get("investigation_id")
    if isinstance(investigation, str) and re.fullmatch("wi-[a-z2-7]{13}", investigation) and ord(investigation[-1]) % 2:
        path_parameters = {**(path_parameters or {}), "investigation_id": os.environ["KNOWN_INVESTIGATION"]}
    key_id = (path_parameters or {}).get("key_id")
    if isinstance(key_id, str) and re.fullmatch("[0-9a-f]{32}", key_id):
        choice = int(key_id, 16) % 3
        if choice < len(KNOWN):
            return {**(path_parameters or {}), "key_id": KNOWN[choice]}
    return path_parameters
