"""Routes over the audit log: look at it, and take the whole of it away as lines that can be verified elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin import views
from app.admin.bodies import JSON_LINES
from app.admin.deadline import answered
from app.admin.models_access import AuditPage, AuditQuery, AuditRecord
from app.admin.permissions import permit
from app.state import audit_file
from app.state.audit import AuditLog, Link


def router(audit: AuditLog) -> APIRouter:
    """The audit routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["audit"])

    @routes.get("/audit", dependencies=[permit("audit.read")])
    async def list_audit(query: Annotated[AuditQuery, Query()]) -> AuditPage:
        """Records, newest first, page by page."""
        async with answered():
            links = await audit.newest(query.cursor, query.limit)
            head = await audit.head()
        more = len(links) == query.limit
        return AuditPage(
            records=[_view(link) for link in links], next_cursor=links[-1].place if more else None, head=str(head)
        )

    @routes.get(
        "/audit:export",
        dependencies=[permit("audit.read")],
        response_class=StreamingResponse,
        responses={200: {"content": {JSON_LINES: {}}, "description": "The log as JSON lines"}},
    )
    async def export_audit() -> StreamingResponse:
        """The whole log, oldest first, as JSON lines: one that names its start, then each record with its digest.

        `stillwatch audit verify --file` verifies what was saved.
        """
        async with answered():
            anchor, head = await audit.ends()

        async def lines() -> AsyncIterator[bytes]:
            yield audit_file.start_line(anchor)
            async for link in audit.walk():
                yield audit_file.line(link.record, link.digest)

        return StreamingResponse(lines(), media_type=JSON_LINES, headers={"x-audit-head": str(head)})

    return routes


def _view(link: Link) -> AuditRecord:
    record = json.loads(link.record)
    return AuditRecord(at=views.moment(record.pop("at_us")), digest=link.digest, **record)
