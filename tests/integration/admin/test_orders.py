"""A person acts about keys: seen before, in force with the next request, undone to exactly what stood before."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from app.limits.limiter import Ask, Decision
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
REASON = "one of the campaign of November"


def _order(*keys: str, action: str = "throttle", **more: Any) -> dict[str, Any]:
    return {
        "subjects": {"keys": list(keys)},
        "action": action,
        "ttl_sec": 3600,
        "reason_code": "extraction",
        "reason": REASON,
        **more,
    }


async def _decide(services: Any, key_id: str = KEY) -> Decision:
    ask = Ask(key_id, "", "default", "m", 10, 20, f"r{time.monotonic_ns()}")
    decision: Decision = await services.core.limiter.decide(ask)
    if decision.admitted:
        services.core.limiter.settle(decision.reservation, input_tokens=1, output_tokens=1, event=None)
    return decision


async def _stored(desk: Any, key_id: str = KEY) -> tuple[bytes | None, int]:
    """What `decide` reads, and its remaining life to the second."""
    name = PartitionKeys(partition_of(key_id, 4)).verdict(key_id)
    return await desk.state.get(name), await desk.state.ttl(name)


async def _flagged(desk: Any, *keys: str, level: Level = Level.SUSPECT) -> None:
    for key_id in keys:
        await desk.judged(key_id, level, 0.9, at_us=time.time_ns() // 1000)


async def test_an_order_acts_with_the_next_request_in_shadow_mode_too(desk: Any, gateway: Any) -> None:
    """A suspended key is blocked, and the order tells who, why, until when; undone, the key passes again."""
    await desk.judged(KEY, Level.WATCH, 0.6, at_us=time.time_ns() // 1000)
    async with gateway("shadow") as services:
        assert (await _decide(services)).admitted
        made = await desk.call("POST", "/v1/orders", json=_order(KEY, action="suspend"))
        assert made.status_code == 201, made.text
        order = made.json()["orders"][0]
        assert not (await _decide(services)).admitted
        assert await desk.get(f"/v1/orders/{order['ref']}") == order
        listed = (await desk.get("/v1/orders"))["orders"]
        assert [(one["key_id"], one["action"], one["by"], one["reason"]) for one in listed] == [
            (KEY, "suspend", "bootstrap", REASON)
        ]
        undone = await desk.call("DELETE", f"/v1/orders/{order['ref']}?reason=a+slip+of+mine")
        assert undone.json() == {"ref": order["ref"], "status": "undone", "keys": 1, "reinstated": None}
        async with asyncio.timeout(5):  # a gateway also blocks by its copy of all orders, which follows within moments
            while not (await _decide(services)).admitted:  # noqa: ASYNC110 - a gateway offers no event
                await asyncio.sleep(0.02)
    assert (await desk.get(f"/v1/orders/{order['ref']}"))["standing"] is False
    assert (await desk.get("/v1/orders"))["orders"] == []
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    told = [(item["what"], item["note"]) for item in changes[:2]]
    assert told == [("order_ended", "a slip of mine"), ("order", REASON)]


async def test_undo_puts_back_exactly_what_policy_asked_for(desk: Any) -> None:
    """The string that decides and its remaining life are those of before; a verdict that came meanwhile is not lost."""
    await _flagged(desk, KEY)
    before, life = await _stored(desk)
    assert before is not None
    made = (await desk.call("POST", "/v1/orders", json=_order(KEY, action="cap"))).json()
    ordered, _ = await _stored(desk)
    assert ordered is not None
    assert b"|cap|" in ordered
    assert b"|person|" in ordered
    await desk.call("DELETE", f"/v1/orders/{made['orders'][0]['ref']}")
    after, life_after = await _stored(desk)
    assert after == before
    assert abs(life - life_after) < 30


async def test_undoing_an_order_that_replaced_another_reinstates_that(desk: Any) -> None:
    """The first order stands again with its reference and end; the second one is gone."""
    await _flagged(desk, KEY)
    first = (await desk.call("POST", "/v1/orders", json=_order(KEY))).json()["orders"][0]
    before, _ = await _stored(desk)
    second = (await desk.call("POST", "/v1/orders", json=_order(KEY, action="observe", reason_code="agreement"))).json()
    assert second["orders"][0]["replaces"] == first["ref"]
    undone = (await desk.call("DELETE", f"/v1/orders/{second['orders'][0]['ref']}")).json()
    assert undone["reinstated"] == first["ref"]
    assert await _stored(desk) == (before, pytest.approx(3600, abs=30))
    assert (await desk.get(f"/v1/orders/{first['ref']}"))["standing"] is True
    assert (await desk.call("DELETE", f"/v1/orders/{second['orders'][0]['ref']}")).status_code == 409


async def test_an_order_and_its_end_are_their_persons(desk: Any) -> None:
    """The timeline has action, reference, end and the names of who gave and who undid, and what stands again."""
    await _flagged(desk, KEY)
    ann, bob = await desk.token("approver", "ann"), await desk.token("analyst", "bob")
    first = (await desk.as_(ann, "POST", "/v1/orders", json=_order(KEY, action="suspend"))).json()["orders"][0]
    second = (await desk.as_(bob, "POST", "/v1/orders", json=_order(KEY, action="cap"))).json()["orders"][0]
    assert second["reinstates"] == {"ref": first["ref"], "action": "suspend", "until": first["until"], "by": "ann"}
    assert (await desk.get(f"/v1/keys/{KEY}"))["order"] == second
    await desk.as_(bob, "DELETE", f"/v1/orders/{second['ref']}", params={"reason": "a slip"})
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"][:3]
    told = [(item["what"], item["action"], item["ref"], item["by"], item["note"], item["until"]) for item in changes]
    assert told == [
        ("order_ended", "suspend", second["ref"], "bob", "a slip", first["until"]),
        ("order", "cap", second["ref"], "bob", REASON, second["until"]),
        ("order", "suspend", first["ref"], "ann", REASON, first["until"]),
    ]


async def test_all_orders_about_a_key_end_at_once(desk: Any) -> None:
    """What stood and what it had replaced never return; what policy asked for is done again. Without one it is a 404."""
    await _flagged(desk, KEY)
    before, _ = await _stored(desk)
    path = f"/v1/orders?key_id={KEY}&reason=case+closed"
    assert (await desk.call("DELETE", path)).status_code == 404
    refs = []
    for action in ("throttle", "cap", "suspend"):
        made = await desk.call("POST", "/v1/orders", json=_order(KEY, action=action))
        refs.insert(0, made.json()["orders"][0]["ref"])
    assert (await desk.call("DELETE", path)).json() == {"key_id": KEY, "ended": refs}
    assert (await _stored(desk))[0] == before
    assert (await desk.get("/v1/orders"))["orders"] == []
    record = (await desk.get("/v1/audit"))["records"][0]
    assert (record["action"], record["reason"], record["before"]) == ("order.end_all", "case closed", {"orders": refs})


async def test_unknown_keys_are_named_and_nothing_is_done(desk: Any) -> None:
    """One sentence names the keys that nobody knows; the known one is left as it was."""
    await _flagged(desk, KEY)
    before = await _stored(desk)
    answer = await desk.call("POST", "/v1/orders", json=_order(KEY, OTHER, "ab" * 16))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.subjects.keys"
    assert OTHER in answer.json()["detail"]
    assert "ab" * 16 in answer.json()["detail"]
    assert KEY not in answer.json()["detail"]
    assert await _stored(desk) == before
    assert (await desk.get("/v1/orders"))["orders"] == []
    assert (await desk.get("/v1/audit"))["records"] == []


async def test_a_key_with_an_account_can_be_ordered_about_before_it_is_seen(desk: Any, gateway: Any) -> None:
    """A leaked credential of a known customer is blocked before its first request."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"org_id": "acme"})
    answer = await desk.call("POST", "/v1/orders", json=_order(KEY, action="suspend", reason_code="leaked_key"))
    assert answer.status_code == 201, answer.text
    async with gateway("shadow") as services:
        ask = Ask(KEY, "acme", "default", "m", 10, 20, "r1")
        assert not (await services.core.limiter.decide(ask)).admitted


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"reason": "too short"}, "body.reason"),
    ({"reason": "x" * 501}, "body.reason"),
    ({"reason": "two lines\nof a reason"}, "body.reason"),
    ({"reason_code": "mood"}, "body.reason_code"),
    ({"ttl_sec": None}, "body.ttl_sec"),
    ({"ttl_sec": 59}, "body.ttl_sec"),
    ({"ttl_sec": 30 * 86_400 + 1}, "body.ttl_sec"),
    ({"action": "delete"}, "body.action"),
    ({"factor": 0}, "body.factor"),
    ({"subjects": {}}, "body.subjects"),
    ({"subjects": {"keys": [KEY], "org_id": "acme"}}, "body.subjects"),
    ({"subjects": {"keys": [KEY, KEY]}}, "body.subjects"),
    ({"subjects": {"keys": []}}, "body.subjects.keys"),
    ({"subjects": {"keys": ["x"]}}, "body.subjects.keys.0"),
    ({"subjects": {"org_id": "nobody"}}, "body.subjects"),
    ({"subjects": {"match": {"at_least": "clear"}}}, "body.subjects.match.at_least"),
    ({"until": 5}, "body.until"),
]


async def test_an_order_that_breaks_a_rule_is_refused_with_field_and_rule(desk: Any) -> None:
    """Reason, kind of reason, end and subjects are needed and bounded; otherwise nothing is done."""
    for change, field in BROKEN:
        answer = await desk.call("POST", "/v1/orders", json={**_order(KEY), **change})
        assert answer.status_code == 422, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [field], change
    assert (await desk.get("/v1/audit"))["records"] == []


async def test_a_repeated_request_with_a_name_is_carried_out_once(desk: Any) -> None:
    """The repetition has the same answer and says so; another body under the same name is refused."""
    await _flagged(desk, KEY)
    headers = {"idempotency-key": "ticket-4711-a"}
    first = await desk.call("POST", "/v1/orders", json=_order(KEY), headers=headers)
    again = await desk.call("POST", "/v1/orders", json=_order(KEY), headers=headers)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    other = await desk.call("POST", "/v1/orders", json=_order(KEY, action="cap"), headers=headers)
    assert other.status_code == 422
    assert len((await desk.get("/v1/audit"))["records"]) == 1
    bad = await desk.call("POST", "/v1/orders", json=_order(KEY), headers={"idempotency-key": "x"})
    assert bad.json()["errors"][0]["field"] == "header.idempotency_key"


async def test_a_refused_request_frees_its_name(desk: Any) -> None:
    """What was refused was not done, so the same name may be used for the corrected request."""
    headers = {"idempotency-key": "ticket-4711-b"}
    assert (await desk.call("POST", "/v1/orders", json=_order(KEY), headers=headers)).status_code == 422
    await _flagged(desk, KEY)
    assert (await desk.call("POST", "/v1/orders", json=_order(KEY), headers=headers)).status_code == 201


async def test_a_preview_tells_the_effect_and_does_nothing(desk: Any) -> None:
    """Keys, organisations, accounts, payers, levels, what is done already, and who is on the allow-list by name."""
    keys = [f"{number:032x}" for number in range(4)]
    await _flagged(desk, keys[0], keys[1])
    await _flagged(desk, keys[2], level=Level.CONFIRMED)
    await desk.judged(keys[3], Level.CLEAR, 0.1, at_us=time.time_ns() // 1000)
    await desk.call("PUT", f"/v1/accounts/{keys[0]}", json={"payment_id": "00ff"})
    made = (await desk.call("POST", "/v1/orders", json=_order(keys[1], action="cap"))).json()
    answer = await desk.call("POST", "/v1/orders:preview", json={"subjects": {"keys": keys}, "action": "suspend"})
    told = answer.json()
    assert (told["keys"], told["with_account"], told["paying"], told["ordered"]) == (4, 1, 1, 1)
    assert told["levels"] == {"unjudged_or_clear": 1, "watch": 0, "suspect": 2, "confirmed": 1}
    assert told["already"] == {"throttle": 2, "cap": 1, "observe": 1}
    assert told["needs_second_person"] is False
    assert any("means of payment" in sentence for sentence in told["warnings"])
    assert [one["ref"] for one in (await desk.get("/v1/orders"))["orders"]] == [made["orders"][0]["ref"]]


async def test_a_match_stands_for_the_keys_that_match(desk: Any) -> None:
    """Level, score and beginning of the id choose; all of them are undone by the one id of the bulk order."""
    await _flagged(desk, KEY, OTHER)
    await desk.judged("ab" * 16, Level.WATCH, 0.6, at_us=time.time_ns() // 1000)
    subjects = {"match": {"at_least": "suspect", "min_score": 0.5}}
    made = (await desk.call("POST", "/v1/orders", json={**_order(KEY), "subjects": subjects})).json()
    assert {one["key_id"] for one in made["orders"]} == {KEY, OTHER}
    assert all(one["bulk"] == made["bulk"] for one in made["orders"])
    bulk = await desk.get(f"/v1/proposals/{made['bulk']}")
    assert (bulk["status"], bulk["keys"], bulk["done"], bulk["skipped"]) == ("done", 2, 2, 0)
    undone = await desk.call("DELETE", f"/v1/orders/{made['bulk']}")
    assert (undone.status_code, undone.json()["status"]) == (200, "undone")
    assert (await desk.get("/v1/orders"))["orders"] == []
    assert (await desk.call("DELETE", f"/v1/orders/{made['bulk']}")).status_code == 409


async def test_orders_are_listed_by_action_person_and_key(desk: Any) -> None:
    """Each filter leaves what fits; a page beyond what there is has no successor."""
    await _flagged(desk, KEY, OTHER)
    await desk.call("POST", "/v1/orders", json=_order(KEY, action="cap"))
    await desk.call("POST", "/v1/orders", json=_order(OTHER))
    for params, keys in (
        ({}, {KEY, OTHER}),
        ({"action": "cap"}, {KEY}),
        ({"by": "bootstrap"}, {KEY, OTHER}),
        ({"by": "nobody"}, set()),
        ({"key_id": OTHER}, {OTHER}),
        ({"key_id": OTHER, "action": "cap"}, set()),
    ):
        page = await desk.get("/v1/orders", params=params)
        assert {one["key_id"] for one in page["orders"]} == keys, params
        assert page["next_cursor"] is None
    await desk.get("/v1/orders", status=422, params={"cursor": "x"})
    await desk.get("/v1/orders/sw-nothing", status=404)


async def test_a_lift_is_an_order_that_can_be_looked_up_and_undone(desk: Any) -> None:
    """The short form shows in the list as observe; its reference undoes it as DELETE of the lift would."""
    await _flagged(desk, KEY)
    before, _ = await _stored(desk)
    assert (await desk.call("POST", f"/v1/keys/{KEY}:lift", json={"reason": "agreed"})).status_code == 200
    listed = (await desk.get("/v1/orders"))["orders"]
    assert [(one["action"], one["reason"]) for one in listed] == [("observe", "agreed")]
    assert (await desk.get(f"/v1/orders/{listed[0]['ref']}"))["key_id"] == KEY
    assert (await desk.call("DELETE", f"/v1/orders/{listed[0]['ref']}")).status_code == 200
    assert (await _stored(desk))[0] == before
