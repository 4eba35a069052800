"""Campaigns over a real state server: what is told about one, one action about all members, and who inherits it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from app.admin.ordering import now_us
from app.settings import EnforcementSettings
from app.state.campaigns import CampaignStore, Written
from app.state.orders import Orders
from app.worker import worker as worker_module
from app.worker.inherit import Inheritance, inherit
from detectors.campaign.contract import Campaign, Evidence, Member, Turn
from detectors.contract import Level

ID, OTHER = "c-0123456789ab", "c-ba9876543210"
KEYS = [f"{number:032x}" for number in range(1, 131)]
T0 = 1_790_000_000_000_000
WHY = {"reason": "one operation, a dozen of them were looked at"}
BODY = {"action": "throttle", "mode": "real", "ttl_sec": 3600, "reason_code": "extraction", **WHY}


def group(keys: Sequence[str], campaign_id: str = ID, level: Level = Level.SUSPECT, **more: Any) -> Campaign:
    """A campaign of these keys."""
    members = [
        Member(key_id, f"org{at % 3}", T0, 0.9, ("template", "payment"), 40, 7, T0) for at, key_id in enumerate(keys)
    ]
    made = Campaign(
        id=campaign_id,
        level=level,
        score=0.97,
        first_us=T0,
        since_us=T0,
        at_us=T0,
        flagged_us=T0,
        members=tuple(members),
        evidence=(Evidence("template", "what", 5.5, 0.97, 0.001, "97 % of the keys share a template"),),
        organisations=3,
        requests=40 * len(keys),
        leaked=123,
        template=(b"\x01\x02\x03\x04", b"\xff\x00"),
        history=(Turn(T0, "formed", len(keys)), Turn(T0 + 60_000_000, "level", 0, "", "suspect")),
    )
    return structs.replace(made, **more)


async def store(desk: Any, *campaigns: Campaign) -> None:
    """Stores campaigns as the linker does, and nothing about keys that have left."""
    held = CampaignStore(desk.state)
    before = {one.id: one for one in await held.all()}
    joined = [(one.id, member.key_id) for one in campaigns for member in one.members]
    left = [
        (one.id, member.key_id)
        for one in campaigns
        if one.id in before
        for member in before[one.id].members
        if (one.id, member.key_id) not in joined
    ]
    written = Written(T0, campaigns, joined, left, [one.id for one in campaigns])
    assert await held.write(await held.state(), written) is not None


async def known(desk: Any, keys: Sequence[str]) -> None:
    """These keys have an account."""
    for at, key_id in enumerate(keys):
        answer = await desk.call("PUT", f"/v1/accounts/{key_id}", json={"org_id": f"org{at % 3}"})
        assert answer.status_code in (200, 201, 204), answer.text


async def settle(desk: Any, policy: EnforcementSettings | None = None, *, later_sec: int = 0) -> Any:
    """What the worker does after a pass."""
    found = await CampaignStore(desk.state).all()
    inheritance = Inheritance(desk.state, desk.settings)
    return await inherit(inheritance, found, policy or EnforcementSettings(), now_us() + later_sec * 1_000_000)


async def ordered(desk: Any) -> dict[str, dict[str, Any]]:
    """Key id → the order that stands."""
    return {one["key_id"]: one for one in (await desk.get("/v1/orders", params={"limit": 500}))["orders"]}


async def shares(desk: Any) -> dict[str, str | None]:
    """Member → state of its share."""
    page = await desk.get(f"/v1/campaigns/{ID}/members", params={"limit": 500})
    return {one["key_id"]: one["share"] and one["share"]["state"] for one in page["members"]}


async def act(desk: Any, **more: Any) -> Any:
    """Act about the campaign."""
    return await desk.call("POST", f"/v1/campaigns/{ID}:act", json={**BODY, **more})


@pytest.fixture
async def five(desk: Any) -> Any:
    """A desk with a campaign of five known keys."""
    await known(desk, KEYS[:5])
    await store(desk, group(KEYS[:5]))
    return desk


async def test_a_campaign_tells_its_evidence_timeline_and_template(five: Any) -> None:
    """With the share of honest keys beside each channel; one that is not there, or was merged, says so."""
    (head,) = (await five.get("/v1/campaigns"))["campaigns"]
    assert (head["id"], head["level"], head["keys"], head["act"]) == (ID, "suspect", 5, None)
    found = await five.get(f"/v1/campaigns/{ID}")
    assert (found["evidence"][0]["share"], found["evidence"][0]["honest"]) == (0.97, 0.001)
    assert [turn["what"] for turn in found["timeline"]] == ["level", "formed"]
    assert found["template"] == [["0102", "0304"], ["ff00"]]
    assert (found["leaked"], found["organisations"]) == (123, 3)
    missing = await five.call("GET", f"/v1/campaigns/{OTHER}")
    assert (missing.status_code, "No campaign has this id" in missing.json()["detail"]) == (404, True)
    await store(five, group([], merged_into=OTHER), group(KEYS[:5], OTHER, Level.WATCH))
    assert (await five.get(f"/v1/campaigns/{ID}"))["merged_into"] == OTHER
    refused = await act(five)
    assert (refused.status_code, OTHER in refused.json()["detail"]) == (409, True)
    assert (await five.get("/v1/campaigns"))["campaigns"] == []
    watched = (await five.get("/v1/campaigns", params={"at_least": "watch", "ended": True}))["campaigns"]
    assert [one["id"] for one in watched] == [ID, OTHER]


async def test_lists_are_paged_and_no_member_is_lost(desk: Any) -> None:
    """Pages of any size, over the pages in which members are stored."""
    keys = [f"{number:032x}" for number in range(1, 1_101)]
    await store(desk, group(keys), group(KEYS[:2], OTHER, Level.CONFIRMED))
    first = await desk.get("/v1/campaigns", params={"limit": 1})
    second = await desk.get("/v1/campaigns", params={"limit": 1, "cursor": first["next_cursor"]})
    assert [first["campaigns"][0]["id"], second["campaigns"][0]["id"], second["next_cursor"]] == [OTHER, ID, None]
    found, cursor = [], ""
    while cursor is not None:
        page = await desk.get(f"/v1/campaigns/{ID}/members", params={"limit": 300, "cursor": cursor})
        found += [one["key_id"] for one in page["members"]]
        cursor = page["next_cursor"]
    assert found == keys
    assert (await desk.call("GET", f"/v1/campaigns/{ID}/members", params={"cursor": "x"})).status_code == 422


async def test_a_key_says_which_campaign_it_belongs_to_and_why(desk: Any) -> None:
    """On the key's own page; null where it belongs to none."""
    await desk.judged(KEYS[0], Level.WATCH)
    await desk.judged(KEYS[7], Level.WATCH)
    await store(desk, group(KEYS[:5]))
    found = (await desk.get(f"/v1/keys/{KEYS[0]}"))["campaign"]
    assert (found["id"], found["keys"], found["channels"]) == (ID, 5, ["template", "payment"])
    assert (await desk.get(f"/v1/keys/{KEYS[7]}"))["campaign"] is None


async def test_one_action_is_about_all_members_but_those_excused_and_one_undo_takes_it_back(five: Any) -> None:
    """The preview counts what is done; the allow-list and contracts are left out; every change is in the audit log."""
    entry = {"owner": "sales", "reason": "a partner of long standing", "expires": "2027-06-01T00:00:00Z"}
    allowed = await five.call("PUT", f"/v1/allow/key:{KEYS[0]}", json=entry)
    assert allowed.status_code in (200, 201, 202), allowed.text
    await five.call("PUT", f"/v1/accounts/{KEYS[1]}", json={"org_id": "org1", "authorised": ["evaluation"]})
    one = {"subjects": {"keys": [KEYS[2]]}, "action": "cap", "ttl_sec": 7200, "reason_code": "other", **WHY}
    before = (await five.call("POST", "/v1/orders", json=one)).json()["orders"][0]["ref"]
    seen = await five.call("POST", f"/v1/campaigns/{ID}:preview", json={"action": "throttle"})
    effect = seen.json()
    assert (effect["members"], effect["keys"], effect["ordered"]) == (5, 3, 1)
    assert (effect["left_out_allowed"], effect["left_out_contract"]) == (1, 1)
    assert effect["sentence"].startswith("It would affect 3 of 5 keys, 3 organisations")
    assert len(await ordered(five)) == 1
    made = await act(five)
    assert (made.status_code, made.json()["keys"], made.json()["left_out"]) == (201, 3, 2)
    orders = await ordered(five)
    assert {key_id: one["action"] for key_id, one in orders.items()} == dict.fromkeys(KEYS[2:5], "throttle")
    assert {one["bulk"] for one in orders.values()} == {made.json()["act"]["bulk"]}
    assert (await act(five)).status_code == 409
    undone = await five.call("DELETE", f"/v1/campaigns/{ID}:act", params={"reason": "wrong"})
    assert (undone.status_code, undone.json()["act"]["status"]) == (200, "ended")
    assert {key_id: one["ref"] for key_id, one in (await ordered(five)).items()} == {KEYS[2]: before}
    assert (await five.call("DELETE", f"/v1/campaigns/{ID}:act")).status_code == 409
    records = (await five.get("/v1/audit"))["records"]
    assert {"campaign.act", "campaign.undo"} <= {record["action"] for record in records}


async def test_shadow_does_nothing_and_is_replaced_by_a_real_action(five: Any) -> None:
    """It is known whom it would be about; those who join are known too, and never become real by themselves."""
    made = await act(five, mode="shadow")
    assert (made.status_code, made.json()["act"]["bulk"]) == (201, None)
    await store(five, group(KEYS[:6]))
    await known(five, KEYS[5:6])
    await settle(five)
    await settle(five, later_sec=3599 - 5)
    assert await shares(five) == dict.fromkeys(KEYS[:6], "shadow")
    assert await ordered(five) == {}
    assert (await act(five)).status_code == 201
    assert set(await ordered(five)) == set(KEYS[:6])


async def test_many_keys_wait_for_a_second_person(desk: Any) -> None:
    """Proposed as a bulk order is; nothing is done, and nobody inherits, before another person approves."""
    await known(desk, KEYS)
    await store(desk, group(KEYS[:-1]))
    ann, bob = await desk.token("analyst", "ann"), await desk.token("approver", "bob")
    suspended = await desk.as_(ann, "POST", f"/v1/campaigns/{ID}:act", json={**BODY, "action": "suspend"})
    assert suspended.status_code == 403
    made = await desk.as_(ann, "POST", f"/v1/campaigns/{ID}:act", json=BODY)
    assert (made.status_code, made.json()["act"]["status"]) == (202, "proposed")
    await store(desk, group(KEYS))
    await settle(desk)
    assert await ordered(desk) == {}
    bulk = made.json()["act"]["bulk"]
    assert (await desk.as_(ann, "POST", f"/v1/proposals/{bulk}:approve", json=WHY)).status_code == 403
    assert (await desk.as_(bob, "POST", f"/v1/proposals/{bulk}:approve", json=WHY)).status_code == 202
    async with asyncio.timeout(30):
        while (await desk.get(f"/v1/proposals/{bulk}"))["status"] != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert set(await ordered(desk)) == set(KEYS[:-1])
    await settle(desk)
    assert (await shares(desk))[KEYS[-1]] == "shadow"
    undone = await desk.as_(bob, "DELETE", f"/v1/campaigns/{ID}:act")
    assert (undone.status_code, undone.json()["act"]["status"], undone.json()["keys"]) == (202, "ending", len(KEYS))
    refused = await act(desk)
    assert (refused.status_code, "still being taken back" in refused.json()["detail"]) == (409, True)
    await until_ended(desk)
    assert await ordered(desk) == {}
    assert set((await shares(desk)).values()) == {None}
    assert (await act(desk)).status_code == 202


async def until_ended(desk: Any) -> None:
    """Behind the answer an action is taken back about one key after the other."""
    async with asyncio.timeout(60):
        while (await desk.get(f"/v1/campaigns/{ID}"))["act"]["status"] != "ended":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_two_thousand_keys_are_acted_about_and_let_go_behind_answers_that_come_at_once(desk: Any) -> None:
    """Whoever joined meanwhile is let go too, and what an admin process that stops has not done, the linker does."""
    keys = [f"{number:032x}" for number in range(1, 2_101)]
    lines = "".join(f'{{"key_id": "{key_id}", "org_id": "org{at % 700}"}}\n' for at, key_id in enumerate(keys))
    kind = {"content-type": "application/x-ndjson"}
    assert (await desk.call("POST", "/v1/accounts:import", content=lines, headers=kind)).status_code == 200
    await store(desk, group(keys[:2000]))
    effect = (await desk.call("POST", f"/v1/campaigns/{ID}:preview", json={"action": "throttle"})).json()
    assert (effect["keys"], effect["organisations"]) == (2000, 700)
    assert (await act(desk, mode="shadow")).json()["keys"] == 2000
    made = await act(desk)
    assert (made.status_code, made.json()["keys"]) == (202, 2000)
    bulk, bob = made.json()["act"]["bulk"], await desk.token("approver", "bob")
    assert (await desk.as_(bob, "POST", f"/v1/proposals/{bulk}:approve", json=WHY)).status_code == 202
    seen = set()
    async with asyncio.timeout(60):
        while (found := await desk.get(f"/v1/proposals/{bulk}"))["status"] != "done":
            seen.add(found["done"])
            await asyncio.sleep(0.02)
    assert len(seen) > 3  # it tells how far it is
    await store(desk, group(keys))
    quick = EnforcementSettings.model_validate({"campaigns": {"inherit_shadow_sec": 0}})
    assert (await settle(desk, quick)).given == 100
    assert len(await Orders(desk.state).get_many(keys)) == 2100
    undone = await desk.call("DELETE", f"/v1/campaigns/{ID}:act", params={"reason": "wrong"})
    assert (undone.status_code, undone.json()["keys"]) == (202, 2100)
    acting = desk.server._acting
    await acting.stop()  # it is stopped in the middle
    assert await Orders(desk.state).get_many(keys) != {}
    await settle(desk)
    assert await Orders(desk.state).get_many(keys) == {}
    assert (await desk.get(f"/v1/campaigns/{ID}"))["act"]["ended_by"] == "bootstrap"
    await acting.start()
    await until_ended(desk)


async def test_a_key_that_joins_inherits_in_shadow_first_and_one_that_leaves_loses_it(five: Any) -> None:
    """Real after its time, with the end of the action itself; a second attempt of a pass changes nothing."""
    await act(five)
    await known(five, KEYS[5:7])
    await store(five, group(KEYS[1:7]))
    done = await settle(five)
    assert (done.joined, done.given, done.ended) == (2, 0, 1)
    assert (await settle(five)).joined == 0
    assert set(await ordered(five)) == set(KEYS[1:5])
    short = EnforcementSettings.model_validate({"campaigns": {"inherit_shadow_sec": 3600}})
    assert (await settle(five, short, later_sec=3590)).given == 0
    await store(five, group(KEYS[1:8]))
    await known(five, KEYS[7:8])
    quick = EnforcementSettings.model_validate({"campaigns": {"inherit_shadow_sec": 0}})
    assert (await settle(five, quick)).given == 1
    orders = await ordered(five)
    assert set(orders) == {*KEYS[1:5], KEYS[7]}
    assert len({one["until"] for one in orders.values()}) == 1
    assert len({one["bulk"] for one in orders.values()}) == 1
    again = await settle(five, quick)
    assert (again.joined, again.given, again.ended) == (0, 0, 0)
    assert await ordered(five) == orders


async def test_a_persons_word_about_one_key_holds(five: Any) -> None:
    """Confirmed it is real at once; lifted it stays out; another order about it is never replaced by inheritance."""
    await act(five)
    await known(five, KEYS[5:8])
    await store(five, group(KEYS[:8]))
    await settle(five)
    where = f"/v1/campaigns/{ID}/members"
    confirmed = await five.call("POST", f"{where}/{KEYS[5]}:confirm", json=WHY)
    assert (confirmed.status_code, confirmed.json()["share"]["state"]) == (200, "real")
    assert (await five.call("POST", f"{where}/{KEYS[6]}:lift", json=WHY)).json()["share"]["state"] == "lifted"
    assert (await five.call("POST", f"{where}/{KEYS[0]}:lift", json=WHY)).json()["share"]["state"] == "lifted"
    assert (await five.call("POST", f"{where}/{KEYS[20]}:lift", json=WHY)).status_code == 404
    one = {"subjects": {"keys": [KEYS[7]]}, "action": "observe", "ttl_sec": 7200, "reason_code": "agreement", **WHY}
    await five.call("POST", "/v1/orders", json=one)
    acts = Inheritance(five.state, five.settings).acts
    act_now = await acts.of(ID)
    assert act_now is not None
    due = {key_id: structs.replace(one, real_us=1) for key_id, one in (await acts.shares(act_now.id)).items()}
    await acts.put_shares(act_now, due)  # their time in shadow is over
    await settle(five)
    orders = await ordered(five)
    assert set(orders) == {*KEYS[1:6], KEYS[7]}
    assert orders[KEYS[7]]["action"] == "observe"


async def test_the_undo_of_the_bulk_order_ends_what_was_inherited_too(five: Any) -> None:
    """Whichever undo a person finds, nothing of it is left after the next pass, and it does not begin again."""
    bulk = (await act(five)).json()["act"]["bulk"]
    await known(five, KEYS[5:6])
    await store(five, group(KEYS[:6]))
    quick = EnforcementSettings.model_validate({"campaigns": {"inherit_shadow_sec": 0}})
    await settle(five, quick)
    assert set(await ordered(five)) == set(KEYS[:6])
    assert (await five.call("DELETE", f"/v1/orders/{bulk}")).status_code == 200
    await settle(five, quick)
    assert await ordered(five) == {}
    await settle(five, quick)
    assert await ordered(five) == {}
    assert (await five.get(f"/v1/campaigns/{ID}"))["act"]["status"] == "ended"


async def test_when_the_action_ends_by_itself_nobody_inherits_it(five: Any) -> None:
    """After its time a key that joins gets nothing."""
    await act(five, ttl_sec=60)
    await known(five, KEYS[5:6])
    await store(five, group(KEYS[:6]))
    off = {"suspect": {"action": "observe"}}
    done = await settle(five, EnforcementSettings.model_validate({"campaigns": off}), later_sec=61)
    assert (done.joined, done.given) == (0, 0)
    assert (await five.get(f"/v1/campaigns/{ID}"))["act"]["status"] == "ended"


async def test_policy_acts_in_shadow_by_default_and_for_real_only_when_told_so(five: Any) -> None:
    """A soft throttle by the linker, undone like any; what a person took back does not come again at the same level."""
    await settle(five)
    act_now = (await five.get(f"/v1/campaigns/{ID}"))["act"]
    assert (act_now["by"], act_now["mode"], act_now["action"]) == ("linker", "shadow", "throttle")
    assert await ordered(five) == {}
    rule = {"action": "throttle", "mode": "enforce", "factor": 0.5}
    policy = EnforcementSettings.model_validate({"mode": "enforce", "campaigns": {"suspect": rule, "confirmed": rule}})
    await settle(five, policy)
    orders = await ordered(five)
    assert {(one["by"], one["action"], one["factor"]) for one in orders.values()} == {("linker", "throttle", 0.5)}
    assert set(orders) == set(KEYS[:5])
    await settle(five, policy)
    assert await ordered(five) == orders
    assert (await five.call("DELETE", f"/v1/campaigns/{ID}:act", params={"reason": "ours"})).status_code == 200
    await settle(five, policy)
    assert await ordered(five) == {}
    await store(five, group(KEYS[:5], level=Level.CONFIRMED))
    await settle(five, policy)
    assert set(await ordered(five)) == set(KEYS[:5])
    await settle(five)  # the policy is back in shadow
    assert await ordered(five) == {}


async def test_a_campaign_that_is_merged_keeps_its_action_about_its_own_keys(five: Any) -> None:
    """Those of the other campaign get nothing from it."""
    await act(five)
    await known(five, KEYS[5:8])
    await store(five, group([], merged_into=OTHER), group(KEYS[1:8], OTHER, Level.WATCH))
    quick = EnforcementSettings.model_validate({"campaigns": {"inherit_shadow_sec": 0}})
    await settle(five, quick)
    assert set(await ordered(five)) == set(KEYS[1:5])


async def test_an_action_goes_on_while_the_linker_knows_nothing(five: Any) -> None:
    """Campaigns that were lost, or not yet read, take no order away."""
    await act(five)
    done = await inherit(Inheritance(five.state, five.settings), [], EnforcementSettings(), time.time_ns() // 1000)
    assert done.ended == 0
    assert set(await ordered(five)) == set(KEYS[:5])


async def test_the_worker_that_links_lets_new_members_inherit(five: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real worker with the linker's lease gives a share to who joined, and takes the order from who left."""
    monkeypatch.setattr(worker_module, "INHERIT_CHECK_SEC", 0.1)
    await act(five)
    await known(five, KEYS[5:6])
    await store(five, group(KEYS[1:6]))
    stop = asyncio.Event()
    worker = worker_module.Worker(five.state, five.settings, worker_module.load_analysis(five.settings), "w1")
    task = asyncio.create_task(worker.run(stop))
    try:
        async with asyncio.timeout(30):
            while (await shares(five))[KEYS[5]] != "shadow" or KEYS[0] in await ordered(five):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await task
    assert set(await ordered(five)) == set(KEYS[1:5])
