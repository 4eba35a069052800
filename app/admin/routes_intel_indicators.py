"""Routes over received indicators, who reported them, and what we say back.

A word of ours counts for or against those who reported the indicator, decides whether it is looked for here, and is told to
the trust group: in our feed, and to each peer of the group that takes objects. Reasons and names of people stay here.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import orjson
from fastapi import APIRouter, HTTPException, Path, Query, Request
from msgspec import structs

from app.admin import views_intel
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_intel_indicators import (
    INDICATOR,
    REPORTER,
    IndicatorItem,
    IndicatorList,
    IndicatorOut,
    IndicatorQuery,
    OurWord,
    ReporterIn,
    ReporterList,
    ReporterOut,
    WordIn,
    WordMade,
)
from app.admin.permissions import permit
from app.admin.routes_intel_groups import GroupName
from app.admin.shelf import Shelf
from app.errors import ConfigError
from app.intel import opinions
from app.intel.bundle import Provider, bundle, provider_id, validated
from app.intel.taxii import envelope
from app.intel.warning_list import WarningList
from app.settings import Settings
from app.state.intel_indicators import Held, Standing, page_mark
from app.state.intel_words import Said, moved
from app.telemetry import metrics

IndicatorId = Annotated[str, Path(pattern=INDICATOR, description="STIX id of an indicator")]
ReporterName = Annotated[str, Path(pattern=REPORTER, description="name of a member, or @ and a token id of our own people")]

_LOOKED_AT = 2_500
_STEP = 500
"""Indicators that one page of a filtered list looks at, and in which steps; the next page goes on behind them."""

_COUNTING_SEC = 5.0
"""What looking at every key's hits may take longer than other requests."""

_NONE = "No such indicator is held."


def router(settings: Settings, shelf: Shelf, warned: WarningList, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state.

    Args:
        settings: the whole tree.
        shelf: what is shared.
        warned: values that nobody may list.
        auditor: records changes.
    """
    routes = APIRouter(prefix="/v1/intel", tags=["sharing"])

    @routes.get("/indicators", dependencies=[permit("intel.read")])
    async def list_indicators(query: Annotated[IndicatorQuery, Query()]) -> IndicatorList:
        """What members have reported, with who stands behind it. A page of a filtered list may be empty and go on."""
        at_us = _now_us()
        found: list[IndicatorItem] = []
        after = query.cursor
        owner = (query.reporter or "") if query.group else ""
        async with answered():
            standings = await shelf.indicators.standings()
            for _ in range(_LOOKED_AT // _STEP):
                step = await shelf.indicators.page(query.group or "", owner, after, _STEP)
                common = await shelf.common.of([held.name for held in step], at_us)
                for held in step:
                    after = page_mark(held)
                    if _asked(query, held):
                        one = views_intel.item(held, standings, warned, common, at_us)
                        found += [one] if query.now in (None, one.now) else []
                    if len(found) == query.limit:
                        return IndicatorList(indicators=found, next_cursor=after)
                if len(step) < _STEP:
                    return IndicatorList(indicators=found, next_cursor=None)
        return IndicatorList(indicators=found, next_cursor=after)

    @routes.get("/indicators/{group}/{indicator_id}", dependencies=[permit("intel.read")])
    async def get_indicator(group: GroupName, indicator_id: IndicatorId) -> IndicatorOut:
        """One, with everything that was said about it and how many keys show it."""
        held = await _held(shelf, group, indicator_id)
        async with answered():
            standings = await shelf.indicators.standings()
            said = await shelf.words.get(group, indicator_id)
            common = await shelf.common.of([held.name], _now_us())
        async with answered(_COUNTING_SEC):
            keys = await shelf.hits.showing(group, indicator_id)
        return views_intel.indicator(held, standings, warned, common, said, keys, _now_us())

    @routes.post(
        "/indicators/{group}/{indicator_id}:agree", dependencies=[permit("intel.write")], openapi_extra=described(WordIn)
    )
    async def agree(group: GroupName, indicator_id: IndicatorId, request: Request, caller: CallerDep) -> WordMade:
        """Say that an indicator is right: counts for its reporter, ends that it is set aside, and is told to its group."""
        return await say(group, indicator_id, "agree", request, caller)

    @routes.post(
        "/indicators/{group}/{indicator_id}:disagree", dependencies=[permit("intel.write")], openapi_extra=described(WordIn)
    )
    async def disagree(group: GroupName, indicator_id: IndicatorId, request: Request, caller: CallerDep) -> WordMade:
        """Say that an indicator is wrong: counts against its reporters, sets it aside here, and is told to its group."""
        return await say(group, indicator_id, "disagree", request, caller)

    async def say(group: str, indicator_id: str, word: OurWord, request: Request, caller: CallerDep) -> WordMade:
        asked = await read_body(request, WordIn)
        held = await _held(shelf, group, indicator_id)
        if word == "agree" and f"@{caller.token_id}" in (held.owner, *(one.member for one in held.words)):
            raise HTTPException(403, "Another person than the one who took it in has to agree with it.")
        async with answered(_COUNTING_SEC):
            before = await shelf.words.get(group, indicator_id)
            keys = await shelf.hits.showing(group, indicator_id) if word == "agree" else 0
        told = opinions.told(keys)
        await auditor.record(
            caller,
            request,
            f"intel.{word}",
            f"indicator:{group}/{indicator_id}",
            reason=asked.reason,
            before=None if before is None else {"word": before.word, "counted": dict(before.counted)},
            after={"word": word, "counted": dict(moved(held, word)), "keys_told": told},
        )
        async with answered():
            said = await shelf.words.say(held, word, caller.token_id, told, _now_us())
        if before is None or before.at_us != said.at_us:
            metrics.SHARED_WORDS.labels(word=word).inc()
        shared, peers, note = await _tell(settings, shelf, said, held)
        return WordMade(**views_intel.word_said(said), group=group, id=indicator_id, shared=shared, peers=peers, note=note)

    @routes.get("/reporters", dependencies=[permit("intel.read")])
    async def list_reporters() -> ReporterList:
        """Who has reported anything, how often it was right, and how far it is believed."""
        at_us = _now_us()
        async with answered():
            standings = sorted((await shelf.indicators.standings()).items())
            found = [views_intel.reporter(one, await shelf.indicators.owned(*name), at_us) for name, one in standings]
        return ReporterList(reporters=found)

    @routes.put("/reporters/{group}/{member}", dependencies=[permit("intel.write")], openapi_extra=described(ReporterIn))
    async def put_reporter(group: GroupName, member: ReporterName, request: Request, caller: CallerDep) -> ReporterOut:
        """Say to which organisation a member belongs: two members of one are one voice."""
        asked = await read_body(request, ReporterIn)
        async with answered():
            before = (await shelf.indicators.standings()).get((group, member))
            members = {one.member for one in await shelf.groups.members(group)}
        peers = {peer.name for peer in shelf.peers if peer.group == group}
        if before is None and member not in members | peers:
            raise HTTPException(404, "There is no such member, and nobody of this name has reported anything.")
        was = None if before is None else {"organisation": before.organisation}
        after = {"organisation": asked.organisation}
        await auditor.record(caller, request, "intel.reporter", f"reporter:{group}/{member}", before=was, after=after)
        at_us = _now_us()

        def changed(known: Standing | None) -> Standing:
            if known is None:
                return Standing(group, member, asked.organisation, at_us)
            return structs.replace(known, organisation=asked.organisation)

        async with answered():
            made = await shelf.words.change_standing(group, member, changed)
            held = await shelf.indicators.owned(group, member)
        return views_intel.reporter(made, held, at_us)

    return routes


def _asked(query: IndicatorQuery, held: Held) -> bool:
    return query.kind in (None, held.indicator.kind) and query.reporter in (None, held.owner)


async def _held(shelf: Shelf, group: str, indicator_id: str) -> Held:
    async with answered():
        found = (await shelf.indicators.get(group, [indicator_id])).get(indicator_id)
    if found is None:
        raise HTTPException(404, _NONE)
    return found


async def _tell(settings: Settings, shelf: Shelf, said: Said, held: Held) -> tuple[bool, list[str], str]:
    """(whether anybody is told, peers, why not everybody). A second time tells the same again and changes nothing."""
    if not settings.intel.provider:
        return False, [], "nobody is told: intel.provider is not set"
    provider = Provider(provider_id(settings.intel.provider), settings.intel.provider)
    made = opinions.objects(provider, said, held.tlp)
    try:
        await asyncio.to_thread(validated, bundle(made))
    except ConfigError as error:
        return False, [], f"nobody is told: {error}"
    packed = [envelope.packed(one) for one in made]
    full = []
    peers = [peer.name for peer in shelf.peers if peer.group == said.group and peer.kind == "taxii"]
    async with answered():
        group = await shelf.groups.get(said.group)
        if group is not None:
            sent = envelope.read(orjson.dumps({"objects": made}))
            await shelf.collection(group, "feed").add([one.new for one in sent if one.new is not None])
        for peer in peers:
            if not await shelf.outgoing.put(peer, packed):
                full.append(peer)
    left = [peer for peer in peers if peer not in full]
    note = f"as much as can wait already does for {', '.join(full)}" if full else ""
    if group is None and not peers:
        note = "nobody is told: there is neither a trust group of this name here nor a peer of it"
    return group is not None or bool(left), left, note


def _now_us() -> int:
    return time.time_ns() // 1000
