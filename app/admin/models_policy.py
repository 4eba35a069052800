"""The JSON of policy: what is in force, what a candidate would do, and the report of what it would have done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import Out

SINCE = r"^(\d{1,4}[mhd]|\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?Z?)?)$"
VERSION = r'^"?\d{1,15}"?$'


class PolicyOut(Out):
    """The response policy."""

    source: str = Field(description="where it comes from: file, state (this API) or settings")
    digest: str = Field(description="the same for two policies that say the same; gateways tell which one they have")
    version: int = Field(description="give it as If-Match with a change; counts changes of the stored policy and plans")
    writable: bool = Field(description="false: a policy file is configured, which wins over what is stored")
    policy: dict[str, Any] = Field(description="every field, see the settings under enforcement")
    toml: str = Field(description="the same as TOML, as a policy file has it")
    gateways: dict[str, int] = Field(description="digest → gateways that have it in force; more than one for a moment only")
    warnings: list[str] = Field(description="sentences that a person should read")


class PolicyGroup(Out):
    """Keys that one action would be asked for about."""

    action: str
    keys: int
    enforced: int = Field(description="of those, keys about which it would really be done; the others only counted")
    organisations: int
    with_account: int
    examples: list[str]


class PolicyMove(Out):
    """Keys whose action changes with the candidate."""

    before: str = Field(description="what is really done about them by the policy in force; observe: nothing")
    after: str
    keys: int
    examples: list[str]


class PolicyPreview(Out):
    """What a candidate policy would do about the keys as they are judged now."""

    keys: int = Field(description="keys above clear that were looked at")
    cut: bool = Field(description="there are more than were looked at")
    allowed: int = Field(description="of them, those on the allow-list: policy does nothing about them")
    authorised: int = Field(description="of them, those whose contract allows what was found")
    ordered: int = Field(description="of them, those about which a person's order stands, whatever the policy says")
    groups: list[PolicyGroup]
    moves: list[PolicyMove]
    digest: str
    warnings: list[str]


class WouldQuery(BaseModel):
    """Which time a report is about."""

    model_config = ConfigDict(extra="forbid")

    since: str = Field(
        "1d",
        pattern=SINCE,
        description="a time in UTC, or so long before now: 30m, 12h, 7d; at most 90 days",
    )


class WouldAction(Out):
    """One action in the period."""

    action: str
    really: bool = Field(description="true: it was done; false: it was only counted")
    keys: int
    organisations: int
    requests: int
    refused: int = Field(description="of those, the ones that were refused, or would have been")
    tokens: int = Field(description="input and output")
    requests_share: float = Field(description="of all requests of the period, 0–1")
    tokens_share: float


class WouldPlan(Out):
    """One plan in the period."""

    plan: str = Field(description="empty: a key without account")
    keys: int
    touched_keys: int = Field(description="keys that an action touched, or would have")
    requests: int
    touched_requests: int


class WouldCustomer(Out):
    """One customer, by what an action meant for it."""

    customer: str = Field(description="org: and its name, or key: and its id where it belongs to none")
    keys: int
    plan: str
    action: str = Field(description="the highest one")
    requests: int = Field(description="all of the customer")
    touched_requests: int
    refused: int = Field(description="of those, the ones that were refused, or would have been")
    level: str = Field(description="of its most suspicious key now")
    reason: str = Field(description="the reason of that key's verdict that stands out most; empty where it is forgotten")


class WouldReport(Out):
    """What enforcement did, or would have done, in a period, from the archive."""

    since: datetime
    until: datetime
    known: bool = Field(description="false: this process has no archive to read")
    policy_digest: str
    mode: str
    requests: int
    tokens: int
    keys: int
    organisations: int
    would_refuse: int = Field(description="requests that a narrowed budget would have refused")
    actions: list[WouldAction]
    plans: list[WouldPlan]
    customers: list[WouldCustomer] = Field(description="the twenty with the most requests that were touched")
