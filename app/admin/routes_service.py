"""Routes about the service itself: is it well, who is asking, what does this API offer; and the two that need no token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.admin import openapi, views, views_looks
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models import Alive, Health
from app.admin.models_access import Me
from app.admin.permissions import permit
from app.admin.roles import PERMISSIONS, ROLES
from app.enforcement.control import Control
from app.settings import Settings
from app.state.audit import AuditLog
from app.state.looks import LookStore, read_looks
from app.state.reading import StateReader
from app.telemetry import metrics
from detectors.model import Model

OPEN_PATHS = ("/healthz", "/metrics")
"""The only addresses that answer without a token."""


def router(
    settings: Settings, reader: StateReader, looks: LookStore, audit: AuditLog, control: Control, model: Model | None
) -> APIRouter:
    """The guarded ones."""
    routes = APIRouter(prefix="/v1", tags=["service"])

    @routes.get("/health", dependencies=[permit("health.read")])
    async def get_health() -> Health:
        """Queues, owners, counts by level, the end of the audit log, and sentences about what is wrong."""
        async with answered():
            found = await reader.health()
            head = await audit.head()
            stored = await looks.read()
        model_id = None if model is None else model.id
        worker = settings.worker
        newest = views_looks.look(read_looks(stored, worker.look_hours * 3_600_000_000, worker.called_honest_share))
        return views.health(found, settings, model_id, str(head), control.kill, control.kill_sentence, newest)

    @routes.get("/me", dependencies=[permit("api.read")])
    async def get_me(caller: CallerDep) -> Me:
        """Who is asking, and what they may do."""
        granted = [permission for permission in PERMISSIONS if permission in ROLES[caller.role]]
        return Me(token_id=caller.token_id, name=caller.name, role=caller.role, permissions=granted)

    @routes.get("/openapi.json", dependencies=[permit("api.read")])
    async def get_openapi(request: Request) -> dict[str, Any]:
        """This API as an OpenAPI document."""
        app: FastAPI = request.app
        return openapi.describe(app)

    return routes


def open_router() -> APIRouter:
    """The two that everybody may ask: they tell nothing about keys."""
    routes = APIRouter(tags=["service"])

    @routes.get("/healthz")
    async def get_alive() -> Alive:
        """The process answers. Whether the service keeps up is at /v1/health."""
        return Alive()

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def get_metrics() -> Response:
        """Prometheus metrics of this process."""
        return Response(generate_latest(metrics.Shown("admin")), headers={"content-type": CONTENT_TYPE_LATEST})

    return routes
