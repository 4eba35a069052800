"""Appeals over the API: filed, decided by somebody else, released, remembered as labels; a customer's words stay apart."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from app.enforcement.policy import decode_verdict
from app.errors import StateUnavailable
from app.state.keys import PartitionKeys, partition_of
from app.state.labels import Labels
from detectors.contract import Level

KEY = "0123456789abcdef" * 2
WORDS = "CANARY-WORDS: we only run evaluations.\nPlease look again."
NOTE = "runs a public benchmark, seen in its repository"


async def _action(desk: Any, key_id: str = KEY) -> Any:
    data = await desk.state.get(PartitionKeys(partition_of(key_id, 4)).verdict(key_id))
    return None if data is None else decode_verdict(data)


async def _flagged(desk: Any, key_id: str = KEY, seconds_ago: int = 5) -> str:
    await desk.judged(key_id, Level.SUSPECT, 0.9, at_us=time.time_ns() // 1000 - seconds_ago * 1_000_000)
    return str((await _action(desk, key_id)).ref)


async def _file(desk: Any, ref: str, status: int = 201) -> Any:
    answer = await desk.call("POST", "/v1/appeals", json={"ref": ref, "contact": "case 77", "text": WORDS})
    assert answer.status_code == status, answer.text
    return answer.json()


async def _decide(desk: Any, appeal: Any, token: str, status: int = 200, **asked: Any) -> Any:
    body = {"note": NOTE, **asked}
    answer = await desk.as_(token, "POST", f"/v1/appeals/{appeal['id']}:decide", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_an_overturned_flag_becomes_a_benign_label_and_frees_the_key(desk: Any) -> None:
    """One call: decided, labelled, and an order that nothing be done, under a reference of its own."""
    ref = await _flagged(desk)
    appeal = await _file(desk, ref)
    assert (appeal["status"], appeal["ref"], appeal["key_id"], appeal["overdue"]) == ("open", ref, KEY, False)
    await _file(desk, ref, status=409)
    detail = await desk.get(f"/v1/appeals/{appeal['id']}")
    assert (detail["text"], detail["contact"]) == (WORDS, "case 77")
    assert detail["statement"]["audience"] == "internal"
    analyst = await desk.token("analyst", name="Ann")
    done = await _decide(desk, appeal, analyst, outcome="overturned", release="observe", hours=48)
    assert (done["status"], done["decided_by"], done["label"]) == ("overturned", "Ann", "benign")
    action = await _action(desk)
    assert (action.action, action.by) == ("observe", "person")
    assert 47 * 3600 < action.until_us / 1e6 - time.time() < 49 * 3600
    order = await desk.get(f"/v1/orders/{action.ref}")
    assert (order["reason_code"], order["by"], order["reason"]) == ("appeal", "Ann", NOTE)
    (label,) = (await desk.get("/v1/labels", params={"key_id": KEY}))["labels"]
    assert (label["label"], label["source"], label["ref"], label["weight"]) == ("benign", "appeal", appeal["id"], 1.0)
    assert label["since"] < label["until"]
    records = [one for one in (await desk.get("/v1/audit"))["records"] if one["action"].startswith("appeal.")]
    assert [(one["action"], one["outcome"]) for one in records] == [
        ("appeal.decide", "accepted"),
        ("appeal.file", "failed"),  # the second one about the same reference
        ("appeal.file", "accepted"),
        ("appeal.file", "accepted"),
    ]


async def test_a_decision_may_be_repeated_but_not_changed(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was missing behind a stored decision is done by the same call again; another decision is refused."""
    appeal = await _file(desk, await _flagged(desk))
    analyst = await desk.token("analyst", name="Ann")
    kept = Labels.add

    async def away(self: Labels, label: Any) -> None:
        raise StateUnavailable("labels: the state server did not answer")

    monkeypatch.setattr(Labels, "add", away)
    await _decide(desk, appeal, analyst, status=503, outcome="overturned", release="observe")
    assert (await desk.get(f"/v1/appeals/{appeal['id']}"))["status"] == "overturned"
    assert (await _action(desk)).action == "throttle"
    monkeypatch.setattr(Labels, "add", kept)
    for _ in range(2):
        await _decide(desk, appeal, analyst, outcome="overturned", release="observe")
    assert (await _action(desk)).action == "observe"
    assert len((await desk.get("/v1/labels"))["labels"]) == 1
    await _decide(desk, appeal, analyst, status=409, outcome="upheld")
    await _decide(
        desk, appeal, await desk.token("analyst", name="Bob"), status=409, outcome="overturned", release="observe"
    )


async def test_who_gave_an_order_does_not_decide_about_it(desk: Any) -> None:
    """Another person does, and the order ends with the decision; what policy asked for stands again."""
    await _flagged(desk)
    approver, other = await desk.token("approver", name="Ann"), await desk.token("analyst", name="Bob")
    body = {
        "subjects": {"keys": [KEY]},
        "action": "suspend",
        "ttl_sec": 3600,
        "reason_code": "fraud",
        "reason": "stolen card, says payments",
    }
    placed = (await desk.as_(approver, "POST", "/v1/orders", json=body)).json()["orders"][0]
    appeal = await _file(desk, placed["ref"])
    assert await desk.state.ttl(f"sw:{{ctl}}:of:{placed['ref']}") > 399 * 86_400  # as long as the appeal
    assert (appeal["by_person"], appeal["placed_by"], appeal["action"]) == (True, "Ann", "suspend")
    await _decide(desk, appeal, approver, status=403, outcome="upheld")
    await _decide(desk, appeal, other, status=422, outcome="upheld", release="end")
    done = await _decide(desk, appeal, other, outcome="partly", release="end")
    assert done["label"] == ""
    action = await _action(desk)
    assert (action.action, action.by) == ("throttle", "policy")
    assert (await desk.get("/v1/labels"))["labels"] == []
    again = await _file(desk, placed["ref"])  # another appeal about the same action may come
    await _decide(desk, again, other, status=422, outcome="overturned", release="end")  # the order stands no more
    assert (await _decide(desk, again, other, outcome="upheld"))["label"] == ""  # fraud says nothing about the use


async def _suspended(desk: Any, token: str, action: str = "suspend") -> Any:
    body = {
        "subjects": {"keys": [KEY]},
        "action": action,
        "ttl_sec": 3600,
        "reason_code": "extraction",
        "reason": "one of the campaign of November",
    }
    return (await desk.as_(token, "POST", "/v1/orders", json=body)).json()["orders"][0]


@pytest.mark.parametrize("release", ["none", "end", "observe"])
async def test_an_overturned_order_ends_for_good(desk: Any, release: str) -> None:
    """With whatever release; undoing the observe order that came of it brings back what policy asks for."""
    await _flagged(desk)
    ann, bob = await desk.token("approver", name="Ann"), await desk.token("analyst", name="Bob")
    placed = await _suspended(desk, ann)
    appeal = await _file(desk, placed["ref"])
    done = await _decide(desk, appeal, bob, outcome="overturned", release=release, hours=2)
    assert (done["release"], done["released_until"] is not None) == (release, release == "observe")
    if release == "observe":
        action = await _action(desk)
        assert action.action == "observe"
        undone = (await desk.as_(bob, "DELETE", f"/v1/orders/{action.ref}")).json()
        assert undone["reinstated"] is None
    action = await _action(desk)
    assert (action.action, action.by) == ("throttle", "policy")
    shown = await desk.get(f"/v1/orders/{placed['ref']}")
    assert (shown["standing"], shown["overturned"]) == (False, True)


async def test_an_overturned_order_beneath_another_never_returns(desk: Any) -> None:
    """Undoing what replaced it goes on to what it had replaced itself, and the order says so before."""
    await _flagged(desk)
    ann, bob = await desk.token("approver", name="Ann"), await desk.token("analyst", name="Bob")
    first = await _suspended(desk, ann, "cap")
    wrong = await _suspended(desk, ann)
    top = await _suspended(desk, ann, "step_up")
    assert top["reinstates"]["ref"] == wrong["ref"]
    await _decide(desk, await _file(desk, wrong["ref"]), bob, outcome="overturned")
    assert (await _action(desk)).ref == top["ref"]
    assert (await desk.get(f"/v1/orders/{top['ref']}"))["reinstates"]["ref"] == first["ref"]
    undone = (await desk.as_(bob, "DELETE", f"/v1/orders/{top['ref']}")).json()
    assert undone["reinstated"] == first["ref"]
    assert (await _action(desk)).action == "cap"


async def test_appeals_are_listed_with_their_clock(new_desk: Any) -> None:
    """Open ones first and the oldest at the top, then decided ones; late ones are overdue; the metrics say the same."""
    async with new_desk(STILLWATCH_ADMIN__APPEAL_SLA_HOURS="0.0001") as desk:
        keys = [f"{number:032x}" for number in range(5)]
        filed = [await _file(desk, await _flagged(desk, key_id)) for key_id in keys]
        analyst = await desk.token("analyst", name="Ann")
        for appeal in filed[:2]:
            await _decide(desk, appeal, analyst, outcome="upheld")
        order = [one["id"] for one in (*filed[2:], filed[1], filed[0])]
        for limit in (1, 2, 3, 4, 100):
            found, cursor = [], ""
            while True:
                page = await desk.get("/v1/appeals", params={"limit": limit, "cursor": cursor})
                found += [one["id"] for one in page["appeals"]]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert found == order
        waiting = (await desk.get("/v1/appeals", params={"status": "open"}))["appeals"]
        assert [one["id"] for one in waiting] == order[:3]
        await asyncio.sleep(0.4)
        assert all(one["overdue"] for one in (await desk.get("/v1/appeals", params={"status": "open"}))["appeals"])
        assert [one["id"] for one in (await desk.get("/v1/appeals", params={"status": "decided"}))["appeals"]] == order[3:]
        assert [one["id"] for one in (await desk.get("/v1/appeals", params={"key_id": keys[4]}))["appeals"]] == [
            filed[4]["id"]
        ]
        page = (await desk.call("GET", "/metrics")).text
        values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("stillwatch_appeal"))
        assert float(values["stillwatch_appeals_open"]) == 3
        assert 0.3 < float(values["stillwatch_appeal_oldest_seconds"]) < 60
        assert float(values['stillwatch_appeal_outcomes_total{outcome="upheld"}']) >= 2


async def test_a_customers_words_are_in_the_appeal_and_nowhere_else(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the list, the audit log, metrics, labels, timeline or a log; an unknown reference keeps nothing."""
    caplog.set_level(logging.DEBUG)
    appeal = await _file(desk, await _flagged(desk))
    await _decide(desk, appeal, await desk.token("analyst"), outcome="overturned", release="observe")
    for path in ("/v1/appeals", "/v1/audit", "/metrics", "/v1/labels", f"/v1/keys/{KEY}", f"/v1/keys/{KEY}/timeline"):
        assert "CANARY" not in (await desk.call("GET", path)).text, path
    answer = await desk.call("POST", "/v1/appeals", json={"ref": appeal["ref"], "text": "CANARY\x00"})
    assert answer.status_code == 422
    assert "CANARY" not in answer.text
    answer = await desk.call("POST", "/v1/appeals", json={"ref": "sw-aaaaaaaaaaaaa", "text": WORDS})
    assert answer.status_code == 404
    assert "CANARY" not in answer.text + caplog.text
    names = [name for name in await desk.state.keys("*") if await desk.state.type(name) == b"string"]
    held = [name.decode() for name in names if b"CANARY" in (await desk.state.get(name) or b"")]
    assert held == [f"sw:{{apl}}:w:{appeal['id']}"]


async def test_an_analyst_labels_a_key(desk: Any) -> None:
    """With a window, a weight and a reason that is on record; the key itself is left alone."""
    analyst, viewer = await desk.token("analyst", name="Ann"), await desk.token("viewer")
    body = {
        "key_id": KEY,
        "label": "abusive",
        "weight": 0.8,
        "since": "2026-09-01T00:00:00Z",
        "until": "2026-09-21T00:00:00Z",
        "reason": "its data was found in a published set",
    }
    made = await desk.as_(analyst, "POST", "/v1/labels", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["source"], made.json()["by"]) == ("analyst", "Ann")
    assert (await desk.get("/v1/labels"))["labels"] == [made.json()]
    assert (await desk.get("/v1/audit"))["records"][0]["action"] == "label.add"
    assert (await desk.as_(viewer, "POST", "/v1/labels", json=body)).status_code == 403
    assert (await desk.as_(viewer, "GET", "/v1/labels")).status_code == 403
    turned = {**body, "since": body["until"], "until": body["since"]}
    assert (await desk.as_(analyst, "POST", "/v1/labels", json=turned)).status_code == 422
    await desk.get(f"/v1/keys/{KEY}", status=404)


async def test_an_erased_key_leaves_no_appeal_and_no_label(desk: Any) -> None:
    """The customer's words go with the key's erasure at once, and so do its labels."""
    appeal = await _file(desk, await _flagged(desk))
    await _decide(desk, appeal, await desk.token("analyst"), outcome="overturned")
    await _file(desk, appeal["ref"])
    answer = await desk.call("POST", f"/v1/keys/{KEY}:erase", json={"reason": "asked for by the customer"})
    assert answer.status_code == 202, answer.text
    assert (await desk.get("/v1/appeals"))["appeals"] == []
    assert (await desk.get("/v1/labels"))["labels"] == []
    assert not [name for name in await desk.state.keys("sw:{apl}:*") if await desk.state.type(name) == b"string"]
