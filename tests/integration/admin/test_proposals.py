"""More than a hundred keys at once need two people, are carried out in slices, and survive a crash in the middle."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from msgspec import structs

from app.admin import proposals
from app.admin.ordering import now_us
from app.state.bulks import BulkStore
from app.state.keys import bulk
from detectors.contract import Level

KEYS = [f"{number:032x}" for number in range(130)]
WHY = {"reason": "looked at a dozen of them, one campaign"}


@pytest.fixture
async def acme(desk: Any) -> Any:
    """A desk whose organisation acme has 130 keys, and people of two roles: (desk, analyst's token, approver's token)."""
    lines = "\n".join(json.dumps({"key_id": key_id, "org_id": "acme"}) for key_id in KEYS)
    await desk.call("POST", "/v1/accounts:import", content=lines.encode())
    return desk, await desk.token("analyst", "ann"), await desk.token("approver", "bob")


def _order(**more: Any) -> dict[str, Any]:
    return {
        "subjects": {"org_id": "acme"},
        "action": "throttle",
        "ttl_sec": 3600,
        "reason_code": "extraction",
        "reason": "acme harvests with many keys",
        **more,
    }


async def _ended(desk: Any, bulk_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            found: dict[str, Any] = await desk.get(f"/v1/proposals/{bulk_id}")
            if found["status"] == status:
                return found
            await asyncio.sleep(0.05)


async def test_a_bulk_order_waits_for_another_person(acme: Any) -> None:
    """Proposed with 202 and nothing done; the proposer and a role without the right are refused; approved, all stand."""
    desk, ann, bob = acme
    made = await desk.as_(ann, "POST", "/v1/orders", json=_order())
    assert made.status_code == 202, made.text
    bulk_id = made.json()["id"]
    assert (await desk.get("/v1/orders"))["orders"] == []
    waiting = await desk.get(f"/v1/proposals/{bulk_id}")
    assert (waiting["status"], waiting["keys"], waiting["proposed_by"]) == ("proposed", 130, "ann")
    assert (waiting["effect"]["keys"], waiting["effect"]["needs_second_person"]) == (130, True)
    assert (waiting["changed"]["gone"], waiting["changed"]["new"]) == (0, 0)
    path = f"/v1/proposals/{bulk_id}:approve"
    assert (await desk.as_(ann, "POST", path, json=WHY)).status_code == 403
    assert (await desk.call("DELETE", f"/v1/tokens/{ann[3:11]}")).status_code == 204
    same_name = await desk.token("approver", "ANN")  # her next one
    refused = await desk.as_(same_name, "POST", path, json=WHY)
    assert refused.status_code == 403
    assert "Another person" in refused.json()["detail"]
    assert (await desk.get("/v1/orders"))["orders"] == []
    approved = await desk.as_(bob, "POST", path, json=WHY)
    assert approved.status_code == 202, approved.text
    done = await _ended(desk, bulk_id, "done")
    assert (done["done"], done["skipped"], done["decided_by"]) == (130, 0, "bob")
    listed = (await desk.get("/v1/orders", params={"limit": 500}))["orders"]
    assert {one["key_id"] for one in listed} == set(KEYS)
    assert {one["by"] for one in listed} == {"ann"}
    assert (await desk.as_(bob, "POST", path, json=WHY)).status_code == 409
    actions = [record["action"] for record in (await desk.get("/v1/audit"))["records"]]
    assert actions.count("proposal.approve") == actions.count("order.propose") == 1


async def test_all_of_it_is_undone_by_its_id(acme: Any) -> None:
    """One call takes every order back, in slices, and says when that is done."""
    desk, ann, bob = acme
    bulk_id = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    await desk.as_(bob, "POST", f"/v1/proposals/{bulk_id}:approve", json=WHY)
    await _ended(desk, bulk_id, "done")
    undone = await desk.as_(ann, "DELETE", f"/v1/orders/{bulk_id}")
    assert (undone.status_code, undone.json()["status"]) == (202, "undoing")
    assert (await _ended(desk, bulk_id, "undone"))["done"] == 130
    assert (await desk.get("/v1/orders", params={"limit": 500}))["orders"] == []


async def test_a_changed_set_is_shown_and_only_what_still_fits_is_acted_on(acme: Any) -> None:
    """Keys that left the organisation are skipped, keys that came since are left alone, and both are shown before."""
    desk, ann, bob = acme
    bulk_id = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    await desk.call("PUT", f"/v1/accounts/{KEYS[7]}", json={"org_id": "birch"})
    await desk.call("PUT", f"/v1/accounts/{'ab' * 16}", json={"org_id": "acme"})
    changed = {"gone": 1, "new": 1, "gone_examples": [KEYS[7]], "new_examples": ["ab" * 16]}
    assert (await desk.get(f"/v1/proposals/{bulk_id}"))["changed"] == changed
    approved = await desk.as_(bob, "POST", f"/v1/proposals/{bulk_id}:approve", json=WHY)
    assert approved.json()["changed"] == changed
    assert (await _ended(desk, bulk_id, "done"))["skipped"] == 1
    listed = {one["key_id"] for one in (await desk.get("/v1/orders", params={"limit": 500}))["orders"]}
    assert listed == set(KEYS) - {KEYS[7]}


async def test_an_expired_proposal_is_refused(acme: Any) -> None:
    """After its time nobody can approve it, and its page says so."""
    desk, ann, bob = acme
    bulk_id = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    store = BulkStore(desk.state)
    found = await store.get(bulk_id)
    assert found is not None
    terms = json.loads(await desk.state.hget(bulk(bulk_id), "terms"))
    await desk.state.hset(bulk(bulk_id), "terms", json.dumps({**terms, "expires_us": now_us() - 1}))
    assert (await desk.get(f"/v1/proposals/{bulk_id}"))["status"] == "expired"
    late = await desk.as_(bob, "POST", f"/v1/proposals/{bulk_id}:approve", json=WHY)
    assert (late.status_code, "expired" in late.json()["detail"]) == (409, True)
    assert (await desk.get("/v1/orders"))["orders"] == []


async def test_a_proposal_is_refused_or_withdrawn(acme: Any) -> None:
    """The second person says no, or the first one takes it back: nothing is done, and it cannot be approved any more."""
    desk, ann, bob = acme
    first = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    second = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    assert (await desk.as_(bob, "POST", f"/v1/proposals/{first}:refuse", json=WHY)).json()["status"] == "refused"
    assert (await desk.as_(ann, "DELETE", f"/v1/orders/{second}")).json()["status"] == "withdrawn"
    for bulk_id in (first, second):
        assert (await desk.as_(bob, "POST", f"/v1/proposals/{bulk_id}:approve", json=WHY)).status_code == 409
    listed = (await desk.get("/v1/proposals"))["proposals"]
    assert {one["id"]: one["status"] for one in listed} == {first: "refused", second: "refused"}
    assert (await desk.get("/v1/orders"))["orders"] == []


async def test_suspending_many_takes_the_right_to_suspend(acme: Any) -> None:
    """An analyst may not even propose it; two approvers may do it together."""
    desk, ann, bob = acme
    assert (await desk.as_(ann, "POST", "/v1/orders", json=_order(action="suspend"))).status_code == 403
    made = await desk.as_(bob, "POST", "/v1/orders", json=_order(action="suspend"))
    carol = await desk.token("approver", "carol")
    path = f"/v1/proposals/{made.json()['id']}:approve"
    assert (await desk.as_(carol, "POST", path, json=WHY)).status_code == 202
    await _ended(desk, made.json()["id"], "done")


async def test_what_a_crash_interrupts_another_process_goes_on_with(
    acme: Any, new_desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies in the second slice; another one does the rest, and no key has its order or timeline line twice."""
    desk, ann, bob = acme
    for key_id in KEYS[:3]:
        await desk.judged(key_id, Level.SUSPECT, 0.9, at_us=time.time_ns() // 1000)
    monkeypatch.setattr("app.state.bulks.LEASE_MS", 300)
    give, slices = proposals.Ordering.give, 0

    async def dies(self: Any, subjects: Any, wanted: Any) -> Any:
        nonlocal slices
        slices += 1
        if slices == 2:
            await give(self, subjects[:10], wanted)
            await asyncio.Event().wait()
        return await give(self, subjects, wanted)

    monkeypatch.setattr(proposals.Ordering, "give", dies)
    bulk_id = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    await desk.as_(bob, "POST", f"/v1/proposals/{bulk_id}:approve", json=WHY)
    async with asyncio.timeout(20):
        while slices < 2:  # noqa: ASYNC110 - the other process offers no event
            await asyncio.sleep(0.01)
    halfway = await desk.get(f"/v1/proposals/{bulk_id}")
    assert (halfway["status"], halfway["done"]) == ("applying", proposals.SLICE)
    monkeypatch.setattr(proposals.Ordering, "give", give)
    async with new_desk() as other:
        assert (await _ended(other, bulk_id, "done"))["done"] == 130
        listed = (await other.get("/v1/orders", params={"limit": 500}))["orders"]
        assert {one["key_id"] for one in listed} == set(KEYS)
        assert len({one["since"] for one in listed}) == 1
        for key_id in KEYS[:3]:
            changes = (await other.get(f"/v1/keys/{key_id}/timeline"))["changes"]
            assert [item["what"] for item in changes] == ["order", "level"]


async def test_what_nobody_carried_out_in_time_ends_without_an_order(acme: Any) -> None:
    """A bulk order that is taken up after its end is done, with every key skipped, and is not tried for ever."""
    desk, ann, _ = acme
    bulk_id = (await desk.as_(ann, "POST", "/v1/orders", json=_order())).json()["id"]
    store = BulkStore(desk.state)
    found = await store.get(bulk_id)
    assert found is not None
    late = structs.replace(found, status="applying", start_us=now_us() - 2 * 3600 * 1_000_000)
    assert await store.move(late, "proposed", 60_000)
    done = await _ended(desk, bulk_id, "done")
    assert (done["done"], done["skipped"]) == (130, 130)
    assert (await desk.get("/v1/orders"))["orders"] == []
