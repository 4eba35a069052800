"""Search over keys, and the page of one: what an analyst reads before anything is done."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from app.admin import searching
from app.state.keys import partition_of
from detectors.contract import Level

KEY = "0123456789abcdef" * 2
ORG, OTHER_ORG = "acme", "umbrella"
LEVELS = (Level.CLEAR, Level.WATCH, Level.SUSPECT, Level.CONFIRMED)


async def _fill(desk: Any, count: int = 24) -> dict[str, dict[str, Any]]:
    """Keys of two organisations and of none, on two plans, at all levels: key id → what is known about it."""
    known = {}
    now_us = time.time_ns() // 1_000_000 * 1000  # the list of keys has milliseconds
    for number in range(count):
        key_id = f"{number % 3:x}{number:031x}"
        level, org = LEVELS[number % 4], (ORG, OTHER_ORG, "")[number % 3]
        plan = "team" if number % 2 else ""
        if org or plan:
            await desk.call("PUT", f"/v1/accounts/{key_id}", json={"org_id": org, "plan": plan})
        seen_us = now_us - number * 60_000_000
        score = round(number / count, 3)
        await desk.judged(key_id, level, score, at_us=seen_us, partition=partition_of(org or key_id, 4))
        known[key_id] = {"level": level, "org": org, "plan": plan or "default", "score": score, "seen_us": seen_us}
    return known


async def _found(desk: Any, **params: Any) -> list[str]:
    return [item["key_id"] for page in await desk.pages(**params) for item in page]


def _at(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()


async def test_each_condition_narrows_and_none_reorders(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the page size, and however little one answer may look at: each key that fits once, in the list's order."""
    known = await _fill(desk)
    by_time = sorted(known, key=lambda key_id: -known[key_id]["seen_us"])
    middle = _at(known[by_time[10]]["seen_us"])
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"org_id": ORG}, [key for key in by_time if known[key]["org"] == ORG]),
        ({"plan": "team"}, [key for key in by_time if known[key]["plan"] == "team"]),
        (
            {"plan": "default", "org_id": OTHER_ORG},
            [k for k in by_time if (known[k]["plan"], known[k]["org"]) == ("default", OTHER_ORG)],
        ),
        ({"action": "throttle"}, [key for key in by_time if known[key]["level"] >= Level.SUSPECT]),
        ({"action": "observe"}, [key for key in by_time if known[key]["level"] < Level.SUSPECT]),
        ({"min_score": 0.3, "max_score": 0.6}, [key for key in by_time if 0.3 <= known[key]["score"] <= 0.6]),
        ({"seen_after": middle}, by_time[:11]),
        ({"seen_before": middle}, by_time[11:]),
        ({"q": "1"}, sorted(key for key in known if key.startswith("1"))),
    ]
    for size in (1, 5, 100):
        for params, expected in cases:
            assert await _found(desk, limit=size, **params) == expected, (params, size)
    flagged = await _found(desk, level="flagged", org_id=ORG)
    assert flagged == sorted(
        (key for key in known if known[key]["org"] == ORG and known[key]["level"] >= Level.SUSPECT),
        key=lambda key: (-known[key]["level"], -known[key]["score"]),
    )
    monkeypatch.setattr(searching, "_PAGE", 3)
    monkeypatch.setattr(searching, "MAX_SCANNED", 3)
    for params, expected in cases:
        assert await _found(desk, limit=2, **params) == expected, params
    one = (await desk.get("/v1/keys", params={"q": by_time[2]}))["keys"][0]
    assert (one["org_id"], one["plan"], one["action"]) == ("", "default", "throttle")
    assert one["ref"].startswith("sw-")
    await desk.get("/v1/keys", status=422, params={"min_score": 2})
    await desk.get("/v1/keys", status=422, params={"organisation": ORG})


async def test_a_page_says_what_speaks_for_the_key(desk: Any, gateway: Any) -> None:
    """Contract, age, payment, allow-list, granted appeals; the order and who gave it; flags and appeals by reference."""
    now_us = time.time_ns() // 1000
    made = _at(now_us - 100 * 86_400_000_000)
    account = {"org_id": ORG, "payment_id": "card-hash", "authorised": ["evaluation"], "created_at": made}
    await desk.call("PUT", f"/v1/accounts/{KEY}", json=account)
    await desk.judged(KEY, Level.SUSPECT, 0.9, at_us=now_us - 5_000_000, partition=partition_of(ORG, 4))
    async with gateway("enforce"):
        page = await desk.get(f"/v1/keys/{KEY}")
        assert (page["action"]["action"], page["action"]["by"], page["action"]["held_back"]) == ("throttle", "policy", None)
        assert page["flags"][0]["ref"] == page["action"]["ref"]
        assert (page["order"], page["allowed"], page["appeals"]) == (None, None, [])
        counter = page["counter_evidence"]
        assert (counter["authorised"], counter["has_payment"], counter["times_flagged"]) == (["evaluation"], True, 1)
        assert counter["account_age_days"] == pytest.approx(100, abs=0.1)
        filed = await desk.call("POST", "/v1/appeals", json={"ref": page["action"]["ref"], "text": "CANARY"})
        decided = {"outcome": "overturned", "note": "a benchmark, as the contract says", "release": "observe"}
        await desk.call("POST", f"/v1/appeals/{filed.json()['id']}:decide", json=decided)
        entry = {"owner": "sales", "reason": "contract 4711 covers evaluation", "expires": _at(now_us + 86_400_000_000)}
        await desk.call("PUT", f"/v1/allow/org:{ORG}", json=entry)
        page = await desk.get(f"/v1/keys/{KEY}")
        assert (page["action"]["action"], page["asked_by_policy"]) == ("observe", "throttle")
        assert (page["order"]["action"], page["order"]["reason_code"], page["order"]["by"]) == (
            "observe",
            "appeal",
            "bootstrap",
        )
        assert (page["allowed"]["subject"], page["allowed"]["owner"]) == (f"org:{ORG}", "sales")
        assert page["appeals"] == [
            {"id": filed.json()["id"], "ref": filed.json()["ref"], "filed": filed.json()["filed"], "status": "overturned"}
        ]
        counter = page["counter_evidence"]
        assert (counter["allow_listed"], counter["appeals_granted"], counter["benign_labels"]) == (True, 1, 1)
        assert "CANARY" not in str(page)
