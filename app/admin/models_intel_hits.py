"""What comes out of the routes over keys that show received indicators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import Out

POSITION = r"^[0-9]{1,6}$"


class ReporterOut(Out):
    """Who stands behind an indicator."""

    member: str = Field(description="its name in the trust group")
    organisation: str
    trust: float = Field(description="0.05 to 0.6: how often it was right here, see docs/intel.md")
    confidence: int = Field(description="its own in this indicator, 0–100")
    said: datetime


class SeenOut(Out):
    """One received indicator that a key shows."""

    indicator: str = Field(description="STIX id")
    group: str = Field(description="trust group that it was shared in")
    campaign: str = Field(description="STIX id of the reported campaign; empty where none is told")
    kind: str
    carried: float = Field(description="share of the indicator's weight that the key carries, 0–1")
    nats: float = Field(description="that weight: how much likelier a member shows it than an honest key, as a logarithm")
    first: datetime = Field(description="exchange in which it was first seen")
    last: datetime = Field(description="exchange in which it was last seen")
    tlp: str = Field(description="level of its markings; empty where it is held no more")
    reporters: list[ReporterOut] = Field(description="the most trusted first; none: it was taken back, or has ended")


class SharedOut(Out):
    """What other providers shared that a key shows, and what follows."""

    effect: Literal["nothing", "priority", "automatic"] = Field(
        description="nothing; priority: a person should look earlier; automatic: policy may act by itself"
    )
    score: float = Field(description="0–100: the probability that at least one reporter is right")
    voices: int = Field(description="independent reporters")
    local: str = Field(description="evidence of our own beside it; empty: none")
    excuse: Literal["", "allow_list", "contract"] = Field(description="why nothing follows whatever the key shows")
    acted: Literal["", "shadow", "real", "lifted"] = Field(
        description="what was done: nothing; what would be done was recorded; ordered; ordered and taken back by a person"
    )
    since: datetime | None = Field(description="beginning of what was, or would be, done")
    until: datetime | None
    at: datetime = Field(description="when this was last decided")
    seen: list[SeenOut] = Field(description="the strongest first")


class HitOut(SharedOut):
    """The same, in a list of keys."""

    key_id: str


class HitList(Out):
    """Keys in the order in which a person should look at them."""

    hits: list[HitOut]
    next_cursor: str | None = Field(description="pass as cursor for the following page; null at the end")


class HitQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="keys of a page")
    cursor: Annotated[str, Field(pattern=POSITION)] = Field("0", description="next_cursor of the page before")
    effect: Literal["nothing", "priority", "automatic"] = Field(
        "nothing", description="keys about which at least this follows"
    )
