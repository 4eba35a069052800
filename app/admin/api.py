"""The admin application: its own ASGI app for its own port, so that a slip in the gateway's routing cannot expose it.

Everything but /healthz and /metrics needs a bearer token whose role has the one permission that the route declares; the
description of the API (OpenAPI) does too. An application with a route that declares none is not made.
"""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Depends, FastAPI

from app.admin import (
    models_intel_publications,
    problems,
    routes_accounts,
    routes_allow,
    routes_appeals,
    routes_audit,
    routes_campaigns,
    routes_erasure,
    routes_events,
    routes_intel_groups,
    routes_intel_hits,
    routes_intel_imports,
    routes_intel_indicators,
    routes_intel_publications,
    routes_intel_runs,
    routes_keys,
    routes_kill,
    routes_looks,
    routes_orders,
    routes_plans,
    routes_policy,
    routes_proposals,
    routes_reasons,
    routes_reports,
    routes_service,
    routes_taxii,
    routes_tokens,
    routes_watermark,
    routes_watermark_investigations,
    routes_watermark_ledger,
)
from app.admin.acting import Acting
from app.admin.auditing import Auditor, failures_recorded
from app.admin.auth import Access
from app.admin.caller import current
from app.admin.casebook import Casebook
from app.admin.guard import Guard
from app.admin.lifting import Lifting
from app.admin.methods import Methods
from app.admin.permissions import check_declared
from app.admin.shelf import Shelf
from app.admin.watermark_folders import Folders
from app.admin.watermark_runs import Runs
from app.intel.warning_list import WarningList
from app.settings import Settings
from app.state.accounts import AccountStore
from app.state.audit import AuditLog
from app.state.erasures import Erasures
from app.state.mark_groups import MarkGroups
from app.state.orders import Orders
from app.state.reading import StateReader
from app.state.tokens import TokenStore
from detectors.model import Model, rules_only

MAX_BODY_BYTES = 64 * 1024
MAX_IMPORT_BYTES = 32 * 1024 * 1024
"""About 150,000 accounts; more come in several imports."""


def create_admin(
    settings: Settings,
    reader: StateReader,
    accounts: AccountStore,
    orders: Orders,
    tokens: TokenStore,
    audit: AuditLog,
    erasures: Erasures,
    acting: Acting,
    casebook: Casebook,
    mark_groups: MarkGroups,
    *,
    shelf: Shelf,
    model: Model | None = None,
) -> FastAPI:
    """The admin application.

    Args:
        settings: the whole tree; `admin.token` must be set.
        reader: of the state that the workers write.
        accounts: to read and change accounts.
        orders: what people order about keys.
        tokens: of the people who may ask.
        audit: where every change is recorded before it is made.
        erasures: of keys, which the workers carry out.
        acting: orders and whatever else people do; it is started and stopped by the caller.
        casebook: what explains it: flags, reasons, appeals, labels, exchanges.
        mark_groups: tenants that share a watermark.
        shelf: what is shared with other providers.
        model: the fitted model the workers judge with, for percentiles; None when only the named rules judge.

    Raises:
        ConfigError: no token is configured, or one that can be guessed; the warning list cannot be read.
    """
    access = Access(settings.admin, tokens)
    auditor = Auditor(audit, settings)
    # Who asks is looked up for each of these routes, whatever else it declares: what is forgotten is closed, not open.
    guarded = APIRouter(dependencies=[Depends(current), Depends(failures_recorded)], responses=problems.RESPONSES)
    app = FastAPI(
        title="Stillwatch admin",
        version="1",
        summary="Keys by suspicion, why, and what is done about them.",
        # The built-in addresses of the description have no authentication; ours is a guarded route.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # Included before it has routes: FastAPI would else build each of them once more, only to look at its address.
    app.include_router(guarded)
    judging = model or rules_only()
    policy, looks = judging.policy, reader.looks(judging.id)
    lifting = Lifting(reader, accounts, orders, acting.records, policy, settings.state.partitions)
    # Before the keys' own routes: an address with a verb looks like an id to them.
    guarded.include_router(routes_erasure.router(settings, erasures, accounts, orders, casebook, auditor))
    guarded.include_router(routes_keys.router(casebook, lifting, auditor, model, shelf.hits, shelf.indicators))
    guarded.include_router(routes_events.router(casebook, auditor))
    guarded.include_router(routes_reasons.router(casebook, model))
    guarded.include_router(routes_appeals.router(casebook, auditor))
    guarded.include_router(routes_accounts.router(reader, accounts, lifting, auditor))
    guarded.include_router(routes_orders.router(acting, auditor))
    guarded.include_router(routes_proposals.router(acting, auditor))
    guarded.include_router(routes_campaigns.router(acting, auditor))
    guarded.include_router(routes_policy.router(acting, auditor))
    guarded.include_router(routes_plans.router(acting, auditor))
    guarded.include_router(routes_allow.router(acting, auditor))
    guarded.include_router(routes_kill.router(acting, auditor))
    guarded.include_router(routes_reports.router(acting))
    guarded.include_router(routes_looks.router(settings, looks))
    folders = Folders(settings)
    runs = Runs(settings, folders)
    guarded.include_router(routes_watermark.router(acting, mark_groups, auditor))
    guarded.include_router(routes_watermark_investigations.router(acting, mark_groups, folders, runs, auditor))
    guarded.include_router(routes_watermark_ledger.router(reader.marks()))
    guarded.include_router(routes_intel_groups.router(shelf, auditor))
    guarded.include_router(routes_intel_publications.router(acting, casebook.labels, shelf, auditor))
    warned = WarningList.load(settings.intel.warning_list_file)
    guarded.include_router(routes_intel_indicators.router(settings, shelf, warned, auditor))
    guarded.include_router(routes_intel_imports.router(shelf, auditor))
    guarded.include_router(routes_intel_hits.router(shelf.hits, shelf.indicators))
    guarded.include_router(routes_intel_runs.router(shelf.runs, auditor))
    guarded.include_router(routes_tokens.router(tokens, auditor))
    guarded.include_router(routes_audit.router(audit))
    guarded.include_router(routes_service.router(settings, reader, looks, audit, acting.control, model))
    app.state.access = access
    app.state.auditor = auditor
    app.state.casebook = casebook
    app.state.runs = runs
    app.state.outbox = shelf.outbox
    app.include_router(routes_service.open_router())
    check_declared(app, routes_service.OPEN_PATHS)
    problems.install(app)
    app.add_middleware(Methods, routes=app)
    app.add_middleware(
        Guard,
        max_bytes=MAX_BODY_BYTES,
        larger={
            routes_accounts.IMPORT_PATH: MAX_IMPORT_BYTES,
            routes_orders.ORDERS_PATH: routes_orders.MAX_ORDER_BYTES,
            routes_orders.PREVIEW_PATH: routes_orders.MAX_ORDER_BYTES,
            routes_intel_publications.PUBLICATIONS_PATH: models_intel_publications.MAX_BODY_BYTES,
            routes_intel_publications.PREVIEW_PATH: models_intel_publications.MAX_BODY_BYTES,
        },
        body_timeout_sec=settings.gateway.body_timeout_sec,
        streamed=partial(_streamed, settings),
    )
    app.add_middleware(routes_taxii.TaxiiDoor, taxii=routes_taxii.create_taxii(settings, access, shelf, auditor))
    return app


def _streamed(settings: Settings, path: str) -> int | None:
    """Limit of a body that a route takes piece by piece; None for other paths."""
    documents = routes_intel_imports.streamed(path)
    return routes_watermark_investigations.streamed(settings, path) if documents is None else documents
