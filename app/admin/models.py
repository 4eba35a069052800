"""The JSON of the admin API. Times are RFC 3339 in UTC; scores in [0, 1], higher is more suspicious."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from app.state.gateways import Mode
from detectors.contract import Use

KEY_ID = r"^[0-9a-f]{32}$"
KEY_PREFIX = r"^[0-9a-f]{1,32}$"
NAME = r"^[0-9A-Za-z_.:@-]{1,128}$"
NAME_OR_EMPTY = r"^[0-9A-Za-z_.:@-]{0,128}$"
COUNTRY = r"^([A-Z]{2})?$"

RULES = {
    KEY_ID: "must be 32 hex digits in lower case",
    KEY_PREFIX: "must be 1 to 32 hex digits in lower case",
    NAME: "must be 1 to 128 letters, digits and _ . : @ -",
    NAME_OR_EMPTY: "must be at most 128 letters, digits and _ . : @ -",
    COUNTRY: "must be two capital letters, or empty",
}
"""The patterns in words."""

LevelName = Literal["clear", "watch", "suspect", "confirmed"]
LevelOrNone = Literal["unjudged", "clear", "watch", "suspect", "confirmed"]
"""`unjudged`: there is no verdict yet, or too little evidence for one that says clear."""

LevelChoice = Literal["clear", "watch", "suspect", "confirmed", "flagged"]
"""`flagged`: suspect and confirmed."""

LEVEL_CHOICES: tuple[LevelChoice, ...] = get_args(LevelChoice)
KeyId = Annotated[str, StringConstraints(pattern=KEY_ID)]
NameOrEmpty = Annotated[str, StringConstraints(pattern=NAME_OR_EMPTY)]

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def _in_utc(value: datetime) -> datetime:
    """A time without a zone is taken as UTC."""
    try:
        moment = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:  # the first and last days of the calendar have no neighbours in other zones
        moment = datetime.min.replace(tzinfo=UTC)
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must be between 1970 and 2200")
    return moment


Moment = Annotated[datetime, AfterValidator(_in_utc)]


def _written_out(value: object) -> object:
    """In an address everything is text, and a bare number would be taken for seconds."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z")
    return value


AskedMoment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


class AccountQuery(BaseModel):
    """What a list of accounts is asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="about so many accounts in one page")
    cursor: Annotated[int, Field(ge=0, lt=2**64)] = Field(0, description="next_cursor of the page before")


class Out(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True)


class AccountIn(BaseModel):
    """What the operator tells about a key."""

    model_config = ConfigDict(extra="forbid")

    org_id: NameOrEmpty = Field(
        "", description="organisation the key belongs to; keys of one share budgets and a partition"
    )
    plan: NameOrEmpty = Field("", description="a name under limits.plans; empty: identity.default_plan")
    created_at: Moment | None = Field(None, description="when the key was created; without a zone it is taken as UTC")
    payment_id: NameOrEmpty = Field("", description="keyed hash of the payment token; never the token")
    authorised: list[Use] = Field([], max_length=16, description="uses that the contract allows")
    country: Annotated[str, StringConstraints(pattern=COUNTRY)] = Field("", description="ISO 3166 code in capitals")


class AccountLine(AccountIn):
    """One line of an import."""

    key_id: KeyId = Field(description="keyed hash of the credential, in hex")


class AccountOut(Out):
    """An account as it is stored."""

    key_id: str
    org_id: str
    plan: str
    created_at: datetime | None
    payment_id: str
    authorised: list[str]
    country: str


class AccountList(Out):
    """Some accounts, in no order; one may come on two pages. Only a missing `next_cursor` says that there are no more."""

    accounts: list[AccountOut]
    next_cursor: str | None = Field(description="give it as `cursor` to get the next page; null on the last one")


class ImportQuery(BaseModel):
    """How an import is meant."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(False, description="only check every line, and store nothing")


class ImportOut(Out):
    """How many accounts an import stored; it stores all of them or none."""

    lines: int = Field(description="lines that hold an account")
    stored: int
    dry_run: bool


class PartitionOut(Out):
    """One partition's queues."""

    partition: int
    owner: str | None = Field(description="worker that holds the lease; null when nobody does")
    waiting: int = Field(description="exchanges that are not applied yet")
    oldest_sec: float = Field(description="age of the oldest of them")
    rows_to_archive: int
    dead_letters: int
    keys: int


class LookOut(Out):
    """One look, see docs/calibration.md."""

    until: datetime = Field(description="event time up to which exchanges were looked at")
    counts_from: datetime = Field(description="event time from which keys are judged under it")
    frozen: list[str] = Field(description="features that scorers are not shown, because the whole fleet moved in them")
    reference_old: bool = Field(description="more features moved than may be frozen: fit a new model")
    organisations: int = Field(description="with a vote on what moved")
    judged: int = Field(description="keys that were compared with each other")
    called: int = Field(description="keys that stand out")


class Health(Out):
    """How far the service is behind, and what judges."""

    status: Literal["ok", "degraded"]
    problems: list[str] = Field(description="why it is degraded, as sentences")
    workers: int
    gateways: int
    waiting: int
    oldest_sec: float
    dead_letters: int
    keys: int
    levels: dict[LevelName, int]
    model_id: str | None = Field(description="the fitted model of the configuration; null when only the named rules judge")
    mode: Mode = Field(
        description="what the running gateways do: enforce, shadow, mixed (some act), or unknown: no gateway is running"
    )
    look: LookOut | None = Field(description="the newest look at the whole fleet under that model; null before the first")
    audit_head: str = Field(description="end of the audit log, as <number>-<digest>; 0: it is empty")
    kill: str = Field(description="scope of the kill switch here: actions or all; empty: everything works")
    partitions: list[PartitionOut]


class Alive(Out):
    """The process answers."""

    status: Literal["ok"] = "ok"
