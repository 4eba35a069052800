"""Routes to see what is held about a key and until when, to erase it, and to see how far that is."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.casebook import Casebook
from app.admin.deadline import answered
from app.admin.models import KEY_ID
from app.admin.models_orders import ReasonText
from app.admin.permissions import permit
from app.admin.views import moment
from app.settings import Settings
from app.state.accounts import AccountStore
from app.state.erasures import MAX_ERASURES, Erasure, Erasures
from app.state.keys import FLAG_TTL_SEC
from app.state.orders import Orders

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]


class EraseIn(BaseModel):
    """Why, and whether the account goes too."""

    model_config = ConfigDict(extra="forbid")

    reason: ReasonText = Field(description="why; it is kept in the audit log")
    account: bool = Field(False, description="delete the account of the key as well")


class ErasureOut(BaseModel):
    """An erasure and how far it is. Workers do it within seconds, each for the partitions it owns."""

    key_id: str
    until: datetime = Field(description="what the key did up to this time is erased")
    complete: bool = Field(description="nothing from before that time is left")
    partitions_done: int
    partitions: int
    records: int = Field(description="profile, verdict, timeline and the like that were deleted")
    rows: int = Field(description="exchanges that were taken out of the archive, or out of what waits for it")


class HeldRecord(BaseModel):
    """One kind of record about a key."""

    what: Literal["account", "profile", "verdict", "order", "asked", "timeline", "flags", "balances", "appeals", "labels"]
    partition: int | None = Field(description="where it lies; null for what lies outside of partitions")
    until: datetime | None = Field(
        description="when it ends by itself unless the key is used; null: it is kept until deleted"
    )


class HeldOut(BaseModel):
    """What is held about a key, by kind and never by content, and how long the rest is kept."""

    key_id: str
    records: list[HeldRecord]
    archive_days: int = Field(description="days that its exchanges stay in the archive; 0: for ever")
    audit_days: int = Field(description="days that records of what people did about it stay in the audit log")


def router(
    settings: Settings,
    erasures: Erasures,
    accounts: AccountStore,
    orders: Orders,
    casebook: Casebook,
    auditor: Auditor,
) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["erasure"])

    @routes.get("/keys/{key_id}/held", dependencies=[permit("keys.read")])
    async def get_held(key_id: KeyId) -> HeldOut:
        """What is held about a key, and until when: for whoever asks what is known about them."""
        async with answered():
            found = await erasures.holdings.of_key(key_id)
            appeals = await casebook.appeals.of_key(key_id)
            labels = await casebook.labels.of_key(key_id)
        now_us = time.time_ns() // 1000
        records = [
            HeldRecord(
                what=one.what,
                partition=one.partition,
                until=None if one.left_sec is None else moment(now_us + round(one.left_sec * 1e6)),
            )
            for one in found
        ]
        if appeals:
            newest = max(appeal.at_us for appeal in appeals)
            records.append(HeldRecord(what="appeals", partition=None, until=moment(newest + FLAG_TTL_SEC * 1_000_000)))
        if labels:
            records.append(HeldRecord(what="labels", partition=None, until=None))
        return HeldOut(
            key_id=key_id,
            records=records,
            archive_days=settings.worker.archive_days,
            audit_days=settings.admin.audit_retention_days,
        )

    @routes.post("/keys/{key_id}:erase", status_code=202, dependencies=[permit("erase")], openapi_extra=described(EraseIn))
    async def erase_key(key_id: KeyId, request: Request, caller: CallerDep) -> ErasureOut:
        """Erase everything that is known of what a key did until now: profile, timeline, flags, appeals, archive.

        What it does from now on is a new key's. Refused while a person's order about the key stands: end that first, or
        nobody will know why it stood. Audit records stay, with the key's id; sums over an organisation stay too.
        """
        asked = await read_body(request, EraseIn)
        async with answered():
            standing = await orders.get(key_id)
            stack = [] if standing is None else [standing, *await casebook.acting.ordering.stack(standing)]
        if stack:
            refs = ", which replaced ".join(one.ref for one in stack)
            raise HTTPException(
                409,
                f"An order about this key stands: {refs}. End it before its reasons are erased, with all that it replaced: "
                f"DELETE /v1/orders?key_id={key_id} (stillwatch orders undo --all -k {key_id}).",
            )
        await auditor.record(
            caller, request, "key.erase", f"key:{key_id}", reason=asked.reason, after={"account": asked.account}
        )
        async with answered():
            if not await erasures.ask(key_id, time.time_ns() // 1000):
                raise HTTPException(409, f"{MAX_ERASURES:,} erasures are remembered already; the oldest end after 30 days.")
            await casebook.forget(key_id)
            if asked.account:
                await accounts.delete(key_id)
            found = await erasures.get(key_id)
        assert found is not None
        return _out(found)

    @routes.get("/keys/{key_id}:erase", dependencies=[permit("keys.read")])
    async def get_erasure(key_id: KeyId) -> ErasureOut:
        """How far the erasure of a key is; remembered for 30 days."""
        async with answered():
            found = await erasures.get(key_id)
        if found is None:
            raise HTTPException(404, "No erasure of this key was asked for within the last 30 days.")
        return _out(found)

    return routes


def _out(found: Erasure) -> ErasureOut:
    return ErasureOut(
        key_id=found.key_id,
        until=moment(found.asked_us),
        complete=found.complete,
        partitions_done=len(found.done),
        partitions=found.partitions,
        records=sum(names for names, _, _ in found.done.values()),
        rows=sum(waiting + archived for _, waiting, archived in found.done.values()),
    )
