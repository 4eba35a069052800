"""The nine addresses of TAXII 2.1, as an application of their own at /taxii2/ of the admin API's port.

Each trust group is an API root with two collections: `feed`, which its members read, and `submit`, which they write to.
People of our own read both, and may add to `submit` by hand and delete there. Nothing is added to a feed here: what leaves
needs a preview and a second person.

The application has the same layers as the admin API around it: bounded bodies, a credential that is looked at before the
body, one permission for each route, a record in the audit log before a change. Its refusals have TAXII's form.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin import problems
from app.admin.auditing import Auditor, failures_recorded
from app.admin.auth import Access
from app.admin.deadline import answered
from app.admin.guard import Guard
from app.admin.methods import Methods
from app.admin.permissions import allowed, check_declared
from app.admin.shelf import Shelf
from app.admin.taxii_words import TaxiiWords
from app.admin.visiting import Visiting, Visitor, VisitorDep, current_visitor, permit_member
from app.errors import BadInput
from app.intel.taxii import envelope, media, queries, resources, times
from app.intel.taxii.resources import PATH
from app.settings import Settings
from app.state.intel import Collection, Entry, Page
from app.state.intel_groups import Group
from app.telemetry import metrics

PAGE_BYTES = 8 * 1024 * 1024
"""Objects of one page; a page of larger ones is shorter."""

_FETCHED = 100
_SENDING_SEC = 5.0
"""What 1,000 objects may take longer than other requests."""


class Opened:
    """A collection that a visitor has found.

    Attributes:
        group: whose it is.
        kind: feed or submit.
        can_read: the visitor may.
        can_write: the visitor may.
    """

    def __init__(self, visitor: Visitor, group: Group, kind: str) -> None:
        self.group = group
        self.kind = kind
        self.can_read, self.can_write = rights(visitor, kind)


def rights(visitor: Visitor, kind: str) -> tuple[bool, bool]:
    """(may read, may write) of a visitor in a collection of a group that is open to it."""
    if kind == "feed":
        return True, False
    if visitor.group:
        return False, visitor.may_submit
    return True, allowed(visitor.caller.role, "intel.write")


class TaxiiDoor:
    """Sends what is addressed to TAXII to its application, and everything else on."""

    def __init__(self, app: ASGIApp, taxii: ASGIApp) -> None:
        self._app = app
        self._taxii = taxii

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        ours = scope["type"] == "http" and scope["path"].startswith(PATH)
        await (self._taxii if ours else self._app)(scope, receive, send)


def create_taxii(settings: Settings, access: Access, shelf: Shelf, auditor: Auditor) -> FastAPI:
    """The application, with its layers.

    Args:
        settings: the whole tree.
        access: who knows people's tokens.
        shelf: what is shared.
        auditor: records changes.
    """
    app = FastAPI(title="Stillwatch TAXII", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.visiting = Visiting(access, shelf.groups)
    app.state.auditor = auditor
    guarded = APIRouter(
        prefix=PATH.rstrip("/"), dependencies=[Depends(current_visitor), Depends(failures_recorded), Depends(_negotiated)]
    )
    app.include_router(guarded)  # before it has routes: FastAPI would else build each of them once more
    guarded.include_router(_about(shelf))
    guarded.include_router(_reading(shelf))
    guarded.include_router(_changing(shelf, auditor))
    check_declared(app, ())
    problems.install(app)
    app.add_middleware(Methods, routes=app)
    app.add_middleware(
        Guard, max_bytes=envelope.MAX_BODY_BYTES, larger={}, body_timeout_sec=settings.gateway.body_timeout_sec
    )
    app.add_middleware(TaxiiWords)
    return app


def _about(shelf: Shelf) -> APIRouter:
    """What there is."""
    routes = APIRouter()

    @routes.get("/", dependencies=[permit_member("intel.read")])
    async def get_discovery(visitor: VisitorDep) -> Response:
        """The caller's trust groups."""
        async with answered():
            groups = [group for group in await shelf.groups.all() if visitor.group in ("", group.name)]
        roots = [f"{PATH}{group.name}/" for group in groups]
        found = resources.Discovery(
            title="Stillwatch",
            description="What is shared about campaigns that harvest model APIs.",
            api_roots=roots or None,
            default=roots[0] if len(roots) == 1 else None,
        )
        return _answer(found)

    @routes.get("/{group}/", dependencies=[permit_member("intel.read")])
    async def get_api_root(group: str, visitor: VisitorDep) -> Response:
        """A trust group."""
        return _answer(resources.api_root(await _group(shelf, visitor, group)))

    @routes.get("/{group}/status/{status_id}/", dependencies=[permit_member("intel.read")])
    async def get_status(group: str, status_id: str, visitor: VisitorDep) -> Response:
        """What became of a request of the same caller, for a day."""
        found = await _group(shelf, visitor, group)
        async with answered():
            stored = await shelf.statuses.get(found.name, visitor.member, status_id)
        if stored is None:
            raise HTTPException(404, "There is no such status, or it is forgotten.")
        return _bytes(stored)

    @routes.get("/{group}/collections/", dependencies=[permit_member("intel.read")])
    async def get_collections(group: str, visitor: VisitorDep) -> Response:
        """The group's two collections."""
        found = await _group(shelf, visitor, group)
        told = [resources.collection(found, kind, *rights(visitor, kind)) for kind in ("feed", "submit")]
        return _answer(resources.Collections(collections=told))

    @routes.get("/{group}/collections/{collection_id}/", dependencies=[permit_member("intel.read")])
    async def get_collection(group: str, collection_id: str, visitor: VisitorDep) -> Response:
        """One of them."""
        opened = await _opened(shelf, visitor, group, collection_id)
        return _answer(resources.collection(opened.group, opened.kind, opened.can_read, opened.can_write))

    return routes


def _reading(shelf: Shelf) -> APIRouter:
    """What is in a collection."""
    routes = APIRouter(prefix="/{group}/collections/{collection_id}")

    @routes.get("/manifest/", dependencies=[permit_member("intel.read")])
    async def get_manifest(group: str, collection_id: str, request: Request, visitor: VisitorDep) -> Response:
        """Versions in a collection, without the objects."""
        opened = await _readable(shelf, visitor, group, collection_id)
        asked = _asked(request, queries.OF_COLLECTION)
        async with answered():
            page = await _page(shelf.collection(opened.group, opened.kind), asked)
        records = [resources.manifest_record(entry) for entry in page.entries]
        return _answer(resources.Manifest(**_more(page), objects=records or None), page.entries)

    @routes.get("/objects/", dependencies=[permit_member("intel.read")])
    async def get_objects(group: str, collection_id: str, request: Request, visitor: VisitorDep) -> Response:
        """Objects in a collection."""
        opened = await _readable(shelf, visitor, group, collection_id)
        asked = _asked(request, queries.OF_COLLECTION)
        collection = shelf.collection(opened.group, opened.kind)
        async with answered():
            return await _envelope(collection, await _page(collection, asked))

    @routes.get("/objects/{object_id}/", dependencies=[permit_member("intel.read")])
    async def get_object(group: str, collection_id: str, object_id: str, request: Request, visitor: VisitorDep) -> Response:
        """One object."""
        opened = await _readable(shelf, visitor, group, collection_id)
        asked = _asked(request, queries.OF_OBJECT)
        collection = shelf.collection(opened.group, opened.kind)
        async with answered():
            page = await _page_of(collection, object_id, asked)
            return await _envelope(collection, page)

    @routes.get("/objects/{object_id}/versions/", dependencies=[permit_member("intel.read")])
    async def get_versions(
        group: str, collection_id: str, object_id: str, request: Request, visitor: VisitorDep
    ) -> Response:
        """The versions of one object."""
        opened = await _readable(shelf, visitor, group, collection_id)
        asked = _asked(request, queries.OF_VERSIONS, every=True)
        async with answered():
            page = await _page_of(shelf.collection(opened.group, opened.kind), object_id, asked)
        told = [times.version(entry.version_us) for entry in page.entries]
        return _answer(resources.Versions(**_more(page), versions=told or None), page.entries)

    return routes


def _changing(shelf: Shelf, auditor: Auditor) -> APIRouter:
    """What members send, and what people take out."""
    routes = APIRouter(prefix="/{group}/collections/{collection_id}")

    @routes.post("/objects/", dependencies=[permit_member("intel.write")])
    async def add_objects(group: str, collection_id: str, request: Request, visitor: VisitorDep) -> Response:
        """Take objects from a member: stored with who sent them and when, queued for whoever gives them a meaning."""
        opened = await _opened(shelf, visitor, group, collection_id)
        if not opened.can_write:
            raise HTTPException(403, "Nothing can be added to this collection.")
        if not media.sendable(request.headers.get("content-type", "")):
            raise HTTPException(415, f"The body must be {media.TAXII}.")
        body = await request.body()
        sent = envelope.read(body)
        at_us = time.time_ns() // 1000
        good = [one.new for one in sent if one.new is not None]
        name = opened.group.name
        await auditor.record(
            visitor.caller,
            request,
            "intel.submit",
            f"group:{name}",
            after={"member": visitor.member, "objects": len(sent), "taken": len(good), "bytes": len(body)},
        )
        async with answered(_SENDING_SEC):
            taken = await shelf.queue.received(name, visitor.member, [one.data for one in good])
            added = await shelf.collection(opened.group, opened.kind).add(good[:taken])
            unfit = {id(one) for one in good[taken:]}
            faults = [(one, one.fault or _FULL) for one in sent if one.new is None or id(one.new) in unfit]
            status = resources.status(str(uuid.uuid4()), at_us, [entry for entry, _ in added], faults)
            stored = orjson.dumps(status.model_dump(exclude_none=True))
            await shelf.statuses.keep(name, visitor.member, status.id, stored)
        metrics.SHARED_OBJECTS.labels(way="taken").inc(status.success_count)
        metrics.SHARED_OBJECTS.labels(way="refused").inc(status.failure_count)
        return _bytes(stored, 202)

    @routes.delete("/objects/{object_id}/", dependencies=[permit_member("intel.write")])
    async def delete_object(
        group: str, collection_id: str, object_id: str, request: Request, visitor: VisitorDep
    ) -> Response:
        """Take versions of an object out of a collection, all of them where none are named."""
        opened = await _opened(shelf, visitor, group, collection_id)
        if not (opened.can_read and opened.can_write):
            raise HTTPException(403, "Nothing can be deleted from this collection.")
        asked = _asked(request, queries.OF_DELETION, every=True)
        collection = shelf.collection(opened.group, opened.kind)
        async with answered():
            entries = (await _page_of(collection, object_id, asked)).entries
        before = {"object": object_id, "versions": len(entries)}
        await auditor.record(visitor.caller, request, "intel.delete", f"group:{opened.group.name}", before=before)
        async with answered():
            await collection.delete(entries)
        return _bytes(b"{}")

    return routes


_FULL = "The queue of this sender is full; send it again later."
_NO_COLLECTION = "There is no such collection, or it is not open to the caller."


async def _negotiated(request: Request, _: VisitorDep) -> None:
    """Raises HTTPException 406 where the caller would not take the answer."""
    if not media.acceptable(",".join(request.headers.getlist("accept"))):
        raise HTTPException(406, f"The request must accept {media.TAXII}.")


async def _group(shelf: Shelf, visitor: Visitor, name: str) -> Group:
    """A group that is open to the visitor; others are not told from those that do not exist."""
    found = None
    if visitor.group in ("", name):
        async with answered():
            found = await shelf.groups.get(name)
    if found is None:
        raise HTTPException(404, "There is no such API root, or it is not open to the caller.")
    return found


async def _opened(shelf: Shelf, visitor: Visitor, group: str, collection_id: str) -> Opened:
    found = await _group(shelf, visitor, group)
    kind = found.kind(collection_id)
    if kind is None:
        raise HTTPException(404, _NO_COLLECTION)
    return Opened(visitor, found, kind)


async def _readable(shelf: Shelf, visitor: Visitor, group: str, collection_id: str) -> Opened:
    opened = await _opened(shelf, visitor, group, collection_id)
    if not opened.can_read:
        raise HTTPException(403, "This collection cannot be read.")
    return opened


def _asked(request: Request, known: tuple[str, ...], *, every: bool = False) -> queries.Asked:
    try:
        return queries.read(request.query_params.multi_items(), known, "all" if every else "last")
    except BadInput as error:
        raise HTTPException(400, str(error)) from None


async def _page(collection: Collection, asked: queries.Asked) -> Page:
    return await collection.page(asked.query, asked.limit) if asked.any else Page([], False, 0)


async def _page_of(collection: Collection, object_id: str, asked: queries.Asked) -> Page:
    """A page of one object's versions.

    Raises:
        HTTPException: 404, there is no such object.
    """
    if not envelope.OBJECT_ID.fullmatch(object_id) or not await collection.has(object_id):
        raise HTTPException(404, "There is no such object in this collection.")
    found = await collection.of_object(object_id, asked.query) if asked.any else []
    found = [entry for entry in found if entry.added_us > asked.query.after_us]
    entries = found[: asked.limit]
    return Page(entries, len(found) > len(entries), entries[-1].added_us if entries else 0)


async def _envelope(collection: Collection, page: Page) -> Response:
    """The objects of a page, in as many bytes as a page may have."""
    parts: list[bytes] = []
    size, given = 0, 0
    for first in range(0, len(page.entries), _FETCHED):
        for data in await collection.objects(page.entries[first : first + _FETCHED]):
            if size + len(data or b"") > PAGE_BYTES and parts:
                cut = page.entries[:given]
                return _objects(parts, Page(cut, True, cut[-1].added_us))
            given += 1
            if data is not None:  # it may have gone since the page was made
                parts.append(data)
                size += len(data)
    return _objects(parts, page)


def _objects(parts: list[bytes], page: Page) -> Response:
    """An envelope around objects that are JSON already."""
    metrics.SHARED_OBJECTS.labels(way="served").inc(len(parts))
    fields = [b'"%s":%s' % (name.encode(), orjson.dumps(value)) for name, value in _more(page).items()]
    if parts:
        fields.append(b'"objects":[' + b",".join(parts) + b"]")
    return _bytes(b"{" + b",".join(fields) + b"}", headers=_dates(page.entries))


def _more(page: Page) -> dict[str, Any]:
    return {"more": True, "next": str(page.next_us)} if page.more else {}


def _dates(entries: list[Entry]) -> dict[str, str]:
    if not entries:
        return {}
    return {
        "x-taxii-date-added-first": times.added(entries[0].added_us),
        "x-taxii-date-added-last": times.added(entries[-1].added_us),
    }


def _answer(resource: BaseModel, entries: list[Entry] | None = None) -> Response:
    return _bytes(orjson.dumps(resource.model_dump(exclude_none=True)), headers=_dates(entries or []))


def _bytes(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, {**(headers or {}), "content-type": media.TAXII})
