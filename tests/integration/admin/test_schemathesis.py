"""Schemathesis asks everything that the description of the API allows, and much that it does not, over a real state.

About 25 s. Longer, with other seeds: `ADMIN_FUZZ_SEC=900 pytest -n 0 tests/integration/admin/test_schemathesis.py`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from app.admin import failures
from app.state.campaigns import CampaignStore, Written
from detectors.campaign.contract import Campaign, Member
from detectors.contract import Level

SECONDS = int(os.environ.get("ADMIN_FUZZ_SEC", "25"))
KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2

CAMPAIGN = "c-0123456789ab"

LEFT_OUT = "positive_data_acceptance"
"""The one check that is not run: it expects every request that fits its schema to be taken. Ours may be refused for what
no schema can say: a key that is unknown or has no order, a cursor of another list, a text that does not print."""


async def with_campaign(desk: Any, key_ids: tuple[str, ...]) -> None:
    """Stores a campaign of these keys."""
    members = tuple(Member(key_id, key_id, 1, 0.9) for key_id in key_ids)
    made = Campaign(CAMPAIGN, Level.CONFIRMED, 0.98, 1, 1, 1, members=members, template=(b"\x01\x02",))
    store = CampaignStore(desk.state)
    joined = [(CAMPAIGN, key_id) for key_id in key_ids]
    assert await store.write(await store.state(), Written(1, [made], joined, [], [CAMPAIGN])) is not None


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 180)
async def test_the_api_is_as_its_description_says(
    desk: Any, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fault, no undeclared status, type or shape of an answer, no bad data taken, no way around the token."""
    monkeypatch.setattr(failures, "BURST", 10**9)
    await desk.judged(KEY, Level.CONFIRMED, 0.99)
    await desk.judged(OTHER, Level.WATCH, 0.4)
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "team", "org_id": "acme"})
    await with_campaign(desk, (KEY, OTHER))
    announced = {"name": "shard", "profile": "words", "format": "text", "bytes": 1000, "sha256": "0" * 64}
    made = await desk.call("POST", "/v1/watermark/investigations", json={**announced, "reason": "to be asked about"})
    seed = [] if "ADMIN_FUZZ_SEC" in os.environ else ["--seed", "20261125"]
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "run", f"{desk.server.url}/v1/openapi.json",
        "--header", f"Authorization: Bearer {token}",
        "--checks", "all",
        "--exclude-checks", LEFT_OUT,
        "--max-time", str(SECONDS),
        "--continue-on-failure",
        "--suppress-health-check", "all",
        "--generation-database", "none",
        "--warnings", "off",
        "--no-color",
        *seed,
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "KNOWN_INVESTIGATION": made.json()["id"],
            "PYTHONPATH": str(Path(__file__).parent),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said = (await process.communicate())[0].decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said[-20_000:]
    assert "No issues found" in said or "passed" in said, said[-2000:]
