"""The TAXII server on a real socket, over a real state server, and members with credentials of their own."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from app.admin import server as admin_server
from app.admin.server import AdminServer
from app.intel.taxii import envelope
from app.settings import Settings, load
from app.state.factory import background_client
from app.state.intel import Collection, NewObject
from app.state.intel_groups import Group, IntelGroups

TOKEN = "admin-token-of-the-tests-0123456789"
TAXII = "application/taxii+json;version=2.1"


def indicator(number: int, modified: str = "2026-11-20T10:00:00.000Z", **more: Any) -> dict[str, Any]:
    """A small indicator of STIX 2.1."""
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.UUID(int=number, version=4)}",
        "created": "2026-11-20T10:00:00.000Z",
        "modified": modified,
        "pattern": "[autonomous-system:number = 64496]",
        "pattern_type": "stix",
        "valid_from": "2026-11-20T10:00:00.000Z",
        "valid_until": "2026-12-20T10:00:00.000Z",
        **more,
    }


def basic(user: str, password: str) -> str:
    """An Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Site:
    """A provider's admin port with one trust group, `labs`.

    Attributes:
        acme: a member's credential.
        birch: another member's.
    """

    server: AdminServer
    settings: Settings
    state: Any
    group: Group
    acme: str
    birch: str
    http: httpx2.AsyncClient
    token = TOKEN
    indicator = staticmethod(indicator)
    basic = staticmethod(basic)

    @property
    def root(self) -> str:
        """Address of the group's API root."""
        return f"{self.server.url}/taxii2/labs/"

    def feed(self) -> Collection:
        """The feed, as whoever publishes writes to it."""
        return Collection(self.state, "labs", "feed")

    async def share(self, *objects: dict[str, Any]) -> None:
        """Puts objects into the feed."""
        for first in range(0, len(objects), 1000):
            sent = envelope.read(orjson.dumps({"objects": objects[first : first + 1000]}))
            await self.feed().add([one.new for one in sent if isinstance(one.new, NewObject)])

    async def ask(self, method: str, path: str, token: str = TOKEN, **more: Any) -> httpx2.Response:
        """One request in TAXII's words; a member's or a person's bearer token."""
        headers = {"authorization": f"Bearer {token}", "accept": TAXII, **more.pop("headers", {})}
        if method == "POST":
            headers = {"content-type": TAXII, **headers}
        answer = await self.http.request(method, path, headers=headers, **more)
        assert answer.headers["content-type"] == TAXII, (method, path, answer.text)
        assert answer.headers["cache-control"] == "no-store"
        if answer.status_code >= 400:
            fault = answer.json()
            assert set(fault) == {"title", "description", "error_id", "http_status"}
            assert fault["http_status"] == str(answer.status_code)
            assert fault["error_id"] == answer.headers["x-request-id"]
        return answer

    async def member(self, name: str, group: str = "labs", **more: Any) -> str:
        """A new credential."""
        answer = await self.http.put(
            f"/v1/intel/groups/{group}/members/{name}", json=more, headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


def settings_for(folder: Path, **more: str) -> Settings:
    """A small deployment whose admin API listens on a free port."""
    return load(
        environ={
            "STILLWATCH_STATE__DATA_DIR": str(folder),
            "STILLWATCH_STATE__PARTITIONS": "4",
            "STILLWATCH_ADMIN__TOKEN": TOKEN,
            "STILLWATCH_ADMIN__PORT": "0",
            **more,
        }
    )


@pytest.fixture
def admin_of(redis_db: str, tmp_path: Path) -> Any:
    """Runs an admin process with settings of its own over the same state: `async with admin_of(STILLWATCH_…="…")`."""

    @asynccontextmanager
    async def running(**more: str) -> AsyncIterator[AdminServer]:
        server = await admin_server.start(settings_for(tmp_path, **more), state_url=redis_db)
        try:
            yield server
        finally:
            await server.stop()

    return running


@pytest.fixture
async def site(redis_db: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A provider with a trust group of two members."""
    settings = settings_for(tmp_path)
    client = background_client(redis_db, settings)
    server = await admin_server.start(settings, state_url=redis_db)
    try:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30.0) as http:
            made = Site(server, settings, client, None, "", "", http)  # type: ignore[arg-type]
            put = await http.put(
                "/v1/intel/groups/labs", json={"title": "Labs"}, headers={"authorization": f"Bearer {TOKEN}"}
            )
            assert put.status_code == 200, put.text
            group = await IntelGroups(client).get("labs")
            assert group is not None
            made.group = group
            made.acme, made.birch = await made.member("acme"), await made.member("birch")
            yield made
    finally:
        await server.stop()
        await client.aclose()
