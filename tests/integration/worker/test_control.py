"""Workers follow policy and allow-list while they run."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.enforcement.policy import Action, decode_verdict
from app.state.control import AllowEntry, ControlStore
from app.state.keys import PartitionKeys, partition_of
from detectors.event import Event, encode

KEY = f"{4:032x}"
"""The key of the lab's traffic that sweeps log-probabilities."""


async def _asked(lab: Any) -> Action | None:
    found = await lab.client.get(PartitionKeys(partition_of(KEY, lab.partitions)).verdict(KEY))
    return decode_verdict(found or b"")


async def _sweep(lab: Any, first: int, count: int = 60) -> Event:
    """Appends exchanges of the key; returns the last one."""
    for number in range(first, first + count):
        event = msgspec.structs.replace(
            lab.event(number),
            key_id=KEY,
            org_id="",
            top_logprobs=5,
            logit_bias_size=20,
            logit_bias_digest=number,
            output_tokens=1,
            max_tokens=1,
        )
        await lab.client.xadd(lab.stream_of(event), {"e": encode(event)})
    return event


def _entry(expires_us: int) -> AllowEntry:
    return AllowEntry(
        subject=f"key:{KEY}",
        owner="trust",
        reason="ours",
        expires_us=expires_us,
        by="ann",
        created_us=time.time_ns() // 1000,
    )


async def test_a_new_policy_is_in_the_next_verdict(lab: Any) -> None:
    """A worker that runs writes what the policy of this moment asks for, and no restart is needed."""
    store = ControlStore(lab.client)
    async with lab.worker() as worker:
        await _sweep(lab, 0)
        await lab.until_applied()
        before = await _asked(lab)
        assert before is not None
        assert before.action == "throttle"
        level = before.level.name.lower()
        await store.set_policy(f'mode = "enforce"\n[{level}]\naction = "throttle"\nfactor = 0.0625\n')
        await lab.until(lambda: _factor(worker, level), 0.0625)
        await _sweep(lab, 60)
        await lab.until_applied()
        after = await _asked(lab)
        assert after is not None
        assert (after.level, after.factor, after.ref) == (before.level, 0.0625, before.ref)


async def _factor(worker: Any, level: str) -> float:
    factor: float = getattr(worker.control.policy, level).factor
    return factor


async def test_an_allowed_key_is_judged_and_only_observed_by_the_time_of_its_exchanges(lab: Any) -> None:
    """An entry that ended long ago by the clock still covers exchanges from before its end, and none from after it."""
    names = PartitionKeys(partition_of(KEY, lab.partitions))
    ends_us = lab.event(90).at_us  # of traffic that is months old
    assert ends_us < time.time_ns() // 1000
    await ControlStore(lab.client).allow_put(_entry(ends_us))
    async with lab.worker():
        last = await _sweep(lab, 0)
        assert last.at_us < ends_us
        await lab.until_applied()
        action = await _asked(lab)
        assert action is not None
        assert (action.action, action.level > 0) == ("observe", True)
        assert await lab.client.zscore(names.flagged, KEY) is not None
        await _sweep(lab, 100)
        await lab.until_applied()
        action = await _asked(lab)
        assert action is not None
        assert action.action == "throttle"
