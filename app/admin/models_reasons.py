"""The JSON of flag records and statements of reasons."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import LevelName, Out

REFERENCE = r"^sw-[a-z2-7]{8,40}$"


class FlagScoreOut(Out):
    """One scorer's part in a flag."""

    scorer: str
    version: str
    status: str = Field(description="scored, warming_up, not_applicable or failed")
    score: float | None = Field(description="null where it did not score")
    thresholds: dict[str, float] = Field(description="score from which it led to watch, suspect, confirmed, then")


class FlagReasonOut(Out):
    """One contribution, in the words of then."""

    text: str
    feature: str
    value: float
    peer_percentile: float | None
    direction: str
    weight: float


class FlagMeasureOut(Out):
    """What policy asked for."""

    action: str
    factor: float
    requests_per_min: float | None
    ttl_sec: int
    mode: str = Field(description="shadow or enforce, as the policy was then")
    policy_id: str = Field(description="digest of that policy")


class ComparedOut(Out):
    """One scorer then and now, over the same feature values."""

    scorer: str
    version_then: str
    score_then: float | None
    version_now: str
    score_now: float | None


class PercentileOut(Out):
    """A feature among the peers, then and now."""

    feature: str
    then: float | None
    now: float | None


class RescoredOut(Out):
    """How the stored feature values score with the model of today."""

    comparable: bool = Field(description="false: the features mean something else by now, and nothing was computed")
    model_id: str
    same_model: bool
    level: LevelName = Field(description="what the scores call for, without the memory that holds a level")
    score: float
    scorers: list[ComparedOut]
    percentiles: list[PercentileOut]
    missing: list[str] = Field(description="features of then that there are no more")


class FlagOut(Out):
    """What one flag rested on when it was raised. It never changes."""

    ref: str
    key_id: str
    at: datetime
    since: datetime
    was: str
    level: str
    score: float
    evidence: int
    leaked: int
    authorised: bool
    measure: FlagMeasureOut
    reasons: list[FlagReasonOut]
    scorers: list[FlagScoreOut]
    features: dict[str, float] = Field(description="every feature that was defined; the others are absent")
    peer_groups: list[str]
    compared_with: str | None
    model_id: str
    catalogue: str


class FlagList(Out):
    """A key's flags, newest first, at most 20 of each partition that it lived in."""

    key_id: str
    flags: list[FlagOut]


class FlagDetail(FlagOut):
    """One flag, and beside it the same values under the model of today."""

    now: RescoredOut


class ReasonsQuery(BaseModel):
    """For whom, and in which form."""

    model_config = ConfigDict(extra="forbid")

    audience: Literal["customer", "internal"] = Field(
        "customer", description="customer: what may be sent; internal: with scores, names and notes"
    )
    format: Annotated[Literal["json", "md"] | None, Field(description="default: by the Accept header, else json")] = None


class FactOut(Out):
    """One line of the internal view."""

    name: str
    text: str


class StatementOut(Out):
    """A statement of reasons in the form of Article 17 of the Digital Services Act, in sentences."""

    ref: str
    audience: str
    decided: datetime
    measure: str = Field(description="what is done")
    facts: list[str] = Field(description="facts and circumstances")
    scope: str = Field(description="for which services and where")
    period: str = Field(description="from when until when")
    ground: str = Field(description="the clause of the contract")
    automated_detection: bool
    automated_decision: bool
    automation: str
    redress: list[str] = Field(description="how to object, and what happens then")
    internal: list[FactOut] = Field(description="empty in the customer's view")
