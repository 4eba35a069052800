"""The resources of TAXII 2.1 as they are answered (the standard, 4 and 5)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.intel.taxii import times
from app.intel.taxii.envelope import MAX_BODY_BYTES, Sent
from app.intel.taxii.media import STIX, TAXII
from app.state.intel import Entry
from app.state.intel_groups import Group

PATH = "/taxii2/"
"""Where discovery is; the API root of a trust group is at its name behind it."""


class Discovery(BaseModel):
    """What this server has for the caller."""

    title: str
    description: str
    api_roots: list[str] | None = Field(None, description="of the caller's trust groups")
    default: str | None = None


class ApiRoot(BaseModel):
    """A trust group."""

    title: str
    description: str
    versions: list[str]
    max_content_length: int


class CollectionInfo(BaseModel):
    """A collection as the caller sees it."""

    id: str
    title: str
    description: str
    alias: str
    can_read: bool
    can_write: bool
    media_types: list[str]


class Collections(BaseModel):
    """The collections of a trust group."""

    collections: list[CollectionInfo]


class Envelope(BaseModel):
    """Objects, in the order in which they were added."""

    more: bool | None = None
    next: str | None = None
    objects: list[dict[str, Any]] | None = None


class ManifestRecord(BaseModel):
    """One version of an object."""

    id: str
    date_added: str
    version: str
    media_type: str


class Manifest(BaseModel):
    """What there is, without the objects."""

    more: bool | None = None
    next: str | None = None
    objects: list[ManifestRecord] | None = None


class Versions(BaseModel):
    """Versions of one object, in the order in which they were added."""

    more: bool | None = None
    next: str | None = None
    versions: list[str] | None = None


class StatusDetail(BaseModel):
    """What became of one object."""

    id: str
    version: str
    message: str | None = None


class Status(BaseModel):
    """What became of a request to add objects."""

    id: str
    status: Literal["complete", "pending"]
    request_timestamp: str
    total_count: int
    success_count: int
    successes: list[StatusDetail]
    failure_count: int
    failures: list[StatusDetail]
    pending_count: int
    pendings: list[StatusDetail]


class ErrorMessage(BaseModel):
    """What went wrong."""

    title: str
    description: str
    error_id: str = Field(description="x-request-id of the answer; it stands in the audit log")
    http_status: str


def api_root(group: Group) -> ApiRoot:
    """A group's."""
    return ApiRoot(
        title=group.title,
        description="A trust group: what is shared is in the collection 'feed'; send to the collection 'submit'.",
        versions=[TAXII],
        max_content_length=MAX_BODY_BYTES,
    )


def collection(group: Group, kind: str, can_read: bool, can_write: bool) -> CollectionInfo:
    """One of a group's."""
    feed = kind == "feed"
    return CollectionInfo(
        id=group.feed_id if feed else group.submit_id,
        title=f"{group.title}: {kind}",
        description="What is shared with the group." if feed else "What members send; each hears what became of it.",
        alias=kind,
        can_read=can_read,
        can_write=can_write,
        media_types=[STIX],
    )


def manifest_record(entry: Entry) -> ManifestRecord:
    """One version's."""
    return ManifestRecord(
        id=entry.object_id,
        date_added=times.added(entry.added_us),
        version=times.version(entry.version_us),
        media_type=STIX,
    )


def status(status_id: str, at_us: int, successes: list[Entry], failures: list[tuple[Sent, str]]) -> Status:
    """Of a request that is carried out.

    Args:
        status_id: a UUID.
        at_us: when the request came.
        successes: what is in the collection now, new or not.
        failures: object and why it was not taken.
    """
    good = [StatusDetail(id=entry.object_id, version=times.version(entry.version_us)) for entry in successes]
    bad = [
        StatusDetail(
            id=sent.object_id,
            version=times.version(at_us if sent.new is None or sent.new.version_us is None else sent.new.version_us),
            message=fault,
        )
        for sent, fault in failures
    ]
    return Status(
        id=status_id,
        status="complete",
        request_timestamp=times.added(at_us),
        total_count=len(good) + len(bad),
        success_count=len(good),
        successes=good,
        failure_count=len(bad),
        failures=bad,
        pending_count=0,
        pendings=[],
    )
