"""Routes over keys that show what other providers shared: the queue of what a person should look at first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query

from app.admin import views_intel_hits
from app.admin.deadline import answered
from app.admin.models_intel_hits import HitList, HitQuery, SharedOut
from app.admin.permissions import permit
from app.state.intel_hits import EFFECTS, Hits, KeyHits
from app.state.intel_indicators import Held, Indicators


async def held_by(indicators: Indicators, found: Iterable[KeyHits]) -> dict[str, Held]:
    """The indicators that keys show, by their places."""
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for one in found:
        for seen in one.seen:
            asked[seen.group].add(seen.indicator)
    held: dict[str, Held] = {}
    for group, ids in asked.items():
        held |= {one.name: one for one in (await indicators.get(group, sorted(ids))).values()}
    return held


async def shown_by(hits: Hits, indicators: Indicators, key_id: str) -> SharedOut | None:
    """What other providers shared that a key shows; None for nothing."""
    found = (await hits.of([key_id])).get(key_id)
    if found is None:
        return None
    held = await held_by(indicators, [found])
    return views_intel_hits.shared(found, held, await indicators.standings())


def router(hits: Hits, indicators: Indicators) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1/intel", tags=["sharing"])

    @routes.get("/hits", dependencies=[permit("intel.read")])
    async def list_hits(query: Annotated[HitQuery, Query()]) -> HitList:
        """Keys that show received indicators, those first that a person should look at first.

        A report raises a key's place here and does nothing else, unless two independent reporters name it, or one and
        evidence of our own.
        """
        skip = int(query.cursor)
        async with answered():
            page, total = await hits.first(query.limit, skip), await hits.count()
            held, standings = await held_by(indicators, page), await indicators.standings()
        least = EFFECTS.index(query.effect)
        shown = [one for one in page if EFFECTS.index(one.effect) >= least]
        more = skip + query.limit < total and len(shown) == len(page)  # they are in that order
        return HitList(
            hits=[views_intel_hits.hit(one, held, standings) for one in shown],
            next_cursor=str(skip + query.limit) if more else None,
        )

    return routes
