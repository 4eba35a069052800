"""Why something was done about a key: flags as they were stored, scored again, and as statements of reasons."""

from __future__ import annotations

import time
from typing import Any

from app.enforcement.policy import decode_verdict, reference
from app.state.keys import PartitionKeys, partition_of
from app.state.partition import MAX_FLAGS
from detectors.contract import Level

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
NOW_US = 1_790_000_000_000_000
PARTITIONS = 4


async def _ref(desk: Any, key_id: str = KEY) -> str:
    """The reference that the customer sees."""
    action = decode_verdict(await desk.state.get(PartitionKeys(partition_of(key_id, PARTITIONS)).verdict(key_id)))
    assert action is not None
    return str(action.ref)


async def test_a_flag_is_found_by_key_and_by_the_customers_reference(desk: Any) -> None:
    """The reference in the action is that of the record, and a key that was never flagged has none."""
    await desk.judged(KEY, Level.WATCH, 0.6, at_us=NOW_US)
    await desk.judged(KEY, Level.SUSPECT, 0.9, at_us=NOW_US + 9_000_000, was=Level.WATCH)
    await desk.judged(OTHER, Level.CLEAR)
    flags = (await desk.get(f"/v1/keys/{KEY}/flags"))["flags"]
    assert [(flag["was"], flag["level"], flag["measure"]["action"]) for flag in flags] == [
        ("watch", "suspect", "throttle"),
        ("clear", "watch", "observe"),
    ]
    assert flags[0]["ref"] == await _ref(desk)
    assert flags[0]["features"]
    assert (await desk.get(f"/v1/keys/{OTHER}/flags"))["flags"] == []
    one = await desk.get(f"/v1/keys/{KEY}/flags/{flags[0]['ref']}")
    assert {name: one[name] for name in flags[0]} == flags[0]
    assert one["now"]["comparable"]
    assert not one["now"]["same_model"]
    named = {scorer["scorer"]: scorer for scorer in one["now"]["scorers"]}
    assert named["rules"]["score_then"] == 0.9  # a scorer of then that this model does not have
    assert named["rules"]["score_now"] is None
    assert named["probe"]["version_then"] == ""
    await desk.get(f"/v1/keys/{OTHER}/flags/{flags[0]['ref']}", status=404)
    await desk.get(f"/v1/keys/{KEY}/flags/nonsense", status=422)


async def test_records_are_bounded_and_outlive_the_profile(desk: Any) -> None:
    """A key keeps the newest 20 for 400 days; without its profile and index entry they are still told."""
    for number in range(MAX_FLAGS + 2):
        await desk.judged(KEY, Level.WATCH, 0.5, at_us=NOW_US + number * 1_000_000)
    names = PartitionKeys(partition_of(KEY, PARTITIONS))
    assert await desk.state.llen(names.flags(KEY)) == MAX_FLAGS
    assert await desk.state.ttl(names.flags(KEY)) > 399 * 86_400
    ref = await _ref(desk)
    assert await desk.state.ttl(names.reference(ref)) > 399 * 86_400
    await desk.state.delete(names.seen, names.profile("k", KEY), names.timeline(KEY), names.verdict(KEY))
    await desk.get(f"/v1/keys/{KEY}", status=404)
    assert len((await desk.get(f"/v1/keys/{KEY}/flags"))["flags"]) == MAX_FLAGS
    assert (await desk.get(f"/v1/actions/{ref}/reasons"))["ref"] == ref


async def test_an_automatic_action_has_a_statement_of_reasons(new_desk: Any) -> None:
    """As JSON and as Markdown by header or parameter, stable over later verdicts; the customer's view names no detector."""
    url = "https://provider.example/appeal"
    async with new_desk(STILLWATCH_ENFORCEMENT__APPEAL_URL=url, STILLWATCH_ADMIN__APPEAL_SLA_HOURS="48") as desk:
        await desk.judged(KEY, Level.SUSPECT, 0.9, at_us=NOW_US)
        ref = await _ref(desk)
        path = f"/v1/actions/{ref}/reasons"
        told = await desk.get(path)
        assert (told["ref"], told["automated_detection"], told["automated_decision"]) == (ref, True, True)
        assert url in told["redress"][0]
        assert "48 hours" in told["redress"][1]
        assert told["internal"] == []
        page = await desk.call("GET", path, headers={"accept": "text/markdown"})
        assert page.headers["content-type"] == "text/markdown; charset=utf-8"
        assert told["measure"] in page.text
        assert "skeleton" not in page.text + str(told)
        internal = await desk.call("GET", path, params={"format": "md", "audience": "internal"})
        assert "skeleton\\_top\\_share" in internal.text
        await desk.judged(KEY, Level.CONFIRMED, 0.99, at_us=NOW_US + 60_000_000, was=Level.SUSPECT)
        assert await desk.get(path) == told
        assert await desk.get(path, params={"format": "json", "audience": "customer"}) == told
        await desk.get(f"/v1/actions/{reference(KEY, 1)}/reasons", status=404)
        await desk.get(path, status=422, params={"audience": "press"})


async def test_an_order_has_a_statement_of_reasons_too(desk: Any) -> None:
    """Also after it was undone; the customer reads what kind of reason it was, never the note or the name."""
    await desk.judged(KEY, Level.SUSPECT, 0.9, at_us=time.time_ns() // 1000 - 5_000_000)
    order = {
        "subjects": {"keys": [KEY]},
        "action": "suspend",
        "ttl_sec": 3600,
        "reason_code": "extraction",
        "reason": "seen by Ann in case 12",
    }
    placed = (await desk.call("POST", "/v1/orders", json=order)).json()["orders"][0]
    path = f"/v1/actions/{placed['ref']}/reasons"
    told = await desk.get(path)
    assert told["measure"] == "Requests with this key are refused."
    assert (told["automated_detection"], told["automated_decision"]) == (True, False)
    assert "case 12" not in str(told)
    assert "bootstrap" not in str(told)
    internal = {fact["name"]: fact["text"] for fact in (await desk.get(path, params={"audience": "internal"}))["internal"]}
    assert internal["ordered by"] == "bootstrap"
    assert internal["reason"] == "extraction: seen by Ann in case 12"
    assert internal["level"].startswith("clear → suspect")  # the flag it rests on
    await desk.call("DELETE", f"/v1/orders/{placed['ref']}", params={"reason": "it was a mistake"})
    assert await desk.get(path) == told
