"""Times as people write them: unix seconds or ISO 8601 in, UTC out."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from app.errors import ConfigError

MAX_SEC = 1e11
"""Below the year 5138, so that milliseconds by mistake are refused."""


def parse(text: str, name: str) -> int:
    """A time → unix µs. ISO 8601 without a zone is UTC.

    Args:
        text: "1770163200", "1770163200.5", "2026-02-04", "2026-02-04T12:00:00+01:00".
        name: what is being read, for the message.

    Raises:
        ConfigError: it is neither, or lies outside 1970 to 5138.
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            seconds = math.nan
    if not 0 <= seconds < MAX_SEC:
        raise ConfigError(f"{name} must be a time: unix seconds, or ISO 8601 such as 2026-02-04T12:00:00Z")
    return round(seconds * 1_000_000)


def written(at_us: int) -> str:
    """Unix µs → "2026-02-04 12:00 UTC"; a time past the calendar as seconds."""
    try:
        return datetime.fromtimestamp(at_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at_us / 1e6:.0f} s"
