"""The ledger of marks, as people see it, and who does not."""

from __future__ import annotations

from typing import Any

import pytest

from app.state.keys import partition_of
from app.state.ownership import Ownership
from app.state.partition import Batch, MarkSum, PartitionStore

PARTITIONS = 4
KEY = "0123456789abcdef" * 2
AT_MS = 1_790_000_000_000


async def _marked(desk: Any, marks: dict[tuple[str, str], MarkSum], org: str = "") -> None:
    lease = await Ownership(desk.state, "tester", 60_000).acquire(partition_of(org or KEY, PARTITIONS))
    assert lease is not None
    await PartitionStore(desk.state, lease).commit(Batch("0-0", "1-0", marks=marks))


async def test_the_ledger_tells_what_a_key_has_taken_away(desk: Any) -> None:
    """By profile and epoch, the newest first, with the sums; from every partition in which an account had the key."""
    assert await desk.get(f"/v1/watermark/ledger/{KEY}") == {"key_id": KEY, "tokens": 0, "evidence": 0.0, "rows": []}
    old, new = (KEY, "live|2026q4"), (KEY, "live-2|2027q1")
    await _marked(desk, {old: MarkSum(3, 900, 135_000_000, AT_MS, AT_MS + 5000)})
    other = next(f"org{number}" for number in range(99) if partition_of(f"org{number}", 4) != partition_of(KEY, 4))
    await _marked(
        desk, {old: MarkSum(1, 100, -500_000, AT_MS - 1000, AT_MS), new: MarkSum(1, 7, 1, AT_MS, AT_MS + 9000)}, other
    )
    assert await desk.get(f"/v1/watermark/ledger/{KEY}") == {
        "key_id": KEY,
        "tokens": 1007,
        "evidence": 134.500001,
        "rows": [
            {
                "profile": "live-2",
                "epoch": "2027q1",
                "answers": 1,
                "tokens": 7,
                "evidence": 1e-6,
                "first_at": "2026-09-21T14:13:20Z",
                "last_at": "2026-09-21T14:13:29Z",
            },
            {
                "profile": "live",
                "epoch": "2026q4",
                "answers": 4,
                "tokens": 1000,
                "evidence": 134.5,
                "first_at": "2026-09-21T14:13:19Z",
                "last_at": "2026-09-21T14:13:25Z",
            },
        ],
    }


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("analyst", 200), ("auditor", 200)])
async def test_scores_are_for_those_who_investigate(desk: Any, role: str, status: int) -> None:
    """Who only looks at keys does not see them."""
    answer = await desk.as_(await desk.token(role), "GET", f"/v1/watermark/ledger/{KEY}")
    assert answer.status_code == status


async def test_what_is_no_key_id_is_said(desk: Any) -> None:
    """In the words of the API."""
    answer = await desk.get("/v1/watermark/ledger/xyz", 422)
    assert "must be 32 hex digits in lower case" in str(answer)
