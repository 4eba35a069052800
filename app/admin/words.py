"""What people write to say why: kept, shown and searched, so a credential has no place in it."""

from __future__ import annotations

import re

CREDENTIAL = re.compile(r"\b(sw_[0-9A-Za-z]{8}_[0-9A-Za-z]{20,}|sk-[0-9A-Za-z_-]{16,})[0-9A-Za-z_]*")
"""A token of ours, or a key in the form that model providers give out."""


def without_credential(value: str) -> str:
    """The value.

    Raises:
        ValueError: it holds something in the form of a credential.
    """
    if CREDENTIAL.search(value):
        raise ValueError("must not hold a credential; name a key by its id (stillwatch id)")
    return value
