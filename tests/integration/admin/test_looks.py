"""The newest look at the whole fleet, as people see it."""

from __future__ import annotations

from typing import Any

from app.state.looks import LookStore
from app.state.ownership import Ownership
from app.state.partition import Batch, PartitionStore
from detectors.looks import DAY_US, DELAY_US, Ballot, Dated, Looks, encode
from detectors.model import rules_only

PARTITIONS = 4
KEYS = tuple(f"{number:032x}" for number in range(3))


async def _looked(desk: Any, look: Dated, ballots: dict[str, Ballot]) -> None:
    lease = await Ownership(desk.state, "tester", 60_000).acquire(0)
    assert lease is not None
    batch = Batch("0-0", "1-0")
    batch.ballots = {(look.number, key_id): encode(one) for key_id, one in ballots.items()}
    batch.ballot_model, batch.ballot_ttl_sec = rules_only().id, 1000
    await PartitionStore(desk.state, lease).commit(batch)
    store = LookStore(desk.state, PARTITIONS, rules_only().id)
    assert await store.write(await store.read(), Looks(past=(look,)))


async def test_the_newest_look_lists_whom_it_calls(desk: Any) -> None:
    """Before the first there is none; then frozen features, counts and the called keys, the smallest p-value first."""
    assert await desk.get("/v1/looks") == {"look": None, "honest_share": 0.05, "keys": []}
    assert (await desk.get("/v1/health"))["look"] is None
    look = Dated(20_000, 20_001 * DAY_US + DELAY_US, {"weekend_share": 1}, False, 150, 3, 2, 0.01)
    await _looked(desk, look, {key: Ballot("o", p) for key, p in zip(KEYS, (0.01, 0.5, 0.001), strict=True)})
    told = await desk.get("/v1/looks")
    assert told["look"]["until"] == "2024-10-05T00:00:00Z"
    assert told["look"]["counts_from"] == "2024-10-05T01:00:00Z"
    assert (told["look"]["frozen"], told["look"]["organisations"]) == (["weekend_share"], 150)
    assert [one["key_id"] for one in told["keys"]] == [KEYS[2], KEYS[0]]
    assert (await desk.get("/v1/health"))["look"] == told["look"]


async def test_an_old_reference_degrades_the_health(desk: Any) -> None:
    """More features moved than may be frozen: a sentence says what to do."""
    await _looked(desk, Dated(20_000, 20_001 * DAY_US + DELAY_US, {"weekend_share": 0}, True, 150, 3), {})
    health = await desk.get("/v1/health")
    assert health["status"] == "degraded"
    assert any("fit a new one" in problem for problem in health["problems"])
