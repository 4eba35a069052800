"""The newest look at the whole fleet: what is frozen, and which keys stand out among all."""

from __future__ import annotations

from fastapi import APIRouter

from app.admin import views_looks
from app.admin.deadline import answered
from app.admin.models_looks import LookReport
from app.admin.permissions import permit
from app.settings import Settings
from app.state.looks import LookStore, read_looks
from detectors.looks import called

SCAN_SEC = 10.0
"""Longest wait for the ballots of one interval, of which every judged key has one."""


def router(settings: Settings, store: LookStore) -> APIRouter:
    """One route, over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["keys"])

    @routes.get("/looks", dependencies=[permit("keys.read")])
    async def get_looks() -> LookReport:
        """The newest look: features that are frozen because the whole fleet moved in them, and the keys that stand out.

        Of the listed keys a share of `worker.called_honest_share` is expected to be honest. The list raises no level, and
        keeps for as long as the ballots of its interval do.
        """
        worker = settings.worker
        async with answered():
            looks = read_looks(await store.read(), worker.look_hours * 3_600_000_000, worker.called_honest_share)
        newest = looks.newest
        ballots = {}
        if newest is not None and newest.called:
            async with answered(SCAN_SEC):
                ballots = await store.ballots(newest.number)
        found = [] if newest is None else called(newest, ballots.items())
        return views_looks.report(looks, found)

    return routes
