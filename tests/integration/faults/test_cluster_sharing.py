"""On a Cluster providers share as over one server: groups, credentials, a feed, objects that are sent, and a poll."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx2
import orjson

from app.admin import server as admin_server
from app.intel.taxii.peers import Peer
from app.intel.taxii.poller import Poller
from app.settings import load
from app.simulate.state_servers import LocalCluster
from app.state.factory import background_client
from app.state.intel import Collection, NewObject
from app.state.intel_polls import Polls
from app.state.intel_received import ReceivedQueue

TOKEN = "admin-token-of-the-tests-0123456789"
TAXII = "application/taxii+json;version=2.1"
GROUPS = ("labs", "cloud", "press")


def _objects(count: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "indicator",
            "spec_version": "2.1",
            "id": f"indicator--{uuid.UUID(int=number)}",
            "created": at,
            "modified": at,
        }
        for number in range(1, count + 1)
        for at in ("2026-11-20T10:00:00.000Z",)
    ]


async def test_groups_of_many_nodes_share(cluster: LocalCluster, tmp_path: Path) -> None:
    """Three groups, whose state lies on several nodes: made, filled, read, sent to, polled and deleted."""
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
    client = background_client(cluster.url, settings)
    person = {"authorization": f"Bearer {TOKEN}", "accept": TAXII}
    objects = _objects(250)
    queue = ReceivedQueue(client)
    try:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30.0) as http:
            for group in GROUPS:
                assert (
                    await http.put(f"/v1/intel/groups/{group}", json={"title": group}, headers=person)
                ).status_code == 200
                made = await http.put(f"/v1/intel/groups/{group}/members/acme", json={}, headers=person)
                member = {"authorization": f"Bearer {made.json()['token']}", "accept": TAXII, "content-type": TAXII}
                feed = Collection(client, group, "feed")
                await feed.add([NewObject(one["id"], 1, orjson.dumps(one)) for one in objects])
                address = f"/taxii2/{group}/collections"
                for query in ("", "?match[type]=indicator", "?match[version]=first", f"?match[id]={objects[0]['id']}"):
                    found = await http.get(f"{address}/feed/objects/{query}", headers=member)
                    assert found.status_code == 200, found.text
                    assert found.json()["objects"] == (objects[:1] if "[id]" in query else objects)
                sent = await http.post(
                    f"{address}/submit/objects/", headers=member, content=orjson.dumps({"objects": objects})
                )
                assert sent.json()["success_count"] == 250
                assert (
                    await http.get(f"/taxii2/{group}/status/{sent.json()['id']}/", headers=member)
                ).json() == sent.json()
                assert len(await queue.read(group, "acme", 1000)) == 250
                (tmp_path / "secret").write_text(made.json()["token"])
                peer = Peer("acme", group, f"{server.url}/taxii2/", str(tmp_path / "secret"))
                (polled,) = await Poller((), Polls(client), queue).poll(peer)
                assert (polled.objects, polled.fault) == (250, "")
                gone = await http.delete(f"{address}/submit/objects/{objects[0]['id']}/", headers=person)
                assert gone.status_code == 200
            assert [(one.group, one.objects) for one in await queue.sources()] == [(group, 500) for group in sorted(GROUPS)]
            last = (await queue.read("labs", "acme", 1000))[-1]
            await queue.done("labs", "acme", last.entry_id)
            assert len(await queue.sources()) == 2
            for group in GROUPS:
                assert (await http.delete(f"/v1/intel/groups/{group}", headers=person)).status_code == 204
            assert (await http.get("/v1/intel/groups", headers=person)).json()["groups"] == []
    finally:
        await server.stop()
        await client.aclose()
