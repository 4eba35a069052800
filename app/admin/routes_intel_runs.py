"""Routes that record private matching. The matching itself is done by `stillwatch intel intersect`, where the accounts are:
here only sizes and names arrive. A run that is not recorded here does not take place, and there are only so many."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, HTTPException, Path, Request, Response

from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models import KEY_ID
from app.admin.models_intel_runs import ResultIn, RunIn, RunList, RunOut, RunTaken
from app.admin.permissions import permit
from app.admin.views import moment
from app.state.intel_runs import MOST_OF_GROUP, MOST_OF_PEER, WINDOW_MS, Run, Runs

SHOWN = 200
"""Runs in a list; the audit log has all."""

RunId = Annotated[str, Path(pattern=KEY_ID, description="id of a run, as the offer's command printed it")]


def router(runs: Runs, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1/intel", tags=["sharing"])

    @routes.get("/intersections", dependencies=[permit("intel.read")])
    async def list_intersections() -> RunList:
        """Runs of private matching, the newest first: with whom, how large, by whom."""
        async with answered():
            found = await runs.newest(SHOWN)
        return RunList(
            runs=[
                RunOut(
                    **{name: value for name, value in msgspec.structs.asdict(one).items() if name != "at_ms"},
                    at=moment(one.at_ms * 1000),
                )
                for one in found
            ]
        )

    @routes.post("/intersections", status_code=201, dependencies=[permit("intel.write")], openapi_extra=described(RunIn))
    async def record_intersection(request: Request, caller: CallerDep) -> RunTaken:
        """Record an offer or an answer that is about to be made; refused where there were too many, or out of turn."""
        asked = await read_body(request, RunIn)
        now = time.time_ns() // 1_000_000
        run = Run(**asked.model_dump(), at_ms=now, by=caller.token_id)
        if run.reveals and not await _sized(runs, run, now):
            raise HTTPException(
                409, "There was no run about the size of this very set with this peer in 30 days; members come after it."
            )
        await auditor.record(
            caller, request, "intel.intersection", f"group:{run.group}", after=asked.model_dump(mode="json")
        )
        async with answered():
            taken = await runs.take(run)
        if not taken.ok:
            again = datetime.fromtimestamp(taken.again_ms / 1000, tz=UTC)
            raise HTTPException(
                409,
                f"In 30 days there may be {MOST_OF_PEER} such runs with a peer and {MOST_OF_GROUP} with its group; "
                f"the next one may be at {again:%Y-%m-%d %H:%M} UTC.",
            )
        return RunTaken(runs=taken.runs, most=MOST_OF_PEER)

    @routes.post(
        "/intersections/{run}:result",
        status_code=204,
        response_class=Response,
        dependencies=[permit("intel.write")],
        openapi_extra=described(ResultIn),
    )
    async def record_result(run: RunId, request: Request, caller: CallerDep) -> None:
        """Record in the audit log what a run of ours yielded, before it is shown."""
        asked = await read_body(request, ResultIn)
        async with answered():
            known = await runs.since(time.time_ns() // 1_000_000 - WINDOW_MS)
        found = [one for one in known if (one.run, one.role, one.reveals) == (run, "asker", asked.reveals)]
        if not found:
            raise HTTPException(404, "There is no such run of ours in 30 days.")
        after = {"run": run, "peer": found[0].peer, **asked.model_dump(mode="json")}
        await auditor.record(caller, request, "intel.intersection_result", f"group:{found[0].group}", after=after)

    return routes


async def _sized(runs: Runs, run: Run, now_ms: int) -> bool:
    """Whether the same run has been about the size, with the same set and peer."""
    async with answered():
        known = await runs.since(now_ms - WINDOW_MS)
    about = (run.run, run.group, run.peer, run.role, run.commitment)
    return any((one.run, one.group, one.peer, one.role, one.commitment) == about for one in known if not one.reveals)
