"""The JSON of what is set for the whole deployment: plans, allow-list, kill switch."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import Moment, Out
from app.admin.models_orders import ReasonText
from app.settings import PlanLimits

SUBJECT = r"^(key:[0-9a-f]{32}|org:[0-9A-Za-z_.:@-]{1,128})$"
OWNER = r"^[ -~]+$"

MAX_ALLOW_DAYS = 400
"""An exemption is looked at again at least once a year, with some slack for the renewal of a contract."""


class PlanOut(Out):
    """A plan and what it allows."""

    name: str
    source: Literal["settings", "state"] = Field(
        description="state: set by this API, in place of the settings' if both are"
    )
    limits: PlanLimits


class PlanList(Out):
    """All plans that have limits of their own."""

    version: int = Field(description="counts changes of the stored policy and plans")
    plans: list[PlanOut]


class PlanDetail(PlanOut):
    """One plan and who is on it."""

    accounts: int = Field(description="accounts on it; on `default` also those whose plan is not listed")
    organisations: int
    examples: list[str] = Field(description="the first key ids")


class AllowIn(BaseModel):
    """Why policy should do nothing about a key or an organisation, who answers for that, and until when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: Annotated[str, Field(min_length=2, max_length=128, pattern=OWNER)] = Field(
        description="who answers for it: a person or a team, in plain ASCII"
    )
    reason: ReasonText = Field(description="one line")
    expires: Moment = Field(description=f"when it ends, at most {MAX_ALLOW_DAYS} days from now; without a zone it is UTC")


class AllowOut(Out):
    """An entry of the allow-list."""

    subject: str
    owner: str
    reason: str
    expires: datetime
    by: str
    created: datetime
    active: bool = Field(description="false: it has ended")


class AllowList(Out):
    """All entries, by subject; those that have ended for 30 days more."""

    entries: list[AllowOut]


class KillIn(BaseModel):
    """What is switched off, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: Literal["actions", "all"] = Field(
        description="actions: nothing is done about verdicts and orders; all: nor about limits"
    )
    reason: ReasonText = Field(description="one line")


class KillOut(Out):
    """The kill switch."""

    scope: Literal["", "actions", "all"] = Field(description="the strongest of the three; empty: everything works")
    setting: Literal["", "actions", "all"] = Field(description="control.kill of this process")
    file: Literal["", "actions", "all"] = Field(description="the kill file of this machine")
    state: Literal["", "actions", "all"] | None = Field(
        description="of the whole deployment; null: the state server does not answer"
    )
    reason: str
    by: str
    since: datetime | None
    gateways: dict[str, int] = Field(description="scope → gateways that have it in force")
    note: str = Field(description="what a person should know, such as that only this machine is switched; mostly empty")
