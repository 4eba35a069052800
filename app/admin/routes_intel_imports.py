"""Routes that take a whole document in: a bundle, an envelope or a signed feed that came as a file or from an address.

What a registered key has signed counts as its member's report, whoever brings it. Everything else counts as the word of the
person who sends it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_intel import GROUP, MEMBER
from app.admin.models_intel_imports import ImportOut, SignerIn, SignerList, SignerOut
from app.admin.permissions import permit
from app.admin.shelf import Shelf
from app.errors import BadInput, ConfigError, Conflict
from app.intel import documents, signing
from app.intel.documents import Document
from app.intel.taking_in import PART, take_part
from app.state.intel_signers import Signer
from app.telemetry import metrics

AT_ONCE = 2
"""Documents that are in memory together; each may need a quarter of a gigabyte."""

BODY_SEC = 300.0
MOST_OBJECTS = 20_000
MOST_SEC = 20.0
"""Of one request, which then says where to go on; a sender's queue holds no more anyway."""

GroupName = Annotated[str, Path(pattern=GROUP, description="name of a trust group")]
MemberName = Annotated[str, Path(pattern=MEMBER, description="name of a member")]

_PATH = re.compile(r"/v1/intel/groups/[^/]+/imports")


def streamed(path: str) -> int | None:
    """Limit of a document, for the guard; None for every other path."""
    return documents.MAX_BYTES if _PATH.fullmatch(path) else None


class _Read(NamedTuple):
    """A document, and what its signature says where it was checked."""

    document: Document
    signed: signing.Signed | None


@dataclass(slots=True)
class _Done:
    """What one request did."""

    queued: int = 0
    red: int = 0
    dropped: int = 0
    following: int = 0


def router(shelf: Shelf, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1/intel/groups/{group}", tags=["sharing"])
    places = asyncio.Semaphore(AT_ONCE)

    async def demand_group(name: str) -> None:
        async with answered():
            if await shelf.groups.get(name) is None:
                raise HTTPException(
                    404, "There is no trust group of this name here; an admin makes it: PUT /v1/intel/groups/{group}."
                )

    @routes.get("/keys", dependencies=[permit("intel.read")])
    async def list_signers(group: GroupName) -> SignerList:
        """The keys by which members' signed documents are known."""
        await demand_group(group)
        async with answered():
            found = await shelf.signers.of_group(group)
        return SignerList(keys=[_view(member, one) for member, one in sorted(found.items())])

    @routes.put("/members/{member}/key", dependencies=[permit("intel.write")], openapi_extra=described(SignerIn))
    async def put_signer(group: GroupName, member: MemberName, request: Request, caller: CallerDep) -> SignerOut:
        """Register the key by which a member's signed documents are known, in place of the one it had."""
        asked = await read_body(request, SignerIn)
        await demand_group(group)
        try:
            key = signing.read_public(asked.public_key)
        except BadInput as error:
            raise BadInput(f"body.public_key: {str(error).partition(': ')[2]}") from None
        except ConfigError as error:
            raise HTTPException(503, str(error)) from None
        async with answered():
            before = await shelf.signers.get(group, member)
        await auditor.record(
            caller,
            request,
            "intel.key",
            f"group:{group}",
            before=None if before is None else {"member": member, "fingerprint": before.fingerprint},
            after={"member": member, "fingerprint": key.fingerprint},
        )
        async with answered():
            made = await shelf.signers.put(group, member, key.raw, key.fingerprint, caller.token_id)
        return _view(member, made)

    @routes.delete("/members/{member}/key", status_code=204, response_class=Response, dependencies=[permit("intel.write")])
    async def delete_signer(group: GroupName, member: MemberName, request: Request, caller: CallerDep) -> None:
        """Take no more documents that this key has signed. What came stays."""
        async with answered():
            found = await shelf.signers.get(group, member)
        if found is None:
            raise HTTPException(404, "No key of such a member is registered.")
        before = {"member": member, "fingerprint": found.fingerprint}
        await auditor.record(caller, request, "intel.key_end", f"group:{group}", before=before)
        async with answered():
            await shelf.signers.forget(group, member)

    @routes.post("/imports", dependencies=[permit("intel.write")], openapi_extra=_DOCUMENT)
    async def import_document(
        group: GroupName,
        request: Request,
        caller: CallerDep,
        member: Annotated[
            str | None,
            Query(pattern=MEMBER, description="whose signature it must bear; left out: it counts as the caller's word"),
        ] = None,
        first: Annotated[int, Query(ge=0, le=documents.MAX_OBJECTS, description="object to begin with, from 0")] = 0,
    ) -> ImportOut:
        """Take a bundle, an envelope or a signed feed in. The same again does nothing more."""
        await demand_group(group)
        signer = None
        if member:
            async with answered():
                signer = await shelf.signers.get(group, member)
            if signer is None:
                raise HTTPException(404, "No key of such a member is registered.")
        if places.locked():
            raise Conflict(f"{AT_ONCE} documents are being imported; send it when one is done")
        async with places:
            body = await _body(request)
            read = await asyncio.to_thread(_opened, body, signer)
            digest, size = hashlib.sha256(body).hexdigest(), len(body)
            del body
            name = member or f"@{caller.token_id}"
            after = {"member": name, "objects": len(read.document), "first": first, "bytes": size, "sha256": digest}
            if read.signed is not None:
                after |= {"fingerprint": read.signed.kid, "seq": read.signed.seq}
            await auditor.record(caller, request, "intel.import", f"group:{group}", after=after)
            known = read.signed is not None and await _claim(shelf, group, name, read.signed, done=False)
            total = len(read.document)
            done = _Done(following=total) if known else await _queued(shelf, group, name, read.document, first)
            if read.signed is not None and not known and done.following >= total:
                await _claim(shelf, group, name, read.signed, done=True)
        metrics.SHARED_OBJECTS.labels(way="taken").inc(done.queued)
        metrics.SHARED_OBJECTS.labels(way="refused").inc(done.red + done.dropped)
        return ImportOut(
            member=name,
            fingerprint="" if read.signed is None else read.signed.kid,
            objects=total,
            queued=done.queued,
            red=done.red,
            dropped=done.dropped,
            next=done.following,
            known=known,
        )

    return routes


_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "a bundle of STIX 2.1, an envelope of TAXII 2.1 or a signed feed",
                }
            }
        },
    }
}


def _view(member: str, one: Signer) -> SignerOut:
    created = datetime.fromtimestamp(one.created_sec, tz=UTC)
    return SignerOut(member=member, fingerprint=one.fingerprint, created=created, created_by=one.created_by)


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SEC):
            return await request.body()
    except TimeoutError:
        raise HTTPException(408, "The body did not arrive in time.") from None


def _opened(body: bytes, signer: Signer | None) -> _Read:
    """Checks the signature where one is asked for; the rest of a document counts for what it is."""
    try:
        if not signing.is_signed(body):
            if signer is not None:
                raise BadInput("signature: the document bears none")
            return _Read(documents.read(body), None)
        found = signing.opened(body)
        if signer is None:
            return _Read(documents.read(found.payload), None)
        payload = signing.verified(found, signing.PublicKey(bytes.fromhex(signer.public_key)), time.time_ns() // 1000)
        return _Read(documents.read(payload), found)
    except ConfigError as error:
        raise HTTPException(503, str(error)) from None


async def _claim(shelf: Shelf, group: str, member: str, signed: signing.Signed, *, done: bool) -> bool:
    """Notes how far a member's feed was taken; whether this very one was taken whole before.

    Raises:
        Conflict: a later feed of the same key was there before, or another of the same number.
    """
    async with answered():
        place = await shelf.signers.claim(group, member, signed.kid, signed.seq, signed.digest, done=done)
    fault = signing.PLACES.get(place, "")
    if fault:
        raise Conflict(f"signature: {fault}")
    return place == "done"


async def _queued(shelf: Shelf, group: str, name: str, document: Document, first: int) -> _Done:
    done, until = _Done(following=first), time.monotonic() + MOST_SEC
    while done.following < len(document) and done.queued < MOST_OBJECTS and time.monotonic() < until:
        part = await asyncio.to_thread(lambda: list(document.objects(done.following, PART)))
        async with answered(5.0):
            taken = await take_part(shelf.queue, group, name, part)
        done.queued += taken.queued
        done.red += taken.red
        done.dropped += taken.dropped
        done.following = taken.following
        if taken.full:
            break
    return done
