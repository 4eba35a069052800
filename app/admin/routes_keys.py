"""Routes that read: keys, organisations, health."""

from __future__ import annotations

import logging
import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from app.admin import views
from app.admin.models import KEY_ID, NAME, Health, KeyDetail, KeyList, KeyQuery, OrgDetail, Timeline
from app.settings import Settings
from app.state.accounts import AccountStore
from app.state.reading import StateReader
from detectors.analysis import EntityState
from detectors.contract import Level
from detectors.model import Model

log = logging.getLogger(__name__)

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]
OrgId = Annotated[str, Path(pattern=NAME, description="organisation id, as in the accounts")]


def router(settings: Settings, reader: StateReader, accounts: AccountStore, model: Model | None) -> APIRouter:
    """The reading routes over one deployment's state."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/keys", tags=["keys"])
    async def list_keys(query: Annotated[KeyQuery, Query()]) -> KeyList:
        """Keys by level, or by time last seen when no level is asked for."""
        wanted = None if query.level is None else Level[query.level.upper()]
        page = await reader.list_keys(wanted, query.q or "", query.limit, query.cursor)
        return KeyList(keys=[views.key_item(row) for row in page.rows], next_cursor=page.cursor or None)

    @routes.get("/keys/{key_id}", tags=["keys"])
    async def get_key(key_id: KeyId) -> KeyDetail:
        """One key: verdict and reasons, action in force, profile, every feature with its place among the peers."""
        stored = await reader.key_state(key_id)
        if stored is None:
            raise HTTPException(404, "This key was never seen, or is forgotten after 30 idle days.")
        state = _decoded(stored.state)
        account = await accounts.get(key_id)
        found = None if state is None else state.verdict
        return KeyDetail(
            key_id=key_id,
            partition=stored.partition,
            last_seen=None if stored.last_seen_ms is None else views.moment(stored.last_seen_ms * 1000),
            account=None if account is None else views.account(key_id, account),
            action=views.action(stored.verdict, settings.enforcement, time.time_ns() // 1000),
            verdict=None if found is None else views.verdict(found),
            profile=None if state is None else views.profile(state.profile),
            features=[] if state is None else views.feature_list(state.profile, model),
        )

    @routes.get("/keys/{key_id}/timeline", tags=["keys"])
    async def get_timeline(key_id: KeyId) -> Timeline:
        """The key's changes of level, newest first."""
        changes = await reader.timeline(key_id)
        if not changes and await reader.find(key_id) is None:
            raise HTTPException(404, "This key was never seen, or is forgotten after 30 idle days.")
        return Timeline(key_id=key_id, changes=[views.timeline_item(item) for item in changes])

    @routes.get("/orgs/{org_id}", tags=["keys"])
    async def get_org(org_id: OrgId) -> OrgDetail:
        """One organisation: what its keys do together."""
        state = _decoded(await reader.org_state(org_id))
        if state is None:
            raise HTTPException(404, "No key of this organisation was ever seen, or all are forgotten.")
        return OrgDetail(
            org_id=org_id,
            verdict=None if state.verdict is None else views.verdict(state.verdict),
            profile=views.profile(state.profile),
            features=views.feature_list(state.profile, model),
        )

    @routes.get("/health", tags=["service"])
    async def get_health() -> Health:
        """Queues, owners, counts by level, and sentences about what is wrong."""
        return views.health(await reader.health(), settings, None if model is None else model.id)

    return routes


def _decoded(data: bytes | None) -> EntityState | None:
    """The state; None where there is none, or another release wrote it: the worker starts such an entity anew."""
    if data is None:
        return None
    try:
        return EntityState.from_bytes(data)
    except Exception as error:
        log.warning("a stored state does not decode: %s", type(error).__name__)
        return None
