"""With a fitted model each feature has its place among the peers, the same place that the verdict was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectors import model as models
from detectors.features import features

KEY = "0123456789abcdef" * 2
OTHERS = 24
EVENTS = 40


async def test_features_stand_among_their_peers(desk: Any, new_desk: Any, tmp_path: Path) -> None:
    """Percentiles are the model's own, between 0 and 100; health and verdict name the same model."""
    profiles = [desk.profile(f"{number:032x}", events=EVENTS + number) for number in range(1, OTHERS + 1)]
    rows = [features(profile, profile.last_at_us) for profile in profiles]
    model = models.fit(rows, [profile.entity_id for profile in profiles], seed=1)
    models.save(model, tmp_path / "model")
    async with new_desk(STILLWATCH_WORKER__MODEL_DIR=str(tmp_path / "model")) as fitted:
        await fitted.work([fitted.event(number, KEY) for number in range(EVENTS)])
        found = await fitted.get(f"/v1/keys/{KEY}")
        health = await fitted.get("/v1/health")
    groups = tuple(found["profile"]["peer_groups"])
    listed = {feature["name"]: feature for feature in found["features"]}
    for name, feature in listed.items():
        known = None if feature["value"] is None else model.percentile(name, feature["value"], groups)
        assert feature["peer_percentile"] == known
        assert known is None or 0 <= known <= 100
    assert sum(feature["peer_percentile"] is not None for feature in listed.values()) > 10
    assert health["model_id"] == found["verdict"]["model_id"] == model.id
