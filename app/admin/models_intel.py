"""What goes in and out of the routes over trust groups and their members."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.state.intel_groups import GROUP, MEMBER

__all__ = [
    "GROUP",
    "MEMBER",
    "TITLE",
    "GroupIn",
    "GroupList",
    "GroupOut",
    "MemberIn",
    "MemberMade",
    "MemberOut",
    "PeerList",
    "PeerOut",
]

TITLE = r"^[ -~]{1,80}$"
MAX_DAYS = 366
MAX_OVERLAP_HOURS = 168


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GroupIn(_In):
    """A trust group."""

    title: Annotated[str, Field(pattern=TITLE)] = Field(description="for the members' people")


class MemberIn(_In):
    """A credential for a member."""

    may_submit: bool = Field(True, description="false: the member only reads what is shared")
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = Field(90, description="for how long it counts")
    overlap_hours: Annotated[int, Field(ge=0, le=MAX_OVERLAP_HOURS)] = Field(
        0, description="for how long the credential counts yet that the member had before; 0: it ends at once"
    )


class MemberOut(BaseModel):
    """A credential that counts, without its secret."""

    member: str
    token_id: str = Field(description="its public part")
    may_submit: bool
    created: datetime
    expires: datetime
    created_by: str = Field(description="token id of who made it")


class MemberMade(MemberOut):
    """A credential that was just made."""

    token: str = Field(
        description="the credential itself, the password of HTTP Basic; it is shown this once and kept nowhere"
    )


class GroupOut(BaseModel):
    """A trust group, its collections and its members."""

    group: str
    title: str
    api_root: str = Field(description="its address on this port")
    feed_id: str = Field(description="collection that members read")
    submit_id: str = Field(description="collection that they write to")
    created: datetime
    shared: int = Field(description="versions of objects in the feed")
    submitted: int = Field(description="versions of objects that members sent, as far as they are kept")
    waiting: int = Field(description="objects of members with which nothing was done yet")
    members: list[MemberOut] = Field(description="those that count; a member has two while one is replaced")


class PeerOut(BaseModel):
    """How far a collection of a peer was read."""

    peer: str
    collection: str = Field(
        description="its id; empty: the peer itself, its discovery and its list of collections; (words): the way to the "
        "peer, on which it is told what we say about indicators"
    )
    polled: datetime = Field(description="when it was last read")
    added_after: str = Field(description="where the next poll goes on: the peer's own date of the last object")
    objects: int = Field(description="objects that were taken over until now, repetitions counted; or that were sent")
    dropped: int = Field(description="entries that were no objects, or too large or too deep")
    waiting: int = Field(description="objects that wait to be sent; only where the collection is (words)")
    fault: str = Field(description="what went wrong at the last poll; empty: nothing")


class PeerList(BaseModel):
    """What is known of every poll, by peer and collection."""

    peers: list[PeerOut]


class GroupList(BaseModel):
    """All trust groups, by name."""

    groups: list[GroupOut]
