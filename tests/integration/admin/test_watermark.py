"""Profiles, tags and campaigns' marks by API: what operators see and change, and what nobody sees."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from app.state.accounts import Account, AccountStore
from app.state.campaigns import CampaignStore, Written
from app.state.keys import AUDIT, partition_of
from app.state.mark_groups import MarkGroups
from app.state.ownership import Ownership
from app.state.partition import Batch, MarkSum, PartitionStore
from detectors.campaign.contract import Campaign, Member
from detectors.contract import Level
from detectors.watermark.keys import MasterSecret, from_wire, issued

KEYS = tuple(f"{number:032x}" for number in range(1, 5))
CAMPAIGN, OTHER = "c-0123456789ab", "c-ba9876543210"
SECRET = "5e" * 32
WHY = "what an auditor will want to know"


async def _campaign(desk: Any, keys: tuple[str, ...], level: Level = Level.CONFIRMED) -> None:
    members = tuple(Member(key_id, key_id, 1, 0.9) for key_id in keys)
    made = Campaign(CAMPAIGN, level, 0.98, 1, 1, 1, members=members)
    store = CampaignStore(desk.state)
    before = await store.state()
    left = [(CAMPAIGN, key) for key in KEYS if key not in keys] if before.revision else []
    assert await store.write(before, Written(1, [made], [(CAMPAIGN, key) for key in keys], left, [CAMPAIGN])) is not None


async def test_profiles_are_listed_without_secrets(desk: Any) -> None:
    """All profiles with a fingerprint where there is a secret; the secret is nowhere."""
    answer = await desk.call("GET", "/v1/watermark/profiles")
    rows = {one["id"]: (one["scheme"], one["secret"], one["in_force"]) for one in answer.json()["profiles"]}
    fingerprint = MasterSecret.parse(SECRET).fingerprint()
    assert rows == {
        "words": ("gumbel", fingerprint, False),
        "tokens": ("gumbel", fingerprint, False),
        "old": ("green", None, False),
    }
    assert SECRET not in answer.text


async def test_without_a_file_of_profiles_the_answer_says_so(new_desk: Any) -> None:
    """A 409 that names the setting."""
    async with new_desk(STILLWATCH_WATERMARK__PROFILES_FILE="/nowhere/profiles.json") as desk:
        answer = await desk.call("GET", "/v1/watermark/profiles")
        assert answer.status_code == 409
        assert answer.json()["detail"] == "watermark.profiles_file: No such file or directory."


async def test_a_tag_is_the_tenants_codeword(desk: Any) -> None:
    """With the group that it has, another one, or none; and the record says who asked and not what it is."""
    await MarkGroups(desk.state).put(KEYS[0], CAMPAIGN)
    secret = MasterSecret.parse(SECRET)
    codes = []
    for more, group in (({}, CAMPAIGN), ({"group": OTHER}, OTHER)):
        answer = await desk.call(
            "POST", "/v1/watermark/tags", json={"tenant": KEYS[0], "profile": "tokens", "reason": WHY, **more}
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["group"], body["engine"]) == (group, "vllm")
        fields = body["fields"]["vllm_xargs"]
        codes.append(fields["wm_code"])
        assert from_wire(fields["wm_code"], 128, 16).tolist() == issued(secret, KEYS[0], 128, 16, group).tolist()
    assert codes[0][:64] == codes[1][:64] != codes[0][64:]
    records = [fields[b"r"].decode() for _, fields in await desk.state.xrange(AUDIT)]
    made = [json.loads(record) for record in records if "watermark.tag" in record]
    assert [(record["subject"], record["reason"]) for record in made] == [(f"tenant:{KEYS[0]}", WHY)] * 2
    assert not any(code in record for code in codes for record in records)


async def test_a_tag_needs_a_profile_and_a_tenant(desk: Any) -> None:
    """Each fault is one field and one rule."""
    for body, field in (
        ({"tenant": KEYS[0], "reason": WHY}, "body.profile"),
        ({"tenant": KEYS[0], "profile": "none", "reason": WHY}, "body.profile"),
        ({"tenant": "two words", "profile": "words", "reason": WHY}, "body.tenant"),
        ({"tenant": KEYS[0], "profile": "words"}, "body.reason"),
    ):
        answer = await desk.call("POST", "/v1/watermark/tags", json=body)
        assert answer.status_code == 422
        assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_members_of_a_confirmed_campaign_share_a_mark(desk: Any) -> None:
    """Put, put again after some left and joined, and taken away; each member's mark follows."""
    groups = MarkGroups(desk.state)
    await groups.put(KEYS[1], OTHER)
    await _campaign(desk, KEYS[:2])
    answer = await desk.call("PUT", f"/v1/watermark/groups/{CAMPAIGN}", json={"reason": WHY})
    assert answer.json() == {"group": CAMPAIGN, "tenants": 2, "added": 2, "removed": 0, "moved": 1}
    assert await groups.all() == {KEYS[0]: CAMPAIGN, KEYS[1]: CAMPAIGN}
    await _campaign(desk, KEYS[1:4])
    answer = await desk.call("PUT", f"/v1/watermark/groups/{CAMPAIGN}", json={"reason": WHY})
    assert answer.json() == {"group": CAMPAIGN, "tenants": 3, "added": 2, "removed": 1, "moved": 0}
    assert await desk.get("/v1/watermark/groups") == {"groups": [{"group": CAMPAIGN, "tenants": 3}], "tenants": 3}
    answer = await desk.call("DELETE", f"/v1/watermark/groups/{CAMPAIGN}", params={"reason": WHY})
    assert answer.json()["removed"] == 3
    assert await groups.all() == {}
    assert (await desk.call("DELETE", f"/v1/watermark/groups/{CAMPAIGN}")).status_code == 404


async def test_a_campaign_that_is_not_confirmed_gets_no_mark(desk: Any) -> None:
    """Nor does one that nobody knows."""
    await _campaign(desk, KEYS[:2], Level.SUSPECT)
    answer = await desk.call("PUT", f"/v1/watermark/groups/{CAMPAIGN}", json={"reason": WHY})
    assert (answer.status_code, answer.json()["detail"][:27]) == (409, "This campaign is suspect; o")
    assert (await desk.call("PUT", f"/v1/watermark/groups/{OTHER}", json={"reason": WHY})).status_code == 404
    assert await MarkGroups(desk.state).all() == {}


async def test_organisations_share_it_where_those_have_the_marks(new_desk: Any) -> None:
    """With watermark.tenant = organisation the members' organisations are grouped, and keys without one."""
    async with new_desk(STILLWATCH_WATERMARK__TENANT="organisation") as desk:
        accounts = {KEYS[0]: Account(org_id="acme"), KEYS[1]: Account(org_id="acme"), KEYS[2]: Account()}
        await AccountStore(desk.state).import_many(accounts)
        await _campaign(desk, KEYS[:3])
        await desk.call("PUT", f"/v1/watermark/groups/{CAMPAIGN}", json={"reason": WHY})
        assert await MarkGroups(desk.state).all() == {"acme": CAMPAIGN, KEYS[2]: CAMPAIGN}


async def test_everybody_who_may_have_a_mark_is_told(desk: Any) -> None:
    """Accounts and members of campaigns with a mark of their own, each once; a viewer is not told."""
    await AccountStore(desk.state).import_many({KEYS[0]: Account(org_id="acme"), KEYS[1]: Account()})
    await MarkGroups(desk.state).put(KEYS[2], CAMPAIGN)
    await MarkGroups(desk.state).put(KEYS[0], CAMPAIGN)
    told = await desk.get("/v1/watermark/tenants")
    assert sorted(told["tenants"]) == list(KEYS[:3])
    assert told["groups"] == {KEYS[0]: CAMPAIGN, KEYS[2]: CAMPAIGN}
    assert (await desk.as_(await desk.token("viewer"), "GET", "/v1/watermark/tenants")).status_code == 403


async def test_codewords_and_campaigns_marks_are_for_operators(desk: Any) -> None:
    """An analyst may look at groups and make no tag; an approver may."""
    analyst, approver = [await desk.token(role) for role in ("analyst", "approver")]
    body = {"tenant": KEYS[0], "profile": "words", "reason": WHY}
    assert (await desk.as_(analyst, "GET", "/v1/watermark/groups")).status_code == 200
    assert (await desk.as_(analyst, "POST", "/v1/watermark/tags", json=body)).status_code == 403
    assert (await desk.as_(analyst, "PUT", f"/v1/watermark/groups/{CAMPAIGN}", json={"reason": WHY})).status_code == 403
    assert (await desk.as_(approver, "POST", "/v1/watermark/tags", json=body)).status_code == 200


@pytest.mark.parametrize("module", ["app.gateway.app", "app.gateway.middleware", "app.gateway.marking_exchange"])
def test_a_gateway_does_not_even_hold_what_finds_marks(module: str) -> None:
    """A fresh process that imports the gateway has loaded nothing that scans, judges or reports."""
    code = (
        f"import sys, {module}\n"
        "print([name for name in sys.modules if name.startswith('app.admin') or name in ("
        "'app.watermark.investigate', 'app.watermark.findings', 'app.watermark.report', 'app.watermark.scan', "
        "'detectors.watermark.attribution', 'detectors.watermark.evidence')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == "[]"


async def test_a_keys_page_tells_its_marks_to_investigators(desk: Any) -> None:
    """The sum of the ledger, to an analyst; a viewer sees the page without it, and nobody sees one that is empty."""
    await desk.judged(KEYS[0], Level.WATCH, 0.5)
    assert (await desk.get(f"/v1/keys/{KEYS[0]}"))["marks"] is None
    lease = await Ownership(desk.state, "tester", 60_000).acquire(partition_of(KEYS[0], desk.settings.state.partitions))
    assert lease is not None
    store = PartitionStore(desk.state, lease)
    at_ms = 1_790_000_000_000
    sums = {
        (KEYS[0], "live|2026q4"): MarkSum(3, 900, 135_000_000, at_ms, at_ms + 5000),
        (KEYS[0], "live-2|2027q1"): MarkSum(1, 7, 500_000, at_ms, at_ms + 9000),
    }
    cursor = await store.cursor()
    await store.commit(Batch(cursor, f"{int(cursor.partition('-')[0]) + 1}-0", marks=sums))
    marks = {"answers": 4, "tokens": 907, "evidence": 135.5, "last": "2026-09-21T14:13:29Z"}
    viewer, analyst = [await desk.token(role) for role in ("viewer", "analyst")]
    assert (await desk.as_(analyst, "GET", f"/v1/keys/{KEYS[0]}")).json()["marks"] == marks
    assert (await desk.as_(viewer, "GET", f"/v1/keys/{KEYS[0]}")).json()["marks"] is None
