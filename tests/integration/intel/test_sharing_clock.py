"""What waits of sharing shows in the metrics: peers that are not read, received objects, our words, over a real state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.admin.sharing_clock import SharingClock
from app.intel.taxii.client import TaxiiClient
from app.intel.taxii.peers import Peer
from app.intel.taxii.poller import Poller
from app.state.intel_outgoing import Outgoing
from app.state.intel_polls import Poll, Polls
from app.state.intel_published import Publications
from app.state.intel_received import ReceivedQueue
from app.telemetry import metrics

HOUR_US = 3_600_000_000


@pytest.fixture
def peers(site: Any, tmp_path: Path) -> tuple[Peer, Peer, Peer]:
    """One that answers, one whose address nobody serves, and a feed."""
    (tmp_path / "secret").write_text(site.acme)
    secret = str(tmp_path / "secret")
    return (
        Peer("good", "labs", f"{site.server.url}/taxii2/", secret, interval_sec=5),
        Peer("gone", "labs", "http://127.0.0.1:1/taxii2/", secret, interval_sec=5),
        Peer("paper", "labs", "http://127.0.0.1:1/feed", "", kind="feed", interval_sec=86_400),
    )


@pytest.fixture
async def clock(site: Any, peers: tuple[Peer, ...]) -> AsyncIterator[SharingClock]:
    """Runs alone: that of the site's own process is stopped, and so is who takes received objects."""
    await site.server.app.state.sharing_clock.stop()
    await site.server.app.state.taking.stop()
    state = site.state
    made = SharingClock(peers, Polls(state), ReceivedQueue(state), Outgoing(state), Publications(state))
    made.start()
    yield made
    await made.stop()


def shown(name: str, **labels: str) -> float:
    """A metric as it is scraped."""
    value = metrics.REGISTRY.get_sample_value(f"stillwatch_{name}", labels)
    assert value is not None, name
    return value


async def _no_pause(_: float) -> None:
    """Attempts follow each other at once."""


async def test_unread_peers_are_overdue(site: Any, clock: SharingClock, peers: tuple[Peer, ...]) -> None:
    """A poll without fault counts and one with a fault does not, each peer by its own interval; one that was never read
    counts from the start."""
    polls = Polls(site.state)
    before_us = time.time_ns() // 1000 - HOUR_US
    for peer, entry in zip(peers, ("", "", "(feed)"), strict=True):
        await polls.put(peer.name, entry, Poll(good_us=before_us))
    await clock.look()
    assert all(3590 < shown("peer_overdue_seconds", peer=name) < 3690 for name in ("good", "gone"))
    assert shown("peer_overdue_seconds", peer="paper") == 0

    queue = ReceivedQueue(site.state)
    poller = Poller(peers, polls, queue, client=lambda peer: TaxiiClient(peer, pause=_no_pause))
    assert [one.fault for one in await poller.poll(peers[0])] == [""]
    assert [one.fault != "" for one in await poller.poll(peers[1])] == [True]
    await clock.look()
    assert shown("peer_overdue_seconds", peer="good") == 0
    assert shown("peer_overdue_seconds", peer="gone") > 3590


async def test_never_read_counts_from_start(clock: SharingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that no process has ever read becomes overdue as well."""
    await clock.look()
    assert shown("peer_overdue_seconds", peer="gone") == 0
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + HOUR_US * 1000)
    assert 3500 < shown("peer_overdue_seconds", peer="gone") < 3700


async def test_received_objects_wait(site: Any, clock: SharingClock) -> None:
    """Their number, and the age of the oldest of any sender; both go back to nothing once they are taken."""
    queue = ReceivedQueue(site.state)
    objects = [orjson.dumps(site.indicator(number)) for number in range(1, 4)]
    await queue.received("labs", "acme", objects[:2])
    await asyncio.sleep(0.02)
    await queue.received("labs", "birch", objects[2:])
    await clock.look()
    assert shown("shared_waiting") == 3
    oldest = (await queue.read("labs", "acme", 1))[0].received_us
    assert await queue.oldest_us() == oldest
    assert shown("shared_waiting_seconds") >= 0.02
    for member in ("acme", "birch"):
        waiting = await queue.read("labs", member)
        await queue.done("labs", member, waiting[-1].entry_id)
    await clock.look()
    assert shown("shared_waiting") == shown("shared_waiting_seconds") == 0


async def test_words_wait_for_peers(site: Any, clock: SharingClock, peers: tuple[Peer, ...]) -> None:
    """Those of all peers are counted, and the oldest says for how long."""
    outgoing = Outgoing(site.state)
    await outgoing.put(peers[0].name, [b"{}"])
    await asyncio.sleep(0.02)
    await outgoing.put(peers[1].name, [b"{}", b"{}"])
    await clock.look()
    assert shown("shared_unsent", what="words") == 3
    assert 0.02 <= shown("shared_unsent_seconds", what="words") < 60
    assert shown("shared_unsent", what="publications") == shown("shared_unsent_seconds", what="publications") == 0
    for peer in peers:
        await outgoing.done(peer.name, await outgoing.read(peer.name, 10))
    await clock.look()
    assert shown("shared_unsent", what="words") == shown("shared_unsent_seconds", what="words") == 0
