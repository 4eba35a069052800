"""Routes over trust groups and the credentials of their members; the addresses that those open are in `routes_taxii`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response

from app.admin import auth
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_intel import (
    GROUP,
    MEMBER,
    GroupIn,
    GroupList,
    GroupOut,
    MemberIn,
    MemberMade,
    MemberOut,
    PeerList,
    PeerOut,
)
from app.admin.permissions import permit
from app.admin.shelf import Shelf
from app.admin.views import moment
from app.intel.taxii.resources import PATH
from app.intel.taxii.sender import SENT
from app.state.intel_groups import Credential, Group
from app.state.intel_received import Source

GroupName = Annotated[str, Path(pattern=GROUP, description="name of a trust group, as it stands in its address")]
MemberName = Annotated[str, Path(pattern=MEMBER, description="name of a member, the user name of HTTP Basic")]

_DAY_SEC = 86_400
_NO_GROUP = "There is no trust group of this name here; an admin makes it: PUT /v1/intel/groups/{group}."


def router(shelf: Shelf, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1/intel", tags=["sharing"])
    groups = shelf.groups

    async def told(group: Group, sources: list[Source]) -> GroupOut:
        sizes = [await shelf.collection(group, kind).size() for kind in ("feed", "submit")]
        return GroupOut(
            group=group.name,
            title=group.title,
            api_root=f"{PATH}{group.name}/",
            feed_id=group.feed_id,
            submit_id=group.submit_id,
            created=_moment(group.created_sec),
            shared=sizes[0][0],
            submitted=sizes[1][0],
            waiting=sum(source.objects for source in sources if source.group == group.name),
            members=[MemberOut(**_view(one)) for one in await groups.members(group.name)],
        )

    async def known(name: str) -> Group:
        async with answered():
            found = await groups.get(name)
        if found is None:
            raise HTTPException(404, _NO_GROUP)
        return found

    @routes.get("/groups", dependencies=[permit("intel.read")])
    async def list_groups() -> GroupList:
        """All trust groups with their members, without secrets."""
        async with answered():
            sources = await shelf.queue.sources()
            found = [await told(group, sources) for group in await groups.all()]
        return GroupList(groups=found)

    @routes.put("/groups/{group}", dependencies=[permit("intel.write")], openapi_extra=described(GroupIn))
    async def put_group(group: GroupName, request: Request, caller: CallerDep) -> GroupOut:
        """Make a trust group with its two collections, or give one another title."""
        asked = await read_body(request, GroupIn)
        async with answered():
            before = await groups.get(group)
        was = None if before is None else {"title": before.title}
        await auditor.record(caller, request, "intel.group", f"group:{group}", before=was, after={"title": asked.title})
        async with answered():
            made, _ = await groups.put(group, asked.title)
            return await told(made, await shelf.queue.sources())

    @routes.delete("/groups/{group}", status_code=204, response_class=Response, dependencies=[permit("intel.write")])
    async def delete_group(group: GroupName, request: Request, caller: CallerDep) -> None:
        """End the credentials of all members and forget what is in the group's collections."""
        found = await known(group)
        async with answered():
            members = sorted({one.member for one in await groups.members(group)})
        before = {"title": found.title, "members": members}
        await auditor.record(caller, request, "intel.group_delete", f"group:{group}", before=before)
        async with answered():
            await groups.delete(group)
            await shelf.signers.forget_group(group)

    @routes.put(
        "/groups/{group}/members/{member}",
        status_code=201,
        dependencies=[permit("intel.write")],
        openapi_extra=described(MemberIn),
    )
    async def put_member(group: GroupName, member: MemberName, request: Request, caller: CallerDep) -> MemberMade:
        """Make a credential for a member, in place of the one it had. It is in this answer and nowhere else."""
        asked = await read_body(request, MemberIn)
        await known(group)
        secret, token_id = auth.made()
        now = int(time.time())
        credential = Credential(
            token_id=token_id,
            digest=auth.digest_of(secret),
            group=group,
            member=member,
            may_submit=asked.may_submit,
            created_sec=now,
            expires_sec=now + asked.days * _DAY_SEC,
            created_by=caller.token_id,
        )
        after = {"member": member, "token_id": token_id, "may_submit": asked.may_submit, "days": asked.days}
        await auditor.record(caller, request, "intel.member", f"group:{group}", after=after)
        async with answered():
            await groups.give(credential, asked.overlap_hours * 3600)
        return MemberMade(**_view(credential), token=secret)

    @routes.delete(
        "/groups/{group}/members/{member}",
        status_code=204,
        response_class=Response,
        dependencies=[permit("intel.write")],
    )
    async def end_member(group: GroupName, member: MemberName, request: Request, caller: CallerDep) -> None:
        """Refuse a member's credentials and key from the next request on. What it has sent stays."""
        async with answered():
            found = [one for one in await groups.members(group) if one.member == member]
        if not found:
            raise HTTPException(404, "There is no such member with a credential that counts.")
        before = {"member": member, "token_ids": [one.token_id for one in found]}
        await auditor.record(caller, request, "intel.member_end", f"group:{group}", before=before)
        async with answered():
            await groups.end(group, member)
            await shelf.signers.forget(group, member)

    @routes.get("/peers", dependencies=[permit("intel.read")])
    async def list_peers() -> PeerList:
        """Peers whose collections are read: how far, and what went wrong."""
        async with answered():
            found = await shelf.polls.all()
            waiting = {peer: await shelf.outgoing.count(peer) for peer, collection in found if collection == SENT}
        return PeerList(
            peers=[
                PeerOut(
                    peer=peer,
                    collection=collection,
                    polled=moment(poll.at_us),
                    added_after=poll.added_after,
                    objects=poll.objects,
                    dropped=poll.dropped,
                    waiting=waiting.get(peer, 0) if collection == SENT else 0,
                    fault=poll.fault,
                )
                for (peer, collection), poll in sorted(found.items())
            ]
        )

    return routes


def _view(one: Credential) -> dict[str, Any]:
    return {
        "member": one.member,
        "token_id": one.token_id,
        "may_submit": one.may_submit,
        "created": _moment(one.created_sec),
        "expires": _moment(one.expires_sec),
        "created_by": one.created_by,
    }


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
