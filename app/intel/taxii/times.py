"""Times as STIX and TAXII write them: RFC 3339 in UTC, as whole microseconds since 1970 inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_FORM = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse(text: str) -> int:
    """Microseconds since 1970; digits behind the sixth are cut.

    Raises:
        ValueError: it is no time of this form, or one before 1970 or after 2286 (whose microseconds have 17 digits).
    """
    found = _FORM.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        whole = datetime.fromisoformat(f"{found[1]}+00:00") - _EPOCH
    except ValueError:  # such as the 30th of February
        raise ValueError("must be a time such as 2026-01-31T12:00:00.000Z") from None
    micros = whole // timedelta(microseconds=1) + int((found[2] or "0")[:6].ljust(6, "0"))
    if not 0 <= micros < 10**16:
        raise ValueError("must be a time from 1970 to 2286")
    return micros


def added(micros: int) -> str:
    """When something was added, to the microsecond: so the standard wants it."""
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def version(micros: int) -> str:
    """The version of an object as STIX writes it: to the millisecond where that is exact."""
    text = added(micros)
    return f"{text[:-4]}Z" if micros % 1000 == 0 else text
