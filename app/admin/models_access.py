"""What goes in and out of the routes over tokens and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.admin.caller import BOOTSTRAP
from app.admin.roles import Permission, Role

PUBLIC_ID = r"^[0-9A-Za-z]{8}$"
LABEL = r"^[0-9A-Za-z_.:@ -]{1,64}$"
AUDIT_CURSOR = r"^(\d{1,15}-\d{1,15})?$"
MAX_DAYS = 366


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _free(name: str) -> str:
    if name.strip().lower() == BOOTSTRAP:
        raise ValueError(f"must not be {BOOTSTRAP}, which is the token of the settings")
    return name


class TokenIn(_In):
    """A token to be made."""

    name: Annotated[str, Field(pattern=LABEL), AfterValidator(_free)] = Field(
        description="who or what will use it, in every record; no other token that counts may have it, whatever its letter "
        "case, and bootstrap is that of the settings' own"
    )
    role: Role = Field(description="what it may do")
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = Field(90, description="for how long it counts")


class TokenOut(BaseModel):
    """A token, without its secret."""

    token_id: str = Field(description="its public part")
    name: str
    role: str
    created: datetime
    expires: datetime
    created_by: str = Field(description="token id of who made it; bootstrap: the token of the settings")
    last_used: datetime | None = Field(description="to the hour; null: never")
    revoked: datetime | None
    status: Literal["active", "expired", "revoked"]


class TokenMade(TokenOut):
    """A token that was just made."""

    token: str = Field(description="the token itself; it is shown this once and kept nowhere")


class TokenList(BaseModel):
    """All tokens, those made last first; ended ones for 90 days."""

    tokens: list[TokenOut]


class Me(BaseModel):
    """The caller."""

    token_id: str
    name: str
    role: Role
    permissions: list[Permission]


class AuditQuery(_In):
    """Which records."""

    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="records on a page")
    cursor: Annotated[str, Field(pattern=AUDIT_CURSOR)] = Field("", description="next_cursor of the page before")


class AuditRecord(BaseModel):
    """What somebody did, or was about to do."""

    number: int = Field(description="place in the chain, from 1")
    at: datetime
    token_id: str
    name: str
    role: str
    action: str
    subject: str
    reason: str
    before: Any = Field(None, description="what there was; of a value above 4 KiB size and digest only")
    after: Any = Field(None, description="what there would be")
    address: str = Field(description="keyed hash of the caller's address")
    request_id: str = Field(description="x-request-id of the answer")
    outcome: Literal["accepted", "failed"] = Field(description="accepted: written before the change; failed: it failed")
    of: int | None = Field(None, description="the record that a failed one is about")
    error: str | None = Field(None, description="class of the fault of a failed one")
    digest: str = Field(description="SHA-256 over the digest of the record before and this record")


class AuditPage(BaseModel):
    """Records, newest first."""

    records: list[AuditRecord]
    next_cursor: str | None
    head: str = Field(description="number and digest of the last record of the log, as <number>-<digest>; 0: empty")
