"""On a Cluster a person acts about keys as on one server: one by one, many at once, and undone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2

from app.admin import server as admin_server
from app.settings import load
from app.simulate.state_servers import LocalCluster

TOKEN = "admin-token-of-the-tests-0123456789"
KEYS = [f"{number:032x}" for number in range(120)]
ORDER: dict[str, Any] = {
    "action": "cap",
    "ttl_sec": 3600,
    "reason_code": "other",
    "reason": "keys of many partitions at once",
}
WHY = {"reason": "looked at a dozen of them"}


async def test_orders_about_keys_of_many_nodes(cluster: LocalCluster, tmp_path: Path) -> None:
    """Preview, proposal, approval, list, undo, policy and kill switch, with keys whose state lies on every node."""
    settings = load(
        environ={
            "STILLWATCH_STATE__DATA_DIR": str(tmp_path),
            "STILLWATCH_STATE__REDIS_URL": cluster.url,
            "STILLWATCH_STATE__PARTITIONS": "16",
            "STILLWATCH_ADMIN__TOKEN": TOKEN,
            "STILLWATCH_ADMIN__PORT": "0",
        }
    )
    server = await admin_server.start(settings)
    headers = {"authorization": f"Bearer {TOKEN}"}
    try:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, headers=headers, timeout=30.0) as http:
            lines = "".join(f'{{"key_id":"{key_id}"}}\n' for key_id in KEYS)
            assert (await http.post("/v1/accounts:import", content=lines)).json()["stored"] == 120
            subjects = {"keys": KEYS}
            told = (await http.post("/v1/orders:preview", json={"subjects": subjects, "action": "cap"})).json()
            assert told["with_account"] == 120
            one = (await http.post("/v1/orders", json={**ORDER, "subjects": {"keys": KEYS[:1]}})).json()
            assert (await http.delete(f"/v1/orders/{one['orders'][0]['ref']}")).json()["status"] == "undone"
            made = (await http.post("/v1/orders", json={**ORDER, "subjects": subjects})).json()
            bob = (await http.post("/v1/tokens", json={"name": "bob", "role": "approver"})).json()["token"]
            second = {"authorization": f"Bearer {bob}"}
            approved = await http.post(f"/v1/proposals/{made['id']}:approve", json=WHY, headers=second)
            assert approved.status_code == 202, approved.text
            await _reached(http, made["id"], "done")
            listed = (await http.get("/v1/orders", params={"limit": 500})).json()["orders"]
            assert {one["key_id"] for one in listed} == set(KEYS)
            assert (await http.delete(f"/v1/orders/{made['id']}")).status_code == 202
            await _reached(http, made["id"], "undone")
            assert (await http.get("/v1/orders")).json()["orders"] == []
            put = await http.put("/v1/policy", json={"mode": "enforce"}, headers={"if-match": "0"})
            assert put.json()["source"] == "state"
            assert (await http.put("/v1/kill", json={"scope": "all", **WHY})).json()["state"] == "all"
    finally:
        await server.stop()


async def _reached(http: httpx2.AsyncClient, bulk_id: str, status: str) -> None:
    async with asyncio.timeout(30):
        while (await http.get(f"/v1/proposals/{bulk_id}")).json()["status"] != status:  # noqa: ASYNC110 - another's task
            await asyncio.sleep(0.1)
