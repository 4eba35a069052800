"""What goes in and out of the routes over documents that are imported and the keys that they are signed with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_PEM_CHARS = 2_000


class SignerIn(BaseModel):
    """A member's public key."""

    model_config = ConfigDict(extra="forbid")

    public_key: Annotated[str, Field(max_length=MAX_PEM_CHARS)] = Field(
        description="Ed25519 in PEM, as 'stillwatch intel keygen' prints it"
    )


class SignerOut(BaseModel):
    """The key by which a member's signed documents are known."""

    member: str
    fingerprint: str = Field(description="SHA-256 of the key's 32 bytes; compare it with what the member says of it")
    created: datetime
    created_by: str = Field(description="token id of who registered it")


class SignerList(BaseModel):
    """The keys of a group's members, by member."""

    keys: list[SignerOut]


class ImportOut(BaseModel):
    """What became of a document."""

    member: str = Field(description="whose report it counts as: a member's, or '@' and the token id of who sent it")
    fingerprint: str = Field(description="of the key whose signature was checked; empty: none was")
    objects: int = Field(description="in the document")
    queued: int = Field(description="that this request put into the sender's queue")
    red: int = Field(description="that this request left out: marked TLP:RED")
    dropped: int = Field(description="that this request left out: too large, too deep or without a well-formed id")
    next: int = Field(description="where to go on with `first`: the same as `objects` when all of it is in the queue")
    known: bool = Field(description="this very document was taken whole before, and nothing was done")
