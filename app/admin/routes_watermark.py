"""Routes about marks: profiles, the mark of a tenant, campaigns whose members share one. Never a secret."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request

from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.campaigning import living
from app.admin.deadline import answered
from app.admin.models_campaigns import CAMPAIGN_ID
from app.admin.models_orders import ReasonQuery
from app.admin.models_watermark import GroupIn, GroupList, GroupOut, GroupRow, ProfileList, TagIn, TagOut, TenantList
from app.admin.permissions import permit
from app.admin.watermarking import TENANTS_PER_SEC, changes, configured, everybody, profile_of, profiles, sharing, tag
from app.errors import ConfigError
from app.state.mark_groups import MarkGroups

CampaignId = Annotated[str, Path(pattern=CAMPAIGN_ID, description="id of the campaign")]

GATHER_SEC = 120.0
"""For the names of all tenants: half a million."""

_TAG = {"tenant": "1e1c62b667e743a8fcef373929cf7839", "reason": "to compare with what the engine got"}


def router(acting: Acting, groups: MarkGroups, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state and the profiles and secrets of its settings."""
    routes = APIRouter(prefix="/v1/watermark", tags=["watermark"])
    settings = acting.settings.watermark

    @routes.get("/profiles", dependencies=[permit("watermark.read")])
    async def list_profiles() -> ProfileList:
        """All mark profiles, which of them is in force, and the fingerprints of their secrets."""
        try:
            return await asyncio.to_thread(profiles, settings)
        except ConfigError as error:
            raise HTTPException(409, f"{error}.") from None

    @routes.post("/tags", dependencies=[permit("watermark.tag")], openapi_extra=described(TagIn, example=_TAG))
    async def make_tag(request: Request, caller: CallerDep) -> TagOut:
        """The request fields that a gateway adds for a tenant. On record, as who has a codeword can have it marked with."""
        asked = await read_body(request, TagIn)
        sources = await configured(acting.settings)
        profile = profile_of(settings, sources, asked.profile)
        async with answered():
            group = asked.group if asked.group is not None else (await groups.get_many([asked.tenant]))[asked.tenant]
        engine = asked.engine or ("sglang" if settings.engine == "sglang" else "vllm")
        after = {"profile": profile.id, "group": group, "engine": engine}
        await auditor.record(caller, request, "watermark.tag", f"tenant:{asked.tenant}", reason=asked.reason, after=after)
        return tag(sources.ring.of(profile.epoch), profile, asked.tenant, group, engine)

    @routes.get("/groups", dependencies=[permit("watermark.read")])
    async def list_groups() -> GroupList:
        """Campaigns whose members share a mark, the largest first."""
        async with answered():
            found = await groups.all()
        counted = Counter(found.values()).most_common()
        return GroupList(groups=[GroupRow(group=name, tenants=count) for name, count in counted], tenants=len(found))

    @routes.get("/tenants", dependencies=[permit("watermark.read")])
    async def list_tenants() -> TenantList:
        """Who a search outside of this process must ask about: all tenants that are known, and whose mark they share."""
        async with acting.patiently(GATHER_SEC):
            found = await everybody(acting, groups, ())
        return TenantList(tenants=found.tenants, groups=found.groups)

    @routes.put(
        "/groups/{campaign_id}",
        dependencies=[permit("watermark.tag")],
        openapi_extra=described(GroupIn, example={"reason": "one operation behind many keys"}),
    )
    async def put_group(campaign_id: CampaignId, request: Request, caller: CallerDep) -> GroupOut:
        """Half of the mark of each member of a confirmed campaign becomes one that all of them share.

        It is about the members of this moment: put it again for those who joined; who left loses it then. A member that
        shares another campaign's mark changes over to this one.
        """
        asked = await read_body(request, GroupIn)
        async with acting.patiently():
            tenants = await sharing(acting, await living(acting, campaign_id))
            give, take, made = changes(campaign_id, tenants, await groups.all())
        await auditor.record(
            caller, request, "watermark.group", f"campaign:{campaign_id}", reason=asked.reason, after=made.model_dump()
        )
        async with answered((len(give) + len(take)) / TENANTS_PER_SEC):
            for tenant in give:
                await groups.put(tenant, campaign_id)
            for tenant in take:
                await groups.delete(tenant)
        return made

    @routes.delete("/groups/{campaign_id}", dependencies=[permit("watermark.tag")])
    async def delete_group(
        campaign_id: CampaignId, request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep
    ) -> GroupOut:
        """Each of those who share the mark has its own alone again.

        An investigation judges a tenant by the mark it has when that is run: in what was marked meanwhile it then finds
        half of the evidence. Put the group again for a run about texts of that time.
        """
        async with answered():
            _, take, made = changes(campaign_id, (), await groups.all())
        if not take:
            raise HTTPException(404, "Nobody shares a mark of this campaign.")
        before = {"tenants": len(take)}
        await auditor.record(
            caller, request, "watermark.ungroup", f"campaign:{campaign_id}", reason=query.reason, before=before
        )
        async with answered(len(take) / TENANTS_PER_SEC):
            for tenant in take:
                await groups.delete(tenant)
        return made

    return routes
