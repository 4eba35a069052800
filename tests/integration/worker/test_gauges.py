"""What a worker shows of itself besides counts."""

from __future__ import annotations

from typing import Any

from app.telemetry import metrics
from detectors.analysis import stored_verdict


def value(name: str, **labels: str) -> float:
    """Of one series, as it would be scraped now."""
    found = metrics.REGISTRY.get_sample_value(f"stillwatch_{name}", labels)
    assert found is not None
    return found


async def test_keys_and_what_leaked_are_what_is_stored(lab: Any) -> None:
    """Every key is counted at its level, and the leak counter grew by what the stored verdicts say was taken."""
    before = value("leaked_responses_total")
    await lab.fill(600)
    async with lab.worker(STILLWATCH_WORKER__LEASE_MS="1000"):
        await lab.until_applied()

        async def keys() -> float:
            return sum([value("keys", level=level) for level in metrics.LEVELS])

        await lab.until(keys, 12)
        names = [name async for name in lab.client.scan_iter("*:fk:*")]
        stored = {name: await lab.client.get(name) for name in names}
    verdicts = [stored_verdict(data, name.decode().rpartition(":")[2], "key") for name, data in stored.items()]
    leaked = sum(verdict.leaked for verdict in verdicts if verdict is not None)
    assert leaked > 0
    assert value("leaked_responses_total") - before == leaked


async def test_verdicts_are_fresh_while_the_worker_works(lab: Any) -> None:
    """The age stays near nothing, also while nothing arrives, and the model that judges is named."""
    async with lab.worker():
        await lab.fill(50)
        await lab.until_applied()
        assert value("verdict_age_seconds") < 5
        named = [
            sample.labels["model"]
            for family in metrics.REGISTRY.collect()
            if family.name == "stillwatch_model_info"
            for sample in family.samples
        ]
        assert named
        assert all(len(name) == 16 for name in named)
