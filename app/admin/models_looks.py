"""What the API says about looks at the whole fleet."""

from __future__ import annotations

from pydantic import Field

from app.admin.models import LookOut, Out


class CalledKey(Out):
    """A key that stands out."""

    key_id: str
    p_value: float = Field(description="share of comparable honest organisations that ever looked so much like a harvest")


class LookReport(Out):
    """The newest look, and whom it calls."""

    look: LookOut | None = Field(description="null before the first one")
    honest_share: float = Field(description="of the keys that are called, the share that may be expected to be honest")
    keys: list[CalledKey] = Field(description="the smallest p-values first, at most 1,000")
