"""Routes over what is published: preview, proposal, the second person's word, and taking it back, which one person may.

What a proposal fixes is what leaves: the second person names the digest of the bytes that were looked at.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request

from app.admin import views_intel_publications as views
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import Caller, CallerDep
from app.admin.deadline import answered
from app.admin.models_intel_publications import (
    PUBLICATION_ID,
    ApproveIn,
    ProposeIn,
    PublicationDetail,
    PublicationIn,
    PublicationList,
    PublicationPreview,
    PublicationQuery,
)
from app.admin.models_orders import DecisionIn
from app.admin.ordering import now_us
from app.admin.permissions import permit
from app.admin.publishing import Desk
from app.admin.shelf import Shelf
from app.errors import StateUnavailable
from app.intel.publishing import revocation
from app.state.intel_published import Publication
from app.state.labels import Labels
from app.telemetry import metrics

log = logging.getLogger(__name__)

PUBLICATIONS_PATH = "/v1/intel/publications"
PREVIEW_PATH = f"{PUBLICATIONS_PATH}:preview"

PublicationId = Annotated[str, Path(pattern=PUBLICATION_ID, description="id of a publication, from when it was proposed")]

_NONE = "There is no publication of this id, or it is forgotten."
_WHAT = {
    "campaign_id": "c-0123456789ab",
    "group": "labs",
    "tlp": "amber+strict",
    "asns": ["AS64500"],
    "clients": ["harvest-sdk/0.9"],
    "networks": ["192.0.2.0/24"],
    "identities": [{"key_id": "0123456789abcdef0123456789abcdef", "address": "someone@example.org"}],
}
_WHY = {"reason": "looked at twenty of its keys: one operation"}
_WORD = {"sha256": "0f" * 32, "reason": "read the bundle: nothing of a customer is in it"}
_SEND_SEC = 5.0
"""More time than an ordinary question has, for some hundred objects."""


def router(acting: Acting, labels: Labels, shelf: Shelf, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1/intel", tags=["sharing"])
    store, outbox = shelf.publications, shelf.outbox
    desk = Desk(acting, labels, shelf.groups, store)

    async def shown(publication_id: str) -> PublicationDetail:
        async with answered():
            found, unsent = await store.get(publication_id), await store.unsent()
        if found is None:
            raise HTTPException(404, _NONE)
        return views.detail(found, unsent, now_us())

    async def known(publication_id: str) -> Publication:
        async with answered():
            found = await store.get(publication_id)
        if found is None:
            raise HTTPException(404, _NONE)
        return found

    async def send(publication_id: str) -> None:
        """Into the feed now; where that fails the outbox does it, and the answer says so."""
        try:
            async with answered(_SEND_SEC):
                await outbox.send(publication_id)
        except StateUnavailable as error:
            log.warning("%s waits: %s", publication_id, error)

    @routes.post(
        "/publications:preview",
        dependencies=[permit("intel.propose")],
        openapi_extra=described(PublicationIn, example=_WHAT),
    )
    async def preview_publication(request: Request, caller: CallerDep) -> PublicationPreview:
        """What would leave of a campaign. Stores nothing."""
        asked = await read_body(request, PublicationIn)
        async with acting.patiently():
            found = await desk.made(asked, caller)
        return views.preview(found)

    @routes.post(
        "/publications",
        status_code=201,
        dependencies=[permit("intel.propose")],
        openapi_extra=described(ProposeIn, example={**_WHAT, **_WHY}),
    )
    async def propose_publication(request: Request, caller: CallerDep) -> PublicationDetail:
        """Propose that a campaign is published to a trust group, or a new version of what was. Nothing leaves yet.

        The answer has the bytes that leave once another person approves them, within 72 hours.
        """
        asked = await read_body(request, ProposeIn)
        async with acting.patiently():
            found = await desk.made(asked, caller)
        terms = found.terms
        after = {
            "campaign": terms.campaign,
            "group": terms.group,
            "tlp": terms.tlp,
            "keys": terms.keys,
            "version": terms.version,
            "objects": terms.counts,
            "identities": terms.identities,
            "confirmed_by_review": terms.reviewed,
            "sha256": terms.sha256,
        }
        await auditor.record(caller, request, "intel.propose", f"publication:{found.id}", reason=asked.reason, after=after)
        async with answered():
            await store.create(found)
        metrics.PUBLICATIONS.labels(result="proposed").inc()
        return views.detail(found, (), now_us())

    @routes.get("/publications", dependencies=[permit("intel.read")])
    async def list_publications(query: Annotated[PublicationQuery, Query()]) -> PublicationList:
        """Proposals and publications, the newest first."""
        async with answered():
            found, unsent = await store.newest(query.limit), await store.unsent()
        return PublicationList(publications=[views.listed(one, unsent, now_us()) for one in found])

    @routes.get("/publications/{publication_id}", dependencies=[permit("intel.read")])
    async def get_publication(publication_id: PublicationId) -> PublicationDetail:
        """One, with exactly the bytes that leave or have left."""
        return await shown(publication_id)

    @routes.post(
        "/publications/{publication_id}:approve",
        dependencies=[permit("intel.write")],
        openapi_extra=described(ApproveIn, example=_WORD),
    )
    async def approve_publication(publication_id: PublicationId, request: Request, caller: CallerDep) -> PublicationDetail:
        """Approve what another person proposed: exactly those bytes go into the group's feed.

        It is refused where the campaign's members have been excused since, or another version was published.
        """
        asked = await read_body(request, ApproveIn)
        found = await known(publication_id)
        _check_open(found)
        _check_second(found, caller)
        if asked.sha256 != found.terms.sha256 or hashlib.sha256(found.bundle).hexdigest() != asked.sha256:
            raise HTTPException(409, "The digest is not that of what would leave; look at it again.")
        async with acting.patiently():
            await desk.check_still(found)
        after = {"group": found.terms.group, "tlp": found.terms.tlp, "sha256": asked.sha256, "proposed_by": found.terms.by}
        await auditor.record(
            caller, request, "intel.publish", f"publication:{publication_id}", reason=asked.reason, after=after
        )
        async with answered():
            published = await store.publish(found, now_us(), caller.name, asked.reason)
        if published is None:
            raise HTTPException(
                409,
                "Since it was proposed another version was published, or what it follows was taken back; propose it again.",
            )
        if not published:
            raise HTTPException(409, "The proposal was decided, or has expired, in the meantime.")
        metrics.PUBLICATIONS.labels(result="published").inc()
        await send(publication_id)
        return await shown(publication_id)

    @routes.post(
        "/publications/{publication_id}:refuse",
        dependencies=[permit("intel.propose")],
        openapi_extra=described(DecisionIn, example={"reason": "half of its keys are one customer's"}),
    )
    async def refuse_publication(publication_id: PublicationId, request: Request, caller: CallerDep) -> PublicationDetail:
        """Refuse what was proposed, or take an own proposal back: nothing leaves."""
        asked = await read_body(request, DecisionIn)
        found = await known(publication_id)
        _check_open(found)
        await auditor.record(caller, request, "intel.refuse", f"publication:{publication_id}", reason=asked.reason)
        async with answered():
            refused = await store.refuse(found, now_us(), caller.name, asked.reason)
        if not refused:
            raise HTTPException(409, "The proposal was decided in the meantime.")
        metrics.PUBLICATIONS.labels(result="refused").inc()
        return await shown(publication_id)

    @routes.post(
        "/publications/{publication_id}:retract",
        dependencies=[permit("intel.propose")],
        openapi_extra=described(DecisionIn, example={"reason": "it was a partner's evaluation"}),
    )
    async def retract_publication(publication_id: PublicationId, request: Request, caller: CallerDep) -> PublicationDetail:
        """Take back what was published, at once and by one person: revoked versions of it go into the group's feed.

        That is its last word: what is published of the campaign later has other ids.
        """
        asked = await read_body(request, DecisionIn)
        found = await known(publication_id)
        if found.status == "replaced":
            raise HTTPException(409, "A newer version of it was published; retract that one, which takes back all of it.")
        if found.status != "published":
            raise HTTPException(409, f"It is {found.status_at(now_us())}, and only what is published can be taken back.")
        data = await asyncio.to_thread(revocation, found.bundle, now_us())
        after = {"group": found.terms.group, "sha256": hashlib.sha256(data).hexdigest()}
        await auditor.record(
            caller, request, "intel.retract", f"publication:{publication_id}", reason=asked.reason, after=after
        )
        async with answered():
            retracted = await store.retract(found, data, now_us(), caller.name, asked.reason)
        if not retracted:
            raise HTTPException(409, "It was taken back, or a newer version was published, in the meantime.")
        metrics.PUBLICATIONS.labels(result="retracted").inc()
        await send(publication_id)
        return await shown(publication_id)

    return routes


def _check_open(found: Publication) -> None:
    status = found.status_at(now_us())
    if status == "expired":
        raise HTTPException(409, "The proposal has expired; what it says of the campaign has aged, so propose it again.")
    if status != "proposed":
        raise HTTPException(409, f"The proposal is {status} already.")


def _check_second(found: Publication, caller: Caller) -> None:
    if caller.token_id == found.terms.token_id or caller.is_named(found.terms.by):
        raise HTTPException(403, "Another person than the one who proposed it has to approve it.")
