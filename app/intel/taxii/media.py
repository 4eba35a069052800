"""The media types of TAXII 2.1, and which of them a request may ask for and send (the standard, 1.6 and 3.1)."""

from __future__ import annotations

import re

TAXII = "application/taxii+json;version=2.1"
STIX = "application/stix+json;version=2.1"

_PARAMETER = re.compile(r"""\s*([a-z]+)\s*=\s*"?([^";\s]*)"?\s*""", re.IGNORECASE | re.ASCII)


def acceptable(accept: str) -> bool:
    """Whether an answer of TAXII 2.1 satisfies an Accept header.

    The type has to be named: `*/*`, or no header at all, is what a browser or a tool sends that lost its way. Without a
    version the newest is meant, and 2.1 is the newest.
    """
    return any(_is_ours(part, weighed=True) for part in accept.split(","))


def sendable(content_type: str) -> bool:
    """Whether a body of this Content-Type is one of TAXII 2.1."""
    return _is_ours(content_type, weighed=False)


def _is_ours(text: str, *, weighed: bool) -> bool:
    name, *given = text.split(";")
    if name.strip().lower() != "application/taxii+json":
        return False
    for parameter in given:
        found = _PARAMETER.fullmatch(parameter)
        if found is None:
            return False
        key, value = found[1].lower(), found[2]
        if key == "q" and weighed:
            if not value.strip("0."):
                return False
        elif key != "version" or value != "2.1":
            return False
    return True
