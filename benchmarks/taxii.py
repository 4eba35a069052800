"""Sharing at scale: indicators into a feed, over TAXII to a peer's poller, through its queue, and held; time and memory.

    python -m benchmarks.taxii [--objects 100000]

One state server, an admin process and the poller in one Python process, over loopback without TLS. The admin process takes
the objects from the queue as it always does: each is read, checked, and held with who said it.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import httpx2
import orjson

from app.admin import server as admin_server
from app.intel.taxii import times
from app.intel.taxii.peers import Peer
from app.intel.taxii.poller import Poller
from app.settings import Settings, load
from app.state.factory import background_client
from app.state.intel import Collection, NewObject
from app.state.intel_indicators import Indicators
from app.state.intel_polls import Polls
from app.state.intel_received import ReceivedQueue
from app.state.server import StateServer

TOKEN = "a token of the benchmark 0123456789"
_SLICE = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        asyncio.run(_measure(Path(folder), given.objects))
    return 0


async def _measure(folder: Path, count: int) -> None:
    settings = load(
        environ={
            "STILLWATCH_STATE__DATA_DIR": str(folder),
            "STILLWATCH_ADMIN__TOKEN": TOKEN,
            "STILLWATCH_ADMIN__PORT": "0",
        }
    )
    state = StateServer(settings.state)
    await state.start()
    client = background_client(state.url, settings)
    server = await admin_server.start(settings, state_url=state.url)
    try:
        peer = await _peer(server.url, folder)
        objects = [_indicator(number) for number in range(1, count + 1)]
        print(f"{count:,} indicators of {sum(len(one.data) for one in objects) / count:.0f} bytes")
        before = await _used(client)
        feed = Collection(client, "labs", "feed")
        began = time.perf_counter()
        for first in range(0, count, _SLICE):
            await feed.add(objects[first : first + _SLICE])
        _told("into the feed", count, time.perf_counter() - began)
        print(f"  state: {(await _used(client) - before) / 2**20:.0f} MiB more")
        await _pull(settings, peer, client, count)
        print(f"  this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")
    finally:
        await server.stop()
        await client.aclose()
        await state.stop()


async def _peer(url: str, folder: Path) -> Peer:
    head = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(base_url=url, trust_env=False, headers=head) as http:
        await http.put("/v1/intel/groups/labs", json={"title": "Labs"})
        made = await http.put("/v1/intel/groups/labs/members/birch", json={})
    (folder / "secret").write_text(made.json()["token"])
    return Peer("acme", "labs", f"{url}/taxii2/", str(folder / "secret"), "birch")


async def _pull(settings: Settings, peer: Peer, client: object, count: int) -> None:
    """Polls until all is read and held; the admin process takes the objects out of the queue meanwhile."""
    queue, polls, indicators = ReceivedQueue(client), Polls(client), Indicators(client)  # type: ignore[arg-type]
    before, began = await _used(client), time.perf_counter()
    full = 0
    while True:
        (polled,) = await Poller((), polls, queue).poll(peer)
        if polled.fault:
            full += 1
            await asyncio.sleep(0.2)
        elif not polled.unfinished:
            break
    _told("polled and queued", count, time.perf_counter() - began)
    while await indicators.count() < count:  # noqa: ASYNC110 - the admin process fills it
        await asyncio.sleep(0.05)
    _told("held, from the first poll on", count, time.perf_counter() - began)
    print(f"  state: {(await _used(client) - before) / 2**20:.0f} MiB more; the full queue was waited for {full} times")
    began = time.perf_counter()
    held = await indicators.all()
    _told("read by a worker", len(held), time.perf_counter() - began)


async def _used(client: object) -> int:
    return int((await client.info("memory"))["used_memory"])  # type: ignore[attr-defined]


def _told(what: str, count: int, seconds: float) -> None:
    print(f"  {what}: {count:,} in {seconds:.1f} s, {count / seconds:,.0f} a second")


def _indicator(number: int) -> NewObject:
    object_id = f"indicator--{uuid.UUID(int=number, version=4)}"
    now_us = time.time_ns() // 1_000_000_000 * 1_000_000
    at = times.version(now_us - 86_400_000_000)
    body = {
        "type": "indicator", "spec_version": "2.1", "id": object_id, "created": at, "modified": at,
        "created_by_ref": f"identity--{uuid.UUID(int=1, version=4)}", "confidence": 70,
        "pattern": f"[autonomous-system:number = {number}]", "pattern_type": "stix",
        "valid_from": at, "valid_until": times.version(now_us + 14 * 86_400_000_000),
        "object_marking_refs": ["marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003"],
    }  # fmt: skip
    return NewObject(object_id, now_us - 86_400_000_000, orjson.dumps(body))


if __name__ == "__main__":
    sys.exit(main())
