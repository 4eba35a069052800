"""Words and credentials of clients, sent through a whole gateway, turn up in none of its records."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
from prometheus_client import generate_latest

from app.gateway import exchange, server
from app.settings import load
from app.telemetry import metrics

CANARY = "qzxcanary7f3a9"
KEY = f"sk-{CANARY}key000000"


@pytest.fixture(params=["plain", "json"])
def written(request: pytest.FixtureRequest, logged: Any) -> io.StringIO:
    """Everything that is logged, in both forms."""
    stream: io.StringIO = logged(request.param)
    return stream


def _bodies() -> list[bytes]:
    """A good request, and what clients get wrong."""
    chat = {"model": "sim-large", "messages": [{"role": "user", "content": f"{CANARY} tell me"}], "max_tokens": 20}
    good = json.dumps(chat).encode()
    return [
        good,
        json.dumps({**chat, "stream": True}).encode(),
        json.dumps({**chat, "model": CANARY, "temperature": CANARY}).encode(),
        good[:-9],
        good.replace(CANARY.encode(), CANARY.encode() + b"\xff\xfe"),
        f'{{"{CANARY}": NaN, "{CANARY}": 1}}'.encode(),
        b"[" * 100 + CANARY.encode() + b"]" * 100,
        CANARY.encode(),
    ]


async def _post(url: str, body: bytes, *headers: str, leave: bool = False) -> bytes:
    host = url.removeprefix("http://")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    lines = (
        f"POST /v1/chat/completions?q={CANARY} HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *headers,
    )
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    answer = await (reader.read(20) if leave else reader.read(-1))
    writer.close()
    await writer.wait_closed()
    return answer


async def test_no_record_holds_what_a_client_sent(
    redis_db: str, upstream: str, written: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After good, broken, abandoned and failing requests logs, metrics, files and lasting state hold no canary."""
    environ = {
        "STILLWATCH_PEPPER": "a pepper of some length",
        "STILLWATCH_REDIS_URL": redis_db,
        "STILLWATCH_STATE__DATA_DIR": str(tmp_path),
        "STILLWATCH_GATEWAY__PORT": "0",
        "STILLWATCH_GATEWAY__UPSTREAM": upstream,
    }
    gateway = await server.start(load(environ=environ), with_metrics=False)
    for body in _bodies():
        await _post(gateway.url, body, f"authorization: Bearer {KEY}")
        await _post(gateway.url, body, f"x-api-key: {KEY}", f"user-agent: {CANARY}", leave=True)
    await _post(gateway.url, _bodies()[0], f"authorization: {CANARY} {KEY}", f"{CANARY}: x", f"x-forwarded-for: {CANARY}")
    # A fault of ours while it has a request in its hands, with the request in its words, as a parser would quote it.
    monkeypatch.setattr(exchange, "event_from_exchange", _quoting)
    await _post(gateway.url, _bodies()[0], f"authorization: Bearer {KEY}")
    await gateway.stop()
    dead = await server.start(
        load(environ={**environ, "STILLWATCH_GATEWAY__UPSTREAM": "http://127.0.0.1:9"}), with_metrics=False
    )
    assert b" 502 " in await _post(dead.url, _bodies()[0], f"authorization: Bearer {KEY}")
    await dead.stop()

    assert "RuntimeError" in written.getvalue()
    assert CANARY not in written.getvalue()
    assert CANARY.encode() not in generate_latest(metrics.REGISTRY)
    assert _files_with_canary(tmp_path) == []
    appended, lasting = await _contents(redis_db)
    assert CANARY.encode() in appended  # the run did go all the way, and the worker will read it there
    assert CANARY.encode() not in lasting


def _quoting(*args: Any, **named: Any) -> Any:
    raise RuntimeError(f"cannot read {args} {named} {CANARY}")


def _files_with_canary(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


async def _contents(url: str) -> tuple[bytes, bytes]:
    """(values of the event streams, names and values of everything else)."""
    appended, lasting = [], []
    async with aioredis.Redis.from_url(url) as client:
        async for name in client.scan_iter("*"):
            kind = (await client.type(name)).decode()
            read: dict[str, Any] = {
                "string": client.get,
                "list": lambda key: client.lrange(key, 0, -1),
                "zset": lambda key: client.zrange(key, 0, -1),
                "stream": client.xrange,
                "hash": client.hgetall,
            }
            value = repr(await read[kind](name)).encode()
            (appended if name.endswith(b":ev") else lasting).append(name + value)
    return b"".join(appended), b"".join(lasting)
