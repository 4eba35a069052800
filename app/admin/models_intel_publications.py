"""What goes in and out of the routes over what is published."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from app.admin.models import KeyId, Out
from app.admin.models_campaigns import CAMPAIGN_ID
from app.admin.models_intel import GROUP
from app.admin.models_orders import ReasonText
from app.intel.publishing import MOST_PLAIN
from app.state.intel_published import Status

PUBLICATION_ID = r"^pub-[0-9a-f]{12}$"
DIGEST = r"^[0-9a-f]{64}$"

MAX_IDENTITIES = 5_000
MAX_BODY_BYTES = 2 * 1024 * 1024
"""So many accounts, at 300 bytes each, with everything else."""

Level = Literal["clear", "green", "amber", "amber+strict", "red"]
Value = Annotated[str, Field(max_length=80)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 3 <= len(text) <= 254 or not text.isprintable() or any(letter.isspace() for letter in text):
        raise ValueError("must be 3 to 254 printable characters without spaces")
    return value


class IdentityIn(_In):
    """An account of which a person has confirmed that it is abusive."""

    key_id: KeyId = Field(description="member of the campaign that it belongs to, labelled abusive")
    address: Annotated[SecretStr, AfterValidator(_address)] = Field(
        description="e-mail address or number of the account; hashed under the group's key at once, and kept nowhere"
    )


class PublicationIn(_In):
    """What is to be told of a campaign, and to whom."""

    campaign_id: Annotated[str, Field(pattern=CAMPAIGN_ID)] = Field(description="campaign of ours")
    group: Annotated[str, Field(pattern=GROUP)] = Field(description="trust group")
    tlp: Level = Field("amber+strict", description="Traffic Light Protocol 2.0; red never leaves")
    confidence: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="none: 80 for a campaign that is confirmed by itself, else 60"
    )
    confirmed_by_review: bool = Field(
        False, description="a person looked at a campaign that is only suspect, and it is one; the reason says why"
    )
    asns: Annotated[list[Value], Field(max_length=MOST_PLAIN)] = Field([], description="autonomous systems, as AS64500")
    clients: Annotated[list[Value], Field(max_length=MOST_PLAIN)] = Field([], description="names of clients")
    networks: Annotated[list[Value], Field(max_length=MOST_PLAIN)] = Field([], description="networks of proxies")
    identities: Annotated[list[IdentityIn], Field(max_length=MAX_IDENTITIES)] = Field(
        [], description="accounts; only keyed hashes of them leave"
    )


class ProposeIn(PublicationIn):
    """The same, with the reason for which it is proposed."""

    reason: ReasonText = Field(description="for the audit log and the second person; one line; it does not leave")


class ApproveIn(_In):
    """The second person's word."""

    sha256: Annotated[str, Field(pattern=DIGEST)] = Field(description="of the bytes that the second person has looked at")
    reason: ReasonText = Field(description="for the audit log; one line")


class PublicationQuery(_In):
    """Which ones are asked for."""

    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="the newest so many")


class PublicationOut(Out):
    """A proposal or a publication, without its bytes."""

    id: str
    campaign: str = Field(description="id of ours; it does not leave")
    group: str
    tlp: str
    status: Status = Field(description="replaced: a newer version of it was published")
    in_feed: bool = Field(description="all of its objects, or of what takes them back, are in the group's feed")
    version: int = Field(description="of what was published about the campaign")
    follows: str = Field(description="publication that it is a new version of; empty for the first")
    keys: int = Field(description="members that it speaks of, exactly; what leaves is rounded")
    left_out: int = Field(description="members on the allow-list, under contract or excused")
    identities: int = Field(description="accounts in it, as keyed hashes")
    objects: dict[str, int] = Field(description="STIX type → how many")
    size: int = Field(description="bytes that leave")
    sha256: str = Field(description="of those bytes")
    confirmed_by_review: bool
    proposed_by: str
    proposed: datetime
    approvable_until: datetime
    reason: str
    decided: datetime | None
    decided_by: str
    decision: str
    retracted: datetime | None
    retracted_by: str
    retraction: str


class PublicationDetail(PublicationOut):
    """One with exactly what leaves."""

    says: list[str] = Field(description="what the bytes say, for people")
    bundle: str = Field(description="exactly the bytes that leave: a STIX 2.1 bundle")
    revocation: str = Field(description="exactly the bytes that take it back; empty before")


class PublicationPreview(Out):
    """What would leave now. A proposal fixes bytes of its own: ids and times are drawn and taken anew."""

    campaign: str
    group: str
    tlp: str
    version: int
    follows: str
    keys: int
    left_out: int
    identities: int
    objects: dict[str, int]
    size: int
    says: list[str]
    bundle: str


class PublicationList(BaseModel):
    """The newest first."""

    publications: list[PublicationOut]
