"""The JSON of watermarks: profiles, tags, groups of campaigns, investigations. No secret, and nothing of a data set."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.admin.models import NAME, Out
from app.admin.models_orders import ReasonText
from app.admin.watermark_folders import Stage
from app.admin.words import without_credential
from app.watermark.corpus import Form, Texts

PROFILE_ID = r"^[a-z0-9][a-z0-9._-]{0,63}$"
INVESTIGATION_ID = r"^wi-[a-z2-7]{13}$"
GROUP = r"^[0-9A-Za-z_.:-]{1,64}$"
SHA256 = r"^[0-9a-f]{64}$"
FIELD = r"^[^\x00-\x1f\x7f]{0,128}$"

MAX_FWER = 0.05
MIN_FWER = 1e-12

Engine = Literal["vllm", "sglang"]


def _title(value: str) -> str:
    value = value.strip()
    if not value or not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return without_credential(value)


class ProfileOut(Out):
    """One way of marking."""

    id: str
    scheme: Literal["gumbel", "green", "choice"]
    tokenizer: str = Field(description="SHA-256 of the tokenizer file, or words-1")
    epoch: str
    prf: str
    context_width: int
    positions: int
    symbols: int
    coin: float
    gamma: float
    delta: float
    dedup: str
    candidates: int
    valid_from: str
    valid_until: str
    secret: str | None = Field(description="fingerprint of its epoch's secret; null: there is no secret for it here")
    named: bool = Field(description="a setting names it: answers are marked with it while it is valid")
    in_force: bool = Field(description="answers are marked with it today")


class ProfileList(Out):
    """All profiles that marks were ever made with."""

    profiles: list[ProfileOut]
    engine: Literal["none", "vllm", "sglang"]
    tenant: Literal["key", "organisation"]


class TagIn(BaseModel):
    """Whose mark is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: Annotated[str, StringConstraints(pattern=NAME)] = Field(
        description="key id, or the name of an organisation where those have the marks"
    )
    group: Annotated[str, StringConstraints(pattern=GROUP)] | None = Field(
        None, description="campaign whose mark it carries too; null: the one it has now, if any"
    )
    profile: Annotated[str, StringConstraints(pattern=PROFILE_ID)] | None = Field(
        None, description="id of the profile; null: the one in force"
    )
    engine: Engine | None = Field(None, description="null: the one of the settings, else vllm")
    reason: ReasonText = Field(description="for the audit log; one line")


class TagOut(Out):
    """What a gateway puts into a request of this tenant. Without the secret a codeword says nothing; still, keep it."""

    tenant: str
    group: str
    profile: str
    engine: Engine
    fields: dict[str, Any] = Field(description="members to be merged into the body of a request")


class GroupRow(Out):
    """A campaign whose members share a mark."""

    group: str
    tenants: int


class GroupList(Out):
    """All of them."""

    groups: list[GroupRow]
    tenants: int = Field(description="with a group, in all")


class TenantList(Out):
    """Everybody whose answers may have been marked."""

    tenants: list[str] = Field(description="keys, or organisations where those have the marks")
    groups: dict[str, str] = Field(description="tenant: campaign whose mark it shares; only those that share one")


class GroupOut(Out):
    """What was done about a campaign's mark."""

    group: str
    tenants: int = Field(description="that share it now")
    added: int
    removed: int
    moved: int = Field(description="of those added, from another group")


class GroupIn(BaseModel):
    """Why a campaign gets a mark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: ReasonText = Field(description="for the audit log; one line")


class InvestigationIn(BaseModel):
    """A data set that is to be looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=120), AfterValidator(_title)] = Field(
        description="what people call it; stands in the report"
    )
    profile: Annotated[str, StringConstraints(pattern=PROFILE_ID)] = Field(description="id of the profile to look for")
    format: Form = Field(description="of the data set; jsonl and text may be packed with gzip")
    field: Annotated[str, StringConstraints(pattern=FIELD)] = Field(
        "", description="of JSON Lines, or column of Parquet, with the text or the tokens; empty: text, or else tokens"
    )
    texts: Texts = Field(
        "auto", description="whether a text file is one document; auto: what is between blank lines is one"
    )
    bytes: Annotated[int, Field(ge=1, le=2**50)] = Field(description="size of the data set as it will be uploaded")
    sha256: Annotated[str, StringConstraints(pattern=SHA256)] = Field(description="of the data set, in hex digits")
    reason: ReasonText = Field(description="for the audit log; one line")


class RunIn(BaseModel):
    """How strict an investigation is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fwer: Annotated[float, Field(ge=MIN_FWER, le=MAX_FWER)] = Field(
        1e-3, description="probability that any innocent tenant is named, at most"
    )


class TenantsNamed(Out):
    """Who is asked about beside those that are known."""

    tenants: int


class ProgressOut(Out):
    """How far a run is."""

    stage: str = Field(description="what it does")
    share: float = Field(description="of that, 0 to 1")


class KeyFinding(Out):
    """A tenant or campaign among those that fit best."""

    name: str
    kind: Literal["tenant", "group"]
    group: str
    named: bool = Field(description="its mark is in the data set, within the bound")
    log10_p: float = Field(description="logarithm of its p-value")
    documents: int | None = Field(description="that carry its mark, each by itself")
    share: float | None = Field(description="of the marked text; null: cannot be said")
    share_low: float | None
    share_high: float | None


class FindingsOut(Out):
    """What was found, without its documents; the report has those."""

    version: str = Field(description="of the program")
    at: datetime
    profile: str
    secret: str = Field(description="fingerprint of the secret that was looked for")
    documents: int
    tokens: int
    ngrams: int
    repeated: int
    model_log10_p: float = Field(description="logarithm of the p-value that the text is the model's at all")
    model_best_decoy_log10_p: float | None = Field(description="of the best of the channels that nobody is marked with")
    tested: int = Field(description="tenants and groups")
    fwer: float
    keys: list[KeyFinding] = Field(description="the named, and after them the next best")
    notes: list[str]


class InvestigationRow(Out):
    """An investigation without what it found."""

    id: str
    name: str
    profile: str
    format: Form
    bytes: int
    sha256: str
    reason: str
    by: str
    made: datetime
    changed: datetime
    state: Stage = Field(
        description="waiting: for (more of) the data set; uploaded; queued; running; done; failed: see error, "
        "it can be run again"
    )
    received: int = Field(description="bytes of the data set that are here: the next part begins there; 0 once it is gone")
    error: str | None
    progress: ProgressOut | None
    fwer: float
    tenants: int = Field(description="who were asked about in the last run")
    groups: int


class InvestigationOut(InvestigationRow):
    """An investigation."""

    findings: FindingsOut | None = Field(description="of the last run that came to its end")


class InvestigationList(Out):
    """All investigations, the newest first."""

    investigations: list[InvestigationRow]


class ReportQuery(BaseModel):
    """In which form a report is asked for."""

    model_config = ConfigDict(extra="forbid")

    form: Literal["md", "json"] = Field("md", description="json: everything it is drawn from")


class PictureQuery(BaseModel):
    """Which picture of a report is asked for."""

    model_config = ConfigDict(extra="forbid")

    picture: Literal["keys", "shares", "documents"] = Field(
        "keys", description="p-values against decoys; shares of the named (none where nobody is named); documents in order"
    )
