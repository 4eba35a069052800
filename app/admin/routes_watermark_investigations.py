"""Routes about investigations: a data set is announced, uploaded in parts, run in a process of its own, and reported on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response

from app.admin import views_watermark
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.models_orders import ReasonQuery
from app.admin.models_watermark import (
    INVESTIGATION_ID,
    InvestigationIn,
    InvestigationList,
    InvestigationOut,
    InvestigationRow,
    PictureQuery,
    ReportQuery,
    RunIn,
    TenantsNamed,
)
from app.admin.permissions import permit
from app.admin.watermark_folders import Folders, Investigation, Stage
from app.admin.watermark_runs import Runs
from app.admin.watermark_upload import CONTENT_RANGE, part_of, receive
from app.admin.watermarking import configured, everybody, searchable, tenants_in
from app.errors import BadInput, ConfigError, Conflict
from app.settings import Settings
from app.state.mark_groups import MarkGroups
from app.watermark.findings import FINDINGS, Findings
from app.watermark.findings import read as read_findings
from app.watermark.store import read_manifest

InvestigationId = Annotated[str, Path(pattern=INVESTIGATION_ID, description="id of the investigation")]

REPORT = "report.md"
"""As `app.watermark.report` calls it, which draws pictures and is not needed here."""

GATHER_SEC = 120.0
"""A million accounts are read in a minute."""

MAX_TENANTS_BYTES = 64 << 20
"""Two million key ids."""

_UPLOAD_PATH = re.compile(r"/v1/watermark/investigations/[^/]+/(corpus|tenants)")
_PICTURES = re.compile(rb"\]\((keys|shares|documents)\.png\)")
_UNKNOWN = "No investigation has this id, or it was erased."
_NO_REPORT = "There is no such report or picture: no run of this investigation has come to its end, or nobody is named."
_EXAMPLE = {
    "name": "instruct-mix-7b, first shard",
    "profile": "chat-2026q4",
    "format": "jsonl",
    "bytes": 5_000_000,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "reason": "published by a customer's affiliate",
}
_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_TENANTS = {"requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}}
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/markdown": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}}}
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


def streamed(settings: Settings, path: str) -> int | None:
    """Limit of an upload, for the guard; None for every other path."""
    found = _UPLOAD_PATH.fullmatch(path)
    if found is None:
        return None
    return MAX_TENANTS_BYTES if found[1] == "tenants" else settings.watermark.investigations_max_mb << 20


class _Desk:
    """The investigations of this process, one request about each at a time."""

    def __init__(self, folders: Folders, runs: Runs) -> None:
        self.folders = folders
        self.runs = runs
        self._busy: set[str] = set()

    async def find(self, name: str) -> Investigation:
        found = await asyncio.to_thread(self.folders.get, name)
        if found is None:
            raise HTTPException(404, _UNKNOWN)
        return found

    @asynccontextmanager
    async def changing(self, name: str) -> AsyncIterator[Investigation]:
        """The investigation, which no other request changes meanwhile; 404 and 409 otherwise."""
        await self.find(name)
        await self.own()
        if name in self._busy:
            raise Conflict("another request about this investigation is being carried out; ask again in a moment")
        self._busy.add(name)
        try:
            yield await self.find(name)
        finally:
            self._busy.discard(name)

    async def own(self) -> None:
        try:
            await asyncio.to_thread(self.folders.own)
        except ConfigError as error:
            raise HTTPException(503, f"{error}.") from None
        self.runs.look()

    async def told(self, one: Investigation) -> InvestigationOut:
        received = await asyncio.to_thread(self.folders.received, one)
        found = await asyncio.to_thread(_findings, self.folders, one)
        return views_watermark.investigation(one, received, self.runs.progress(one.id), found)

    async def report(self, name: str, file: str) -> bytes:
        one = await self.find(name)
        try:
            return await asyncio.to_thread((self.folders.report(one) / file).read_bytes)
        except OSError:
            raise HTTPException(404, _NO_REPORT) from None


def router(acting: Acting, groups: MarkGroups, folders: Folders, runs: Runs, auditor: Auditor) -> APIRouter:
    """The routes over the folders of this process."""
    routes = APIRouter(prefix="/v1/watermark", tags=["watermark"])
    desk = _Desk(folders, runs)
    settings = acting.settings
    most = settings.watermark.investigations_max_mb << 20

    # Before the investigation's own address: one with a verb looks like an id.
    @routes.post(
        "/investigations/{investigation_id}:run",
        status_code=202,
        dependencies=[permit("watermark.investigate")],
        openapi_extra=described(RunIn, example={"fwer": 0.001}),
    )
    async def run_investigation(investigation_id: InvestigationId, request: Request, caller: CallerDep) -> InvestigationOut:
        """Search the data set, in the background, one investigation at a time. Ask for it again to see how far it is.

        Who is asked about are all tenants that are known at this moment. One that is done can be run again, for tenants
        that came since: its evidence is kept.
        """
        asked = await read_body(request, RunIn)
        async with desk.changing(investigation_id) as one:
            if one.stage in ("queued", "running"):
                raise Conflict(f"this investigation is {one.stage} already")
            await asyncio.to_thread(_demand_searchable, folders, one)
            await configured(settings)
            async with acting.patiently(GATHER_SEC):
                asked_about = await everybody(acting, groups, await asyncio.to_thread(folders.named, one))
            if not asked_about.tenants:
                raise Conflict("no tenant is known: no account, and no key that was seen")
            after = {"fwer": asked.fwer, "tenants": len(asked_about.tenants)}
            await auditor.record(caller, request, "investigation.run", f"investigation:{one.id}", after=after)
            return await desk.told(await runs.queue(one, asked.fwer, asked_about.tenants, asked_about.groups))

    @routes.get("/investigations", dependencies=[permit("watermark.read")])
    async def list_investigations() -> InvestigationList:
        """All investigations, the newest first."""

        def read() -> list[InvestigationRow]:
            return [views_watermark.row(one, folders.received(one), runs.progress(one.id)) for one in folders.all()]

        return InvestigationList(investigations=await asyncio.to_thread(read))

    @routes.post(
        "/investigations",
        status_code=201,
        dependencies=[permit("watermark.investigate")],
        openapi_extra=described(InvestigationIn, example=_EXAMPLE),
        responses={507: {"description": "The disk of the admin process has no room for it"}},
    )
    async def make_investigation(request: Request, caller: CallerDep) -> InvestigationOut:
        """Announce a data set: its size and SHA-256, and which profile's marks are looked for. Then upload it."""
        asked = await read_body(request, InvestigationIn)
        if asked.bytes > most:
            raise BadInput(f"body.bytes: must be at most {most:,} (watermark.investigations_max_mb)")
        sources = await configured(settings)
        await asyncio.to_thread(searchable, settings.watermark, sources, asked.profile)
        await desk.own()
        if not await asyncio.to_thread(folders.room_for, asked.bytes):
            raise HTTPException(507, "The disk of the admin process has no room for this data set and its evidence.")
        await asyncio.to_thread(folders.demand_place)
        said = {"name": asked.name, "profile": asked.profile, "bytes": asked.bytes, "sha256": asked.sha256}
        await auditor.record(caller, request, "investigation.make", "watermark", reason=asked.reason, after=said)
        made = await asyncio.to_thread(
            lambda: folders.make(
                name=asked.name,
                profile=asked.profile,
                form=asked.format,
                field=asked.field,
                texts=asked.texts,
                size=asked.bytes,
                sha256=asked.sha256,
                reason=asked.reason,
                by=caller.name,
            )
        )
        return await desk.told(made)

    @routes.put(
        "/investigations/{investigation_id}/corpus",
        dependencies=[permit("watermark.investigate")],
        openapi_extra=_BYTES,
        responses={507: {"description": "The disk of the admin process is full"}},
    )
    async def upload_corpus(
        investigation_id: InvestigationId,
        request: Request,
        caller: CallerDep,
        content_range: Annotated[
            str | None,
            Header(
                pattern=CONTENT_RANGE, description="which bytes these are, as bytes FIRST-LAST/ALL; without it all of them"
            ),
        ] = None,
    ) -> InvestigationOut:
        """The data set, or the next part of it: `curl -T FILE -C OFFSET` goes on at `received` of the investigation.

        A part that does not begin there is a 409. With the last byte the SHA-256 is compared; where it is another, all is
        to be uploaded again.
        """
        async with desk.changing(investigation_id) as one:
            if one.stage != "waiting":
                raise Conflict(f"this investigation is {one.stage}; its data set does not change any more")
            received = await asyncio.to_thread(folders.received, one)
            part = part_of(content_range, request.headers.get("content-length"), one.size, received)
            after = {"from": part.start, "bytes": part.end - part.start}
            await auditor.record(caller, request, "investigation.upload", f"investigation:{one.id}", after=after)
            here = await receive(request, folders.corpus(one), part)
            stage: Stage = "waiting"
            if here == one.size:
                if not await asyncio.to_thread(folders.is_as_announced, one):
                    await asyncio.to_thread(folders.drop_text, one)
                    raise BadInput(
                        "body: the SHA-256 of all parts is not the one that was announced; upload all of it again"
                    )
                stage = "uploaded"
            return await desk.told(await asyncio.to_thread(lambda: folders.put(one, stage=stage)))

    @routes.put(
        "/investigations/{investigation_id}/tenants",
        dependencies=[permit("watermark.investigate")],
        openapi_extra=_TENANTS,
    )
    async def name_tenants(investigation_id: InvestigationId, request: Request, caller: CallerDep) -> TenantsNamed:
        """Name tenants, one a line, that are asked about beside those that are known: in place of those named before.

        Known are accounts, keys seen within the last 30 days, and members of campaigns that share a mark.
        """
        async with desk.changing(investigation_id) as one:
            if one.stage in ("queued", "running"):
                raise Conflict(f"this investigation is {one.stage}; name tenants when that is over, and run it again")
            named = await asyncio.to_thread(tenants_in, await request.body())
            after = {"tenants": len(named)}
            await auditor.record(caller, request, "investigation.tenants", f"investigation:{one.id}", after=after)
            await asyncio.to_thread(folders.write_named, one, named)
        return TenantsNamed(tenants=len(named))

    @routes.get("/investigations/{investigation_id}", dependencies=[permit("watermark.read")])
    async def get_investigation(investigation_id: InvestigationId) -> InvestigationOut:
        """One investigation: how far it is, and what the last run found."""
        return await desk.told(await desk.find(investigation_id))

    @routes.get(
        "/investigations/{investigation_id}/report",
        dependencies=[permit("watermark.read")],
        response_class=Response,
        responses=_REPORT,
    )
    async def get_report(investigation_id: InvestigationId, query: Annotated[ReportQuery, Query()]) -> Response:
        """The report of the last run, as Markdown, or everything it is drawn from as JSON."""
        if query.form == "json":
            return Response(await desk.report(investigation_id, FINDINGS), media_type="application/json")
        page = _PICTURES.sub(rb"](report.png?picture=\1)", await desk.report(investigation_id, REPORT))
        return Response(page, media_type="text/markdown; charset=utf-8")

    @routes.get(
        "/investigations/{investigation_id}/report.png",
        dependencies=[permit("watermark.read")],
        response_class=Response,
        responses=_PICTURE,
    )
    async def get_picture(investigation_id: InvestigationId, query: Annotated[PictureQuery, Query()]) -> Response:
        """A picture of the report."""
        return Response(await desk.report(investigation_id, f"{query.picture}.png"), media_type="image/png")

    @routes.delete(
        "/investigations/{investigation_id}",
        status_code=204,
        response_class=Response,
        dependencies=[permit("watermark.investigate")],
    )
    async def erase_investigation(
        investigation_id: InvestigationId, request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep
    ) -> None:
        """Erase what was uploaded, the evidence and the report; a run that is on ends."""
        async with desk.changing(investigation_id) as one:
            before = {"name": one.name, "state": one.stage, "sha256": one.sha256}
            await auditor.record(
                caller, request, "investigation.erase", f"investigation:{one.id}", reason=query.reason, before=before
            )
            await runs.drop(one)

    return routes


def _demand_searchable(folders: Folders, one: Investigation) -> None:
    manifest = read_manifest(folders.store(one))
    if manifest is not None and manifest.whole:
        return
    received = folders.received(one)
    if one.stage == "waiting" or received != one.size:
        raise Conflict(f"{received:,} of {one.size:,} bytes of the data set are here; upload the rest first")


def _findings(folders: Folders, one: Investigation) -> Findings | None:
    try:
        return read_findings(folders.report(one))
    except BadInput:
        return None
