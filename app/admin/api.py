"""The admin application: its own ASGI app for its own port, so that a slip in the gateway's routing cannot expose it.

Everything needs the bearer token except /healthz and /metrics. The description of the API (OpenAPI) needs it too.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.admin import openapi, problems, routes_accounts, routes_keys
from app.admin.auth import require_token
from app.admin.guard import Guard
from app.admin.lifting import Lifting
from app.admin.models import Alive
from app.settings import Settings
from app.state.accounts import AccountStore
from app.state.holds import Holds
from app.state.reading import StateReader
from app.telemetry import metrics
from detectors.model import Model, rules_only

MAX_BODY_BYTES = 64 * 1024
MAX_IMPORT_BYTES = 32 * 1024 * 1024
"""About 150,000 accounts; more come in several imports."""


def create_admin(
    settings: Settings, reader: StateReader, accounts: AccountStore, holds: Holds, *, model: Model | None = None
) -> FastAPI:
    """The admin application.

    Args:
        settings: the whole tree; `admin.token` must be set.
        reader: of the state that the workers write.
        accounts: to read and change accounts.
        holds: to lift what is done about a key.
        model: the fitted model the workers judge with, for percentiles; None when only the named rules judge.

    Raises:
        ConfigError: no token is configured.
    """
    guarded = APIRouter(dependencies=[Depends(require_token(settings.admin))], responses=problems.RESPONSES)
    policy = (model or rules_only()).policy
    lifting = Lifting(reader, accounts, holds, policy, settings.state.partitions)
    guarded.include_router(routes_keys.router(settings, reader, accounts, lifting, model))
    guarded.include_router(routes_accounts.router(accounts, lifting))
    app = FastAPI(
        title="Stillwatch admin",
        version="1",
        summary="Keys by suspicion, why, and what is done about them.",
        # The built-in addresses of the description have no authentication; ours is a guarded route below.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )

    @guarded.get("/v1/openapi.json", tags=["service"])
    async def get_openapi() -> dict[str, Any]:
        """This API as an OpenAPI document."""
        return openapi.describe(app)

    app.include_router(guarded)
    app.include_router(_open())
    problems.install(app)
    app.add_middleware(
        Guard,
        max_bytes=MAX_BODY_BYTES,
        larger={routes_accounts.IMPORT_PATH: MAX_IMPORT_BYTES},
        body_timeout_sec=settings.gateway.body_timeout_sec,
    )
    return app


def _open() -> APIRouter:
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
