"""Plans are changed while gateways run, and one sees before whom a change touches."""

from __future__ import annotations

import asyncio
from typing import Any


async def _until(reached: Any) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - a gateway offers no event
            await asyncio.sleep(0.02)


async def test_a_plan_is_made_changed_and_forgotten_while_a_gateway_runs(desk: Any, gateway: Any) -> None:
    """The stored plan wins over the settings'; deleted, the settings count again; each change has its record."""
    async with gateway("enforce") as services:
        put = await desk.call("PUT", "/v1/plans/default", json={"key": {"requests_per_min": 7}})
        assert put.status_code == 200, put.text
        assert put.json()["source"] == "state"
        await _until(lambda: services.control.plans.plans["default"].key.requests_per_min == 7)
        await desk.call("PUT", "/v1/plans/team", json={"org": {"tokens_per_day": 5}, "models": {"big*": {"concurrent": 1}}})
        await _until(lambda: "team" in services.control.plans.plans)
        assert (await desk.call("DELETE", "/v1/plans/default")).status_code == 204
        await _until(lambda: services.control.plans.plans["default"].key.requests_per_min is None)
    listed = await desk.get("/v1/plans")
    assert [(plan["name"], plan["source"]) for plan in listed["plans"]] == [("default", "settings"), ("team", "state")]
    assert (await desk.call("DELETE", "/v1/plans/default")).status_code == 404
    records = (await desk.get("/v1/audit"))["records"]
    assert [record["action"] for record in records] == ["plan.delete", "plan.put", "plan.put"]


async def test_a_plan_tells_who_is_on_it(desk: Any) -> None:
    """Accounts that name it; on default also those without a plan and those whose plan has no limits of its own."""
    for number, plan in enumerate(("team", "team", "", "unlisted")):
        account = {"plan": plan, "org_id": f"org{number // 2}"}
        await desk.call("PUT", f"/v1/accounts/{number:032x}", json=account)
    await desk.call("PUT", "/v1/plans/team", json={})
    team, default = await desk.get("/v1/plans/team"), await desk.get("/v1/plans/default")
    assert (team["accounts"], team["organisations"], team["examples"]) == (2, 1, [f"{0:032x}", f"{1:032x}"])
    assert (default["accounts"], default["examples"]) == (2, [f"{2:032x}", f"{3:032x}"])
    await desk.get("/v1/plans/unlisted", status=404)


async def test_a_bad_plan_is_refused_with_field_and_rule(desk: Any) -> None:
    """Budgets are above zero, names are names, and nothing else is a field."""
    for body, field in (
        ({"key": {"requests_per_min": 0}}, "body.key.requests_per_min"),
        ({"key": {"concurrent": 1.5}}, "body.key.concurrent"),
        ({"org": {"concurrent": 1 << 64}}, "body.org.concurrent"),
        ({"keys": {}}, "body.keys"),
        ([], "body"),
    ):
        answer = await desk.call("PUT", "/v1/plans/team", json=body)
        assert [error["field"] for error in answer.json()["errors"]] == [field], body
    assert (await desk.call("PUT", "/v1/plans/a%20b", json={})).status_code == 422
    assert len((await desk.get("/v1/plans"))["plans"]) == 1
