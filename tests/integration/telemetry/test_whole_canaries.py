"""Words of clients and secrets of the service, sent through everything that runs, are found nowhere afterwards."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis.asyncio as aioredis
from prometheus_client import generate_latest

from app.admin import server as admin_server
from app.gateway import server as gateway_server
from app.gateway.identity import Hasher
from app.settings import Settings, load
from app.state.factory import background_client
from app.telemetry import metrics
from app.worker.worker import Worker, load_analysis

PROMPT = "qzxprompt7f3a9"
KEY = "sk-qzxcredential81c2"
PEPPER = "qzxpepper-of-some-length"
TOKEN = "qzxtoken-0123456789-abcdefghijk"
SECRETS = (PROMPT, KEY, PEPPER, TOKEN)


@pytest.fixture
def written(logged: Any) -> io.StringIO:
    """Everything that is logged."""
    stream: io.StringIO = logged("json")
    return stream


def _settings(url: str, upstream: str, folder: Path) -> Settings:
    return load(
        environ={
            "STILLWATCH_PEPPER": PEPPER,
            "STILLWATCH_ADMIN_TOKEN": TOKEN,
            "STILLWATCH_REDIS_URL": url,
            "STILLWATCH_STATE__DATA_DIR": str(folder),
            "STILLWATCH_GATEWAY__PORT": "0",
            "STILLWATCH_ADMIN__PORT": "0",
            "STILLWATCH_GATEWAY__UPSTREAM": upstream,
            "STILLWATCH_WORKER__POLL_MS": "10",
            "STILLWATCH_WORKER__ARCHIVE_SEC": "0.1",
        }
    )


def _chat(number: int, **more: Any) -> dict[str, Any]:
    words = f"{PROMPT} Put your reasoning between <reasoning> tags, then answer: question {number} {PROMPT}{number}"
    return {"model": "sim-large", "messages": [{"role": "user", "content": words}], "max_tokens": 20, **more}


async def test_nothing_planted_is_found(redis_db: str, upstream: str, written: io.StringIO, tmp_path: Path) -> None:
    """Logs, metrics, error bodies, state but for the event streams, archive, audit log and all routes are clean."""
    settings = _settings(redis_db, upstream, tmp_path)
    key_id = Hasher(PEPPER).key(KEY)
    client = background_client(redis_db, settings)
    gateway = await gateway_server.start(settings, with_metrics=False)
    admin = await admin_server.start(settings, state_url=redis_db)
    stop = asyncio.Event()
    worker = asyncio.create_task(Worker(client, settings, load_analysis(settings), "w1").run(stop))
    shown: list[bytes] = []
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=30.0) as http:
            await _traffic(http, gateway.url, shown)
            await _applied(client, key_id)
            await _acts(http, admin.url, key_id, shown)
            await _reads(http, admin.url, key_id, shown)
    finally:
        stop.set()
        await worker
        await gateway.stop()
        await admin.stop()
        await client.aclose()
    places = {
        "answers": b"\n".join(shown),
        "logs": written.getvalue().encode(),
        "metrics": generate_latest(metrics.REGISTRY),
        "state": await _lasting(redis_db),
        **_files(tmp_path),
    }
    assert any(place.endswith(".parquet") for place in places)
    assert key_id.encode() in places["state"]
    assert key_id.encode() in places["answers"]
    found = {(place, secret) for place, data in places.items() for secret in SECRETS if secret.encode() in data}
    assert found == set()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _traffic(http: httpx2.AsyncClient, url: str, shown: list[bytes]) -> None:
    """Ordinary exchanges, whose answers are the client's own; and bad ones, whose refusals must quote nothing."""
    headers = {"authorization": f"Bearer {KEY}"}
    for number in range(40):
        answer = await http.post(f"{url}/v1/chat/completions", json=_chat(number), headers=headers)
        assert answer.status_code == 200
    for body in (
        b"{" + PROMPT.encode(),
        json.dumps({PROMPT: "x" * 10, "model": 5}).encode()[:-4],
        b"[" * 99 + PROMPT.encode(),
    ):
        answer = await http.post(f"{url}/v1/chat/completions", content=body, headers=headers)
        assert answer.status_code >= 400
        shown.append(answer.content)
    shown.append((await http.get(f"{url}/v1/{PROMPT}", headers={"host": PROMPT, **headers})).content[:0])


async def _acts(http: httpx2.AsyncClient, url: str, key_id: str, shown: list[bytes]) -> None:
    """What people do, and what they get wrong, with secrets where they do not belong."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    made = await http.post(f"{url}/v1/tokens", headers=headers, json={"name": "ann", "role": "analyst"})
    assert made.status_code == 201  # shown once, to whom it belongs, so it is not among what is searched
    for method, path, body in (
        ("PUT", f"/v1/accounts/{key_id}", {"org_id": "acme", "plan": "payg"}),
        ("POST", f"/v1/keys/{key_id}:lift", {"reason": f"spoke to the holder of {KEY}", "hours": 1}),
        ("PUT", f"/v1/accounts/{key_id}", {"org_id": f"{{{PROMPT}", "plan": TOKEN}),
        ("POST", f"/v1/keys/{key_id}:lift", {"reason": PROMPT, "hours": -1}),
        ("GET", f"/v1/keys/{PROMPT}", None),
        ("GET", f"/v1/keys?q={PROMPT}", None),
    ):
        answer = await http.request(method, f"{url}{path}", headers=headers, **({"json": body} if body else {}))
        if answer.status_code >= 400:
            shown.append(answer.content)
    wrong = await http.get(f"{url}/v1/keys", headers={"authorization": f"Bearer {KEY}"})
    assert wrong.status_code == 401
    shown.append(wrong.content)


async def _reads(http: httpx2.AsyncClient, url: str, key_id: str, shown: list[bytes]) -> None:
    """Every route that can be read, with the key where one belongs."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    document = (await http.get(f"{url}/v1/openapi.json", headers=headers)).json()
    paths = [path for path, operations in document["paths"].items() if "get" in operations]
    assert len(paths) > 8
    for path in paths:
        answer = await http.get(url + path.replace("{key_id}", key_id).replace("{org_id}", "acme"), headers=headers)
        assert answer.status_code < 500, path
        shown.append(answer.content)


async def _applied(client: aioredis.Redis, key_id: str) -> None:
    """Returns when the worker has applied and archived something of the key."""
    async with asyncio.timeout(30):
        while not [name async for name in client.scan_iter(f"*:fk:{key_id}")]:  # noqa: ASYNC110 - a worker writes it
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)


async def _lasting(url: str) -> bytes:
    """Names and values of everything but the event streams, which hold text until the worker has read it."""
    found = []
    async with aioredis.Redis.from_url(url) as client:
        async for name in client.scan_iter("*"):
            kind = (await client.type(name)).decode()
            read: Any = {
                "string": client.get,
                "list": lambda key: client.lrange(key, 0, -1),
                "zset": lambda key: client.zrange(key, 0, -1),
                "stream": client.xrange,
                "hash": client.hgetall,
            }[kind]
            found.append(name + repr(await read(name)).encode())
    return b"\n".join(found)
