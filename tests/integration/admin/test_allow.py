"""The allow-list: somebody answers for each entry, each has an end, and many flagged keys take two people."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.admin import routes_allow
from detectors.contract import Level

KEY = "0123456789abcdef" * 2


def _entry(days: float = 30, **more: Any) -> dict[str, Any]:
    expires = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    return {"owner": "sales, EMEA", "reason": "agreed in contract 4711", "expires": expires, **more}


async def test_an_entry_is_put_read_listed_and_deleted(desk: Any, gateway: Any) -> None:
    """It tells who put it, who answers for it and until when; a running gateway has it within moments, and loses it so."""
    async with gateway("enforce") as services:
        put = await desk.call("PUT", f"/v1/allow/key:{KEY}", json=_entry())
        assert put.status_code == 200, put.text
        assert (put.json()["owner"], put.json()["by"], put.json()["active"]) == ("sales, EMEA", "bootstrap", True)
        assert await desk.get(f"/v1/allow/key:{KEY}") == put.json()
        assert (await desk.get("/v1/allow"))["entries"] == [put.json()]
        async with asyncio.timeout(5):
            while not services.control.allowed(KEY, ""):  # noqa: ASYNC110 - a gateway offers no event
                await asyncio.sleep(0.02)
        assert (await desk.call("DELETE", f"/v1/allow/key:{KEY}")).status_code == 204
        async with asyncio.timeout(5):
            while services.control.allowed(KEY, ""):  # noqa: ASYNC110 - a gateway offers no event
                await asyncio.sleep(0.02)
    assert (await desk.call("DELETE", f"/v1/allow/key:{KEY}")).status_code == 404
    await desk.get(f"/v1/allow/key:{KEY}", status=404)
    records = (await desk.get("/v1/audit"))["records"]
    assert [(record["action"], record["reason"]) for record in records] == [
        ("allow.delete", ""),
        ("allow.put", "agreed in contract 4711"),
    ]


async def test_an_entry_needs_owner_reason_and_end(desk: Any) -> None:
    """At most 400 days, one line of ten characters, and somebody to ask; otherwise nothing is stored."""
    for body, field in (
        (_entry(days=401), "body.expires"),
        (_entry(days=-1), "body.expires"),
        (_entry(owner=""), "body.owner"),
        (_entry(reason="short"), "body.reason"),
        ({"owner": "sales", "reason": "agreed in contract 4711"}, "body.expires"),
        (_entry(until="ever"), "body.until"),
    ):
        answer = await desk.call("PUT", f"/v1/allow/key:{KEY}", json=body)
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert (await desk.get("/v1/allow"))["entries"] == []


async def test_an_address_that_is_no_subject_is_refused(desk: Any) -> None:
    """A key id or an organisation with its kind in front, and nothing else."""
    for subject in ("key:x", "org:", "user:x", KEY):
        assert (await desk.call("PUT", f"/v1/allow/{subject}", json=_entry())).status_code == 422


async def test_many_flagged_keys_take_two_people(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organisation with too many suspects is only proposed; another person puts it on the list."""
    monkeypatch.setattr(routes_allow, "SECOND_PERSON_ABOVE", 1)
    for number in range(2):
        await desk.call("PUT", f"/v1/accounts/{number:032x}", json={"org_id": "acme"})
        await desk.judged(f"{number:032x}", Level.SUSPECT, 0.9, at_us=time.time_ns() // 1000)
    ann, bob = await desk.token("approver", "ann"), await desk.token("approver", "bob")
    made = await desk.as_(ann, "PUT", "/v1/allow/org:acme", json=_entry())
    assert (made.status_code, made.json()["action"], made.json()["keys"]) == (202, "allow", 2)
    assert (await desk.get("/v1/allow"))["entries"] == []
    bulk_id = made.json()["id"]
    assert (await desk.get(f"/v1/proposals/{bulk_id}"))["effect"]["levels"]["suspect"] == 2
    path = f"/v1/proposals/{bulk_id}:approve"
    why = {"reason": "looked at the contract, it is so"}
    assert (await desk.as_(ann, "POST", path, json=why)).status_code == 403
    assert (await desk.as_(bob, "POST", path, json=why)).status_code == 202
    async with asyncio.timeout(10):
        while not (entries := (await desk.get("/v1/allow"))["entries"]):  # noqa: ASYNC110 - it is another's task
            await asyncio.sleep(0.05)
    assert [(entry["subject"], entry["by"]) for entry in entries] == [("org:acme", "ann")]
    assert (await desk.call("DELETE", f"/v1/orders/{bulk_id}")).status_code == 409
