"""The JSON of appeals and labels."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.admin.models import KeyId, Moment, Out
from app.admin.models_orders import MAX_REASON_CHARS, one_line
from app.admin.models_reasons import REFERENCE, StatementOut
from app.state.appeals import MAX_TEXT_CHARS, Outcome
from app.state.labels import Finding
from app.state.orders import MAX_HOURS

APPEAL_ID = r"^ap-[a-z2-7]{8,40}$"

MAX_CONTACT_CHARS = 200
LABEL_CURSOR = r"^([0-9a-f]{32}\|\d{16})?$"
APPEAL_CURSOR = r"^([od]:\d{16}:ap-[a-z2-7]{8,40}|d:)?$"


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _free_text(value: str) -> str:
    """A customer's words: lines of printable characters."""
    value = value.strip()
    if not value or not all(line.isprintable() for line in value.replace("\t", " ").splitlines()):
        raise ValueError("must be lines of printable characters, and not empty")
    return value


def _contact(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value.strip()


class AppealIn(_In):
    """A customer's objection, as the provider's support received it."""

    ref: Annotated[str, StringConstraints(pattern=REFERENCE)] = Field(description="reference of the action, as quoted")
    contact: Annotated[str, Field(max_length=MAX_CONTACT_CHARS), AfterValidator(_contact)] = Field(
        "", description="where the customer is reached; best the number of a support case, not an address"
    )
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS), AfterValidator(_free_text)] = Field(
        description="the customer's own words; kept apart from everything else, and for a shorter time"
    )


class DecideIn(_In):
    """What a person decided about an appeal."""

    outcome: Outcome = Field(description="upheld: the action was right; overturned: it was wrong; partly: in part")
    note: Annotated[str, Field(max_length=MAX_REASON_CHARS), AfterValidator(one_line)] = Field(
        description="why, for the audit log; one line, without the customer's words"
    )
    release: Literal["none", "end", "observe"] = Field(
        "none",
        description="what is done about the key with the same call; none: nothing more; end: the person's order of this "
        "reference ends; observe: nothing is done about the key for `hours`, whatever is found. A person's order that is "
        "overturned ends with each of them, for good",
    )
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] = Field(168.0, description="how long an observe order stands")
    label: Literal["benign", "abusive", "none"] | None = Field(
        None,
        description="what the decision says about the key, for fitting models; default: benign when overturned, abusive "
        "when upheld and the action was about how the key is used, else none",
    )

    @model_validator(mode="after")
    def _consistent(self) -> DecideIn:
        if self.outcome == "upheld" and self.release != "none":
            raise ValueError("release must be none where the action was right")
        return self


class AppealOut(Out):
    """One appeal, without the customer's words."""

    id: str = Field(description="reference of the appeal, for the customer")
    ref: str = Field(description="reference of the action")
    key_id: str
    filed: datetime
    age_hours: float = Field(description="until it was decided, or until now")
    due: datetime = Field(description="filed and admin.appeal_sla_hours")
    overdue: bool = Field(description="it is, or was, not decided by then")
    by_person: bool = Field(description="the action is a person's order; false: the policy's")
    action: str
    level: str
    placed_by: str = Field(description="who gave the order, and may not decide; empty for the policy")
    status: Literal["open", "upheld", "overturned", "partly"]
    decided: datetime | None
    decided_by: str
    note: str
    label: str = Field(description="benign or abusive, where the decision became a label")
    release: Literal["none", "end", "observe"] = Field(description="what was done about the key with the decision")
    released_until: datetime | None = Field(description="end of the observe order that came of it; null for none")


class AppealList(Out):
    """Appeals: open ones first, the longest waiting at the top, then decided ones, the last decision first."""

    appeals: list[AppealOut]
    next_cursor: str | None = Field(description="give it as `cursor` to get the next page; null on the last one")


class AppealDetail(AppealOut):
    """One appeal with everything that is needed to decide it."""

    contact: str | None = Field(description="null when the customer's words are forgotten")
    text: str | None = Field(description="the customer's own words; null when they are forgotten")
    statement: StatementOut | None = Field(description="internal view; null when the action itself is forgotten")


class AppealQuery(_In):
    """Which appeals."""

    status: Literal["open", "decided"] | None = Field(None, description="only these")
    key_id: KeyId | None = Field(None, description="only about this key, newest first, on one page")
    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="appeals in one page")
    cursor: Annotated[str, StringConstraints(pattern=APPEAL_CURSOR)] = Field(
        "", description="next_cursor of the page before"
    )


class LabelIn(_In):
    """What an analyst has found out about a key."""

    key_id: KeyId
    label: Finding
    weight: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="how sure that is")
    since: Moment = Field(description="beginning of the time that it is about")
    until: Moment = Field(description="end of that time")
    ref: Annotated[str, StringConstraints(pattern=REFERENCE)] | None = Field(None, description="action that led to it")
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS), AfterValidator(one_line)] = Field(
        description="for the audit log; one line"
    )

    @model_validator(mode="after")
    def _in_order(self) -> LabelIn:
        if self.until < self.since:
            raise ValueError("until must not be before since")
        return self


class LabelOut(Out):
    """One label."""

    key_id: str
    label: str
    source: Literal["appeal", "analyst"]
    weight: float
    since: datetime
    until: datetime
    at: datetime = Field(description="when it was given")
    by: str
    ref: str


class LabelList(Out):
    """Labels, by key and then by time."""

    labels: list[LabelOut]
    next_cursor: str | None = Field(description="give it as `cursor` to get the next page; null on the last one")


class LabelQuery(_In):
    """Which labels."""

    key_id: KeyId | None = Field(None, description="only about this key")
    limit: Annotated[int, Field(ge=1, le=1000)] = Field(500, description="labels in one page")
    cursor: Annotated[str, StringConstraints(pattern=LABEL_CURSOR)] = Field(
        "", description="next_cursor of the page before"
    )
