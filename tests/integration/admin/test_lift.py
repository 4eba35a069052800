"""A mistake is undone in one call: the very next request is free of it, and no worker takes it up again meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import datetime
from typing import Any

import msgspec
import pytest

from app.limits.limiter import Ask, Decision
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level, Score, ScoreStatus
from detectors.event import Event

KEY = "0123456789abcdef" * 2
LIFT = f"/v1/keys/{KEY}:lift"
FORCED = (Score("forced_reasoning", "1", ScoreStatus.SCORED, 0.99),)
"""What a rule found that the use synthetic_data excuses, and evaluation does not."""


async def _decide(services: Any, org_id: str = "") -> Decision:
    ask = Ask(KEY, org_id, "default", "m", 10, 20, f"r{time.monotonic_ns()}")
    decision: Decision = await services.core.limiter.decide(ask)
    services.core.limiter.settle(decision.reservation, input_tokens=1, output_tokens=1, event=None)
    return decision


async def _flag(desk: Any, was: Level = Level.CONFIRMED) -> None:
    await desk.judged(KEY, Level.CONFIRMED, 0.97, was=was, at_us=time.time_ns() // 1000, scores=FORCED)


async def test_a_lift_acts_on_the_next_request_and_holds(desk: Any, gateway: Any) -> None:
    """A throttled key is free at once; later verdicts do not throttle it while the lift lasts, and its level stays."""
    async with gateway("enforce") as services:
        await _flag(desk, was=Level.CLEAR)
        assert (await _decide(services)).throttled
        answer = await desk.call("POST", LIFT, json={"reason": "agreed with the customer", "hours": 2})
        assert answer.status_code == 200
        decision = await _decide(services)
        assert decision.admitted
        assert not decision.throttled
        await _flag(desk)
        assert not (await _decide(services)).throttled
        page = await desk.get(f"/v1/keys/{KEY}")
        changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    assert page["hold"] == answer.json()
    assert page["hold"]["reason"] == "agreed with the customer"
    assert abs(datetime.fromisoformat(page["hold"]["until"]).timestamp() - time.time() - 7200) < 60
    assert (page["level"], page["action"]["mode"], page["action"]["would"]) == ("confirmed", "enforce", "observe")
    told = [(item["what"], item["who"], item["note"], item["action"], item["level"]) for item in changes]
    assert told == [
        ("lifted", "admin", "agreed with the customer", "observe", "confirmed"),
        ("level", "worker", "", "throttle", "confirmed"),
    ]
    assert changes[0]["until"] == page["hold"]["until"]


async def test_a_lift_is_its_persons(desk: Any) -> None:
    """Page, list, timeline and statement of reasons have the token's name and a reference; taking it back as well."""
    await _flag(desk, was=Level.CLEAR)
    ann, bob = await desk.token("analyst", "ann"), await desk.token("analyst", "bob")
    hold = (await desk.as_(ann, "POST", LIFT, json={"reason": "agreed with the customer"})).json()
    assert hold["by"] == "ann"
    order = await desk.get(f"/v1/orders/{hold['ref']}")
    assert (order["by"], order["action"], order["standing"], order["reinstates"]) == ("ann", "observe", True, None)
    assert [one["by"] for one in (await desk.get("/v1/orders"))["orders"]] == ["ann"]
    assert (await desk.get(f"/v1/actions/{hold['ref']}/reasons"))["measure"] == "Nothing is restricted."
    assert (await desk.as_(bob, "DELETE", LIFT)).status_code == 204
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    assert [(item["what"], item["by"], item["ref"]) for item in changes] == [
        ("lift_ended", "bob", hold["ref"]),
        ("lifted", "ann", hold["ref"]),
        ("level", "", ""),
    ]
    assert (await desk.get(f"/v1/orders/{hold['ref']}"))["standing"] is False


async def test_a_lift_ends_by_itself(desk: Any, gateway: Any) -> None:
    """After its time nothing holds the next verdict off, and the page shows no lift."""
    async with gateway("enforce") as services:
        await _flag(desk, was=Level.CLEAR)
        await desk.call("POST", LIFT, json={"reason": "for a moment", "hours": 0.3 / 3600})
        await asyncio.sleep(0.4)
        assert not (await _decide(services)).throttled
        await _flag(desk)
        assert (await _decide(services)).throttled
        assert (await desk.get(f"/v1/keys/{KEY}"))["hold"] is None


async def test_a_lift_can_be_taken_back(desk: Any, gateway: Any) -> None:
    """What policy asked for acts on the next request, bytes and life unchanged; there is nothing to take back twice."""
    async with gateway("enforce") as services:
        await _flag(desk, was=Level.CLEAR)
        verdict = PartitionKeys(partition_of(KEY, 4)).verdict(KEY)
        before, ends_ms = await desk.state.get(verdict), await desk.state.execute_command("PTTL", verdict)
        await desk.call("POST", LIFT, json={"reason": "a slip"})
        assert not (await _decide(services)).throttled
        assert (await desk.call("DELETE", LIFT)).status_code == 204
        assert (await _decide(services)).throttled
        assert await desk.state.get(verdict) == before
        assert ends_ms - 60_000 < await desk.state.execute_command("PTTL", verdict) <= ends_ms
        changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
        assert [item["what"] for item in changes] == ["lift_ended", "lifted", "level"]
        assert (await desk.call("DELETE", LIFT)).status_code == 404


async def test_an_account_that_allows_the_use_lifts_the_action_at_once(desk: Any, gateway: Any) -> None:
    """A use that excuses what was found frees the key with the PUT; another use, or none, changes nothing."""
    async with gateway("enforce") as services:
        await _flag(desk, was=Level.CLEAR)
        for uses, throttled in (([], True), (["evaluation"], True), (["evaluation", "synthetic_data"], False)):
            assert (await desk.call("PUT", f"/v1/accounts/{KEY}", json={"authorised": uses})).status_code == 200
            assert (await _decide(services)).throttled is throttled, uses
        await _flag(desk)  # of exchanges that were made before the gateways knew
        assert not (await _decide(services)).throttled
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    assert [(item["what"], item["who"]) for item in changes] == [("authorised", "admin"), ("level", "worker")]
    assert changes[0]["note"] == "the account allows evaluation and synthetic_data"


async def test_an_import_that_allows_the_use_lifts_the_action_at_once(desk: Any, gateway: Any) -> None:
    """Of the accounts of an import the flagged key is let go with the answer, as a PUT would do it."""
    other = "ab" * 16
    lines = f'{{"key_id":"{other}","authorised":["synthetic_data"]}}\n{{"key_id":"{KEY}","authorised":["synthetic_data"]}}'
    async with gateway("enforce") as services:
        await _flag(desk, was=Level.CLEAR)
        assert (await _decide(services)).throttled
        assert (await desk.call("POST", "/v1/accounts:import", content=lines.encode())).status_code == 200
        assert not (await _decide(services)).throttled


def _harvest(desk: Any, number: int, uses: tuple[str, ...]) -> Event:
    """An exchange of a key that forces reasoning into tags, as the worker reads it."""
    event: Event = desk.event(number, KEY)
    task = event.user_tail
    return msgspec.structs.replace(
        event,
        user_head=f"Think step by step inside <reasoning> tags before you answer inside <answer> tags.\n\nTask: {task}",
        answer_head="<reasoning> first this follows from that, and then the rest </reasoning><answer> 42 </answer>",
        output_tokens=700,
        authorised=uses,
    )


async def test_a_contract_that_comes_and_goes_is_in_the_timeline(desk: Any) -> None:
    """A real worker flags a harvest, stops acting with the first verdict under the contract, and acts again after it."""
    made = 0
    for uses, throttled in (((), True), (("synthetic_data",), False), ((), True)):
        await desk.work([_harvest(desk, number, uses) for number in range(made, made + 30)])
        made += 30
        stored = await desk.state.get(PartitionKeys(partition_of(KEY, 4)).verdict(KEY))
        assert (b"|throttle|" in stored) is throttled, stored
        assert (await desk.get(f"/v1/keys/{KEY}"))["verdict"]["authorised"] is not throttled
    changes = (await desk.get(f"/v1/keys/{KEY}/timeline"))["changes"]
    told = [(item["authorised"], item["action"]) for item in changes if item["level"] in ("suspect", "confirmed")]
    assert [fact for fact, _ in itertools.groupby(told)] == [(False, "throttle"), (True, "observe"), (False, "throttle")]
    assert "authorised" in [item["what"] for item in changes]  # the level stayed while the contract covered it


async def test_a_key_that_was_moved_is_lifted_where_it_goes_on(desk: Any, gateway: Any) -> None:
    """Between a change of organisation and the next exchange, the place that decides then is free too."""
    org = next(f"o{n}" for n in range(99) if partition_of(f"o{n}", 4) != partition_of(KEY, 4))
    async with gateway("enforce") as services:
        await _flag(desk, was=Level.CLEAR)
        await desk.call("PUT", f"/v1/accounts/{KEY}", json={"org_id": org})
        await desk.call("POST", LIFT, json={"reason": "moved"})
        assert not (await _decide(services)).throttled
        assert not (await _decide(services, org)).throttled
    assert await desk.state.exists(PartitionKeys(partition_of(org, 4)).order(KEY))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.reason"),
        ({"reason": " "}, "body.reason"),
        ({"reason": "two\nlines"}, "body.reason"),
        ({"reason": "x\x1b[2J"}, "body.reason"),
        ({"reason": "x" * 501}, "body.reason"),
        ({"reason": "x", "hours": 0}, "body.hours"),
        ({"reason": "x", "hours": 721}, "body.hours"),
        ({"reason": "x", "why": "y"}, "body.why"),
    ],
)
async def test_a_lift_needs_a_reason_and_an_end(desk: Any, body: dict[str, Any], field: str) -> None:
    """One line of at most 500 characters, and at most a month; otherwise nothing is lifted."""
    await _flag(desk, was=Level.CLEAR)
    answer = await desk.call("POST", LIFT, json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert (await desk.get(f"/v1/keys/{KEY}"))["hold"] is None


async def test_nothing_is_lifted_about_a_stranger(desk: Any) -> None:
    """A key that was never seen is a 404, and leaves nothing behind."""
    for method in ("POST", "DELETE"):
        assert (await desk.call(method, LIFT, json={"reason": "x"})).status_code == 404
    assert [name async for name in desk.state.scan_iter(f"*{KEY}*")] == []
