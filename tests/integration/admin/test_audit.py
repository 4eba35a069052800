"""Every change leaves exactly one record before it is made; without the record there is no change."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import redis

from app.admin import server as admin_server
from app.admin.permissions import route_of
from app.enforcement.policy import decode_verdict
from app.intel.signing import SigningKey
from app.settings import EnforcementSettings, StateSettings
from app.state.accounts import Account, AccountStore
from app.state.audit_file import parse_head, verify
from app.state.campaigns import CampaignStore, Written
from app.state.intel_indicators import Held, Indicators
from app.state.keys import AUDIT, AUDIT_CHAIN, PartitionKeys, partition_of
from app.state.mark_groups import MarkGroups
from app.state.server import StateServer
from app.worker.inherit import Inheritance, inherit
from detectors.campaign.contract import Campaign, Member
from detectors.contract import Level
from detectors.sharing.indicator import Indicator

KEY, OTHER, THIRD, FOURTH = "0123456789abcdef" * 2, "fedcba9876543210" * 2, "aabb" * 8, "ccdd" * 8
PUBLISHED = "c-00000000feed"
SIGNER = SigningKey.made()
DOCUMENT = b'{"objects": [{"type": "x-new", "id": "x-new--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10"}]}'
CAMPAIGN, ACTED, SHARING, SHARED = "c-0123456789ab", "c-ba9876543210", "c-00000000000a", "c-00000000000b"
CORPUS = b'{"text": "as common as words are"}\n'
WHY = "what an auditor will want to know"


async def _records(desk: Any) -> list[dict[str, Any]]:
    """Everything in the log, oldest first, straight from the server."""
    return [json.loads(fields[b"r"]) for _, fields in await desk.state.xrange(AUDIT)]


async def test_a_record_says_who_what_why_and_from_where(desk: Any) -> None:
    """A change by a token is recorded with its holder, before and after, a hashed address and the answer's request id."""
    token = await desk.token("admin", "night shift")
    await desk.as_(token, "PUT", f"/v1/accounts/{KEY}", json={"plan": "free"})
    answer = await desk.as_(token, "PUT", f"/v1/accounts/{KEY}", json={"plan": "team", "org_id": "acme"})
    record = (await _records(desk))[-1]
    assert record["number"] == 3
    assert (record["token_id"], record["name"], record["role"]) == (token[3:11], "night shift", "admin")
    assert (record["action"], record["subject"], record["outcome"]) == ("account.put", f"key:{KEY}", "accepted")
    assert (record["before"]["plan"], record["after"]["plan"], record["after"]["org_id"]) == ("free", "team", "acme")
    assert record["request_id"] == answer.headers["x-request-id"]
    assert len(record["address"]) == 32
    assert "127.0.0.1" not in json.dumps(record)


Call = Callable[[], Awaitable[tuple[str, dict[str, Any]]]]
DECIDED = {"reason": WHY}
RUN = {
    "run": 32 * "a", "group": "labs", "peer": "acme", "role": "asker", "reveals": False, "own": 500, "commitment": 64 * "c"
}  # fmt: skip
ORDER = {"action": "throttle", "ttl_sec": 3600, "reason_code": "extraction", "reason": WHY}


async def _ready(desk: Any) -> dict[tuple[str, str], Call]:
    """For each route that changes something, what makes a call that succeeds: (method, template) → path and arguments."""
    # Keys that are known, judged and acted about; an organisation so large that orders about it need a second person.
    await desk.judged(KEY, Level.CONFIRMED, 0.99)
    refs = []
    for key_id in (OTHER, THIRD):
        await desk.judged(key_id, Level.SUSPECT, 0.9, at_us=time.time_ns() // 1000)
        stored = await desk.state.get(PartitionKeys(partition_of(key_id, desk.settings.state.partitions)).verdict(key_id))
        refs.append(decode_verdict(stored).ref)
    accounts = {f"{number:032x}": Account(org_id="acme") for number in range(101)}
    await AccountStore(desk.state).import_many({**accounts, OTHER: Account()})
    await desk.call("POST", f"/v1/keys/{KEY}:lift", json={"reason": WHY})
    # Things that are there to be changed or ended.
    token = await desk.token("viewer")
    ann = await desk.token("approver", "ann")
    bulks = [
        (await desk.as_(ann, "POST", "/v1/orders", json={**ORDER, "subjects": {"org_id": "acme"}})).json()["id"]
        for _ in range(2)
    ]
    first, second, *_ = accounts
    ordered = (await desk.call("POST", "/v1/orders", json={**ORDER, "subjects": {"keys": [first]}})).json()
    await desk.call("POST", "/v1/orders", json={**ORDER, "subjects": {"keys": [second]}})
    appeal = (await desk.call("POST", "/v1/appeals", json={"ref": refs[0], "text": "we evaluate"})).json()["id"]
    expires = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    allow = {"owner": "sales", "reason": WHY, "expires": expires}
    await desk.call("PUT", "/v1/allow/org:birch", json=allow)
    await desk.call("PUT", "/v1/kill", json={"scope": "actions", "reason": WHY})
    await desk.call("PUT", "/v1/plans/old", json={"key": {"requests_per_min": 7}})
    for group in ("labs", "old"):
        await desk.call("PUT", f"/v1/intel/groups/{group}", json={"title": "a group"})
    await desk.call("PUT", "/v1/intel/groups/labs/members/acme", json={})
    await desk.call("PUT", "/v1/intel/groups/labs/members/acme/key", json={"public_key": SIGNER.public.pem})
    await desk.call("POST", "/v1/intel/intersections", json=RUN)

    held = "indicator--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10"
    end_us = time.time_ns() // 1000 + 86_400_000_000
    await Indicators(desk.state).put([Held(Indicator(held, "asn", ("AS64500",), 1, end_us), "labs", "acme", 1, "amber")])

    published = {group: await _proposed(desk, ann, group) for group in ("labs", "labs again", "old")}
    about, body = published["old"]
    assert (await desk.call("POST", f"{about}:approve", json=body)).status_code == 200
    act = {"action": "throttle", "mode": "real", "ttl_sec": 3600, "reason_code": "extraction", "reason": WHY}
    members = [f"{number:032x}" for number in range(900, 904)]
    await AccountStore(desk.state).import_many({member: Account() for member in members})
    await _campaigns(desk, {CAMPAIGN: members[:1], ACTED: members[1:2]})
    await desk.call("POST", f"/v1/campaigns/{ACTED}:act", json=act)
    # Two keys have joined the one that was acted about, and inherit.
    await _campaigns(desk, {CAMPAIGN: members[:1], ACTED: members[1:], SHARING: [KEY]})
    await MarkGroups(desk.state).put(OTHER, SHARED)
    waiting, uploaded, erased = [await _investigation(desk, name) for name in ("waits", "is here", "is over")]
    await desk.call("PUT", f"{uploaded}/corpus", content=CORPUS)
    found = await CampaignStore(desk.state).all()
    await inherit(Inheritance(desk.state, desk.settings), found, EnforcementSettings(), time.time_ns() // 1000)

    async def versioned(**more: Any) -> tuple[str, dict[str, Any]]:
        version = (await desk.get("/v1/policy"))["version"]
        return "/v1/policy", {"headers": {"if-match": f'"{version}"'}, **more}

    path, more = await versioned(json={"mode": "shadow"})
    await desk.call("PUT", path, **more)
    since, until = "2026-09-01T00:00:00Z", "2026-09-21T00:00:00Z"
    label = {"key_id": KEY, "label": "abusive", "weight": 0.8, "since": since, "until": until, "reason": WHY}
    imported = json.dumps({"key_id": FOURTH}).encode()
    return {
        ("PUT", "/v1/accounts/{key_id}"): _call(f"/v1/accounts/{KEY}", json={"plan": "free"}),
        ("POST", "/v1/accounts:import"): _call("/v1/accounts:import", content=imported),
        ("DELETE", "/v1/accounts/{key_id}"): _call(f"/v1/accounts/{OTHER}"),
        ("POST", "/v1/keys/{key_id}:lift"): _call(f"/v1/keys/{KEY}:lift", json=DECIDED),
        ("DELETE", "/v1/keys/{key_id}:lift"): _call(f"/v1/keys/{KEY}:lift"),
        ("POST", "/v1/keys/{key_id}:erase"): _call(f"/v1/keys/{FOURTH}:erase", json=DECIDED),
        ("POST", "/v1/orders"): _call("/v1/orders", json={**ORDER, "subjects": {"keys": [THIRD]}}),
        ("DELETE", "/v1/orders/{ref}"): _call(f"/v1/orders/{ordered['orders'][0]['ref']}", params=DECIDED),
        ("DELETE", "/v1/orders"): _call("/v1/orders", params={"key_id": second, **DECIDED}),
        ("POST", "/v1/campaigns/{campaign_id}:act"): _call(f"/v1/campaigns/{CAMPAIGN}:act", json=act),
        ("POST", "/v1/campaigns/{campaign_id}/members/{key_id}:confirm"): _call(
            f"/v1/campaigns/{ACTED}/members/{members[2]}:confirm", json=DECIDED
        ),
        ("POST", "/v1/campaigns/{campaign_id}/members/{key_id}:lift"): _call(
            f"/v1/campaigns/{ACTED}/members/{members[3]}:lift", json=DECIDED
        ),
        ("DELETE", "/v1/campaigns/{campaign_id}:act"): _call(f"/v1/campaigns/{ACTED}:act", params=DECIDED),
        ("POST", "/v1/proposals/{bulk_id}:approve"): _call(f"/v1/proposals/{bulks[0]}:approve", json=DECIDED),
        ("POST", "/v1/proposals/{bulk_id}:refuse"): _call(f"/v1/proposals/{bulks[1]}:refuse", json=DECIDED),
        ("POST", "/v1/appeals"): _call("/v1/appeals", json={"ref": refs[1], "text": "we only evaluate"}),
        ("POST", "/v1/appeals/{appeal_id}:decide"): _call(
            f"/v1/appeals/{appeal}:decide", json={"note": WHY, "outcome": "overturned"}
        ),
        ("POST", "/v1/labels"): _call("/v1/labels", json=label),
        ("PUT", "/v1/allow/{subject}"): _call(f"/v1/allow/key:{KEY}", json=allow),
        ("DELETE", "/v1/allow/{subject}"): _call("/v1/allow/org:birch"),
        ("PUT", "/v1/kill"): _call("/v1/kill", json={"scope": "all", "reason": WHY}),
        ("DELETE", "/v1/kill"): _call("/v1/kill", params=DECIDED),
        ("PUT", "/v1/plans/{name}"): _call("/v1/plans/new", json={"key": {"requests_per_min": 9}}),
        ("DELETE", "/v1/plans/{name}"): _call("/v1/plans/old"),
        ("PUT", "/v1/policy"): lambda: versioned(json={"mode": "enforce"}),
        ("DELETE", "/v1/policy"): versioned,
        ("PUT", "/v1/intel/groups/{group}"): _call("/v1/intel/groups/new", json={"title": "made here"}),
        ("PUT", "/v1/intel/groups/{group}/members/{member}"): _call("/v1/intel/groups/labs/members/birch", json={}),
        ("PUT", "/v1/intel/groups/{group}/members/{member}/key"): _call(
            "/v1/intel/groups/labs/members/acme/key", json={"public_key": SIGNER.public.pem}
        ),
        ("DELETE", "/v1/intel/groups/{group}/members/{member}/key"): _call("/v1/intel/groups/labs/members/acme/key"),
        ("POST", "/v1/intel/groups/{group}/imports"): _call("/v1/intel/groups/labs/imports", content=DOCUMENT),
        ("POST", "/v1/intel/intersections"): _call("/v1/intel/intersections", json={**RUN, "run": 32 * "b"}),
        ("POST", "/v1/intel/intersections/{run}:result"): _call(
            f"/v1/intel/intersections/{RUN['run']}:result", json={"reveals": False, "size": 3, "theirs": 500}
        ),
        ("PUT", "/v1/intel/reporters/{group}/{member}"): _call(
            "/v1/intel/reporters/labs/acme", json={"organisation": "Acme"}
        ),
        ("POST", "/v1/intel/indicators/{group}/{indicator_id}:agree"): _call(
            f"/v1/intel/indicators/labs/{held}:agree", json=DECIDED
        ),
        ("POST", "/v1/intel/indicators/{group}/{indicator_id}:disagree"): _call(
            f"/v1/intel/indicators/labs/{held}:disagree", json=DECIDED
        ),
        ("POST", "/v1/intel/publications"): _call("/v1/intel/publications", json=_publication("labs")),
        ("POST", "/v1/intel/publications/{publication_id}:approve"): _call(
            f"{published['labs'][0]}:approve", json=published["labs"][1]
        ),
        ("POST", "/v1/intel/publications/{publication_id}:refuse"): _call(
            f"{published['labs again'][0]}:refuse", json=DECIDED
        ),
        ("POST", "/v1/intel/publications/{publication_id}:retract"): _call(f"{about}:retract", json=DECIDED),
        ("DELETE", "/v1/intel/groups/{group}/members/{member}"): _call("/v1/intel/groups/labs/members/acme"),
        ("DELETE", "/v1/intel/groups/{group}"): _call("/v1/intel/groups/old"),
        ("POST", "/v1/tokens"): _call("/v1/tokens", json={"name": "made here", "role": "viewer"}),
        ("DELETE", "/v1/tokens/{token_id}"): _call(f"/v1/tokens/{token[3:11]}"),
        ("POST", "/v1/watermark/tags"): _call("/v1/watermark/tags", json={"tenant": KEY, "profile": "words", **DECIDED}),
        ("PUT", "/v1/watermark/groups/{campaign_id}"): _call(f"/v1/watermark/groups/{SHARING}", json=DECIDED),
        ("DELETE", "/v1/watermark/groups/{campaign_id}"): _call(f"/v1/watermark/groups/{SHARED}", params=DECIDED),
        ("POST", "/v1/watermark/investigations"): _call("/v1/watermark/investigations", json=_announced("another")),
        ("PUT", "/v1/watermark/investigations/{investigation_id}/corpus"): _call(f"{waiting}/corpus", content=CORPUS),
        ("PUT", "/v1/watermark/investigations/{investigation_id}/tenants"): _call(f"{waiting}/tenants", content=b"acme\n"),
        ("POST", "/v1/watermark/investigations/{investigation_id}:run"): _call(f"{uploaded}:run", json={}),
        ("DELETE", "/v1/watermark/investigations/{investigation_id}"): _call(erased, params=DECIDED),
    }


def _publication(group: str) -> dict[str, Any]:
    about = {"campaign_id": PUBLISHED, "group": group, "confirmed_by_review": True, "asns": ["AS64500"]}
    return {**about, "reason": WHY}


async def _proposed(desk: Any, token: str, name: str) -> tuple[str, dict[str, Any]]:
    """(address, body of its approval) of a publication that another person has proposed."""
    await _campaigns(desk, {PUBLISHED: [f"{number:032x}" for number in range(800, 810)]})
    answer = await desk.as_(token, "POST", "/v1/intel/publications", json=_publication(name.split()[0]))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return f"/v1/intel/publications/{made['id']}", {"sha256": made["sha256"], "reason": WHY}


def _announced(name: str) -> dict[str, Any]:
    digest = hashlib.sha256(CORPUS).hexdigest()
    about = {"name": name, "profile": "words", "format": "jsonl", "bytes": len(CORPUS), "sha256": digest}
    return {**about, "reason": WHY}


async def _investigation(desk: Any, name: str) -> str:
    """The address of a new one."""
    made = await desk.call("POST", "/v1/watermark/investigations", json=_announced(name))
    return f"/v1/watermark/investigations/{made.json()['id']}"


async def _campaigns(desk: Any, held: dict[str, list[str]]) -> None:
    """Stores campaigns of these keys, as the linker does."""
    at_us = time.time_ns() // 1000
    made = []
    for name, keys in held.items():
        members = tuple(Member(key_id, key_id, at_us, 0.9, ("wording",), 40, 7, at_us) for key_id in keys)
        made.append(
            Campaign(
                name,
                Level.CONFIRMED if name == SHARING else Level.SUSPECT,
                0.99,
                at_us,
                at_us,
                at_us,
                flagged_us=at_us,
                members=members,
                requests=80,
            )
        )
    store = CampaignStore(desk.state)
    joined = [(name, key_id) for name, keys in held.items() for key_id in keys]
    assert await store.write(await store.state(), Written(at_us, made, joined, [], list(held))) is not None


def _call(path: str, **more: Any) -> Call:
    async def same() -> tuple[str, dict[str, Any]]:
        return path, more

    return same


def _changing(desk: Any) -> set[tuple[str, str]]:
    """(method, template) of every route that is not only asked."""
    return {
        (method, path) for method, path in route_of(desk.server.app) if method != "GET" and not path.endswith(":preview")
    }


async def test_every_change_leaves_exactly_one_record(desk: Any) -> None:
    """A walk over all routes that are no GET, each with a call that succeeds: one more record each, with all its fields."""
    calls = await _ready(desk)
    assert set(calls) == _changing(desk)
    for (method, template), call in calls.items():
        path, more = await call()
        before = await _records(desk)
        answer = await desk.call(method, path, **more)
        assert answer.status_code in (200, 201, 202, 204), (method, template, answer.text)
        after = await _records(desk)
        assert len(after) == len(before) + 1, (method, template)
        record = after[-1]
        assert record["request_id"] == answer.headers["x-request-id"]
        assert record["outcome"] == "accepted"
        assert "." in record["action"]
        assert record["subject"]
        if WHY in str(more):
            assert record["reason"] == WHY, (method, template)
    assert verify((await desk.call("GET", "/v1/audit:export")).content.splitlines(keepends=True)).records == len(after)


async def test_questions_and_refusals_leave_none(desk: Any) -> None:
    """Reading, a refused role, a wrong token, a broken body and an unknown id change nothing and are not in the log."""
    viewer = await desk.token("viewer")
    before = await _records(desk)
    for method, path in route_of(desk.server.app):
        path = path.replace("{key_id}", KEY).replace("{token_id}", "aaaaaaaa").replace("{subject}", f"key:{KEY}")
        path = path.replace("{bulk_id}", "aaaa").replace("{appeal_id}", "ap-aaaaaaaa")
        if path.endswith("/events"):
            continue  # who looked at a customer's single exchanges is on record, see the tests of events
        if method == "GET" and "{" not in path:
            await desk.call(method, path)
        elif method != "GET":
            await desk.as_(viewer, method, path, content=b"{}")
            if method in ("PUT", "POST"):
                await desk.call(method, path, content=b'{"no such field": 1}')
    await desk.call("DELETE", f"/v1/accounts/{KEY}")
    await desk.call("DELETE", "/v1/tokens/aaaaaaaa")
    assert await _records(desk) == before


async def test_a_change_that_fails_behind_its_record_leaves_a_second(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the change does not come true, another record names the first and the kind of fault."""

    async def broken(*_: Any) -> bool:
        raise RuntimeError("what the fault says is nobody's business")

    monkeypatch.setattr(AccountStore, "put", broken)
    answer = await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "free"})
    assert answer.status_code == 500
    first, second = await _records(desk)
    assert (first["outcome"], second["outcome"]) == ("accepted", "failed")
    assert (second["of"], second["error"]) == (first["number"], "RuntimeError")
    assert (second["action"], second["subject"]) == (first["action"], first["subject"])
    assert "nobody's business" not in json.dumps([first, second])
    listed = await desk.get("/v1/audit")
    assert [(item["number"], item["of"]) for item in listed["records"]] == [(2, 1), (1, None)]


def _contents(client: Any) -> dict[bytes, bytes | None]:
    """Everything in the state, serialised."""
    return {name: client.dump(name) for name in client.scan_iter(count=1000)}


@pytest.mark.parametrize("trouble", ["full", "read-only"])
async def test_a_record_that_cannot_be_written_refuses_every_change(desk: Any, trouble: str) -> None:
    """With a state that takes no writes each changing route is a 503, and not a byte of the state is another."""
    calls = await _ready(desk)
    async with _no_writes(desk.state_url, trouble) as control:
        before = await asyncio.to_thread(_contents, control)
        for (method, template), call in calls.items():
            path, more = await call()
            answer = await desk.call(method, path, **more)
            if (method, template) == ("PUT", "/v1/kill"):  # works without state: a file of this machine
                assert answer.status_code == 200
                continue
            assert answer.status_code == 503, (method, template, answer.text)
            assert answer.headers["retry-after"] == "5"
        assert await asyncio.to_thread(_contents, control) == before
    assert (await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "free"})).status_code == 200


async def test_only_the_record_stands_in_the_way(desk: Any) -> None:
    """When the audit log alone cannot be written every change is refused too, though the state would take it."""
    calls = await _ready(desk)
    await desk.state.delete(AUDIT)
    await desk.state.set(AUDIT, "no stream any more")
    before = await asyncio.to_thread(_snapshot, desk.state_url)
    for (method, template), call in calls.items():
        path, more = await call()
        answer = await desk.call(method, path, **more)
        expected = 200 if (method, template) == ("PUT", "/v1/kill") else 503
        assert answer.status_code == expected, (method, template, answer.text)
    assert await asyncio.to_thread(_snapshot, desk.state_url) == before
    text = (await desk.call("GET", "/metrics")).text
    failures = next(line for line in text.splitlines() if line.startswith("stillwatch_audit_write_failures_total"))
    assert float(failures.split()[1]) >= len(calls)


def _snapshot(url: str) -> dict[bytes, bytes | None]:
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        return _contents(client)


@asynccontextmanager
async def _no_writes(url: str, trouble: str) -> AsyncIterator[Any]:
    with redis.Redis.from_url(url, socket_timeout=10) as control:
        try:
            if trouble == "full":
                control.config_set("maxmemory", 1)
            else:
                control.execute_command("REPLICAOF", "127.0.0.1", "1")
            yield control
        finally:
            control.config_set("maxmemory", 0)
            control.execute_command("REPLICAOF", "NO", "ONE")


async def test_a_killed_state_server_lets_in_who_was_let_in_and_changes_nothing(
    admin_settings: Any, token: str, tmp_path: Any
) -> None:
    """With the server away the bootstrap token and one that was just used are believed, and a change is a 503."""
    state = StateServer(StateSettings(data_dir=tmp_path / "other"))
    await state.start()
    admin = await admin_server.start(admin_settings(STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS="200"), state_url=state.url)
    boot = {"authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(base_url=admin.url, trust_env=False, timeout=30.0) as http:
            used, unused = [
                {"authorization": "Bearer " + (await http.post("/v1/tokens", json=body, headers=boot)).json()["token"]}
                for body in ({"name": "a", "role": "admin"}, {"name": "b", "role": "admin"})
            ]
            assert (await http.get("/v1/me", headers=used)).status_code == 200
            assert state.pid is not None
            os.kill(state.pid, signal.SIGSTOP)  # so that its watcher does not start another one meanwhile
            for headers in (boot, used):
                assert (await http.get("/v1/me", headers=headers)).status_code == 200
            assert (await http.get("/v1/me", headers=unused)).status_code == 503
            assert (await http.put(f"/v1/accounts/{KEY}", json={}, headers=used)).status_code == 503
            wrong = {"authorization": "Bearer wrong"}
            assert (await http.get("/v1/me", headers=wrong)).status_code == 401
            os.kill(state.pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                while (await http.get("/v1/tokens", headers=boot)).status_code != 200:  # noqa: ASYNC110 - its watcher's turn
                    await asyncio.sleep(0.05)
            assert (await http.get(f"/v1/accounts/{KEY}", headers=boot)).status_code == 404
    finally:
        await admin.stop()
        await state.stop()


async def test_a_remembered_token_is_forgotten_after_a_minute(
    admin_settings: Any, token: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the state server is away a token that was not seen good within the last minute is not believed."""
    from app.admin import auth

    monkeypatch.setattr(auth, "REMEMBERED_SEC", 0.0)
    state = StateServer(StateSettings(data_dir=tmp_path / "other"))
    await state.start()
    admin = await admin_server.start(admin_settings(STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS="200"), state_url=state.url)
    try:
        async with httpx2.AsyncClient(base_url=admin.url, trust_env=False, timeout=30.0) as http:
            made = await http.post(
                "/v1/tokens", json={"name": "a", "role": "admin"}, headers={"authorization": f"Bearer {token}"}
            )
            headers = {"authorization": "Bearer " + made.json()["token"]}
            assert (await http.get("/v1/me", headers=headers)).status_code == 200
            await state.stop()
            assert (await http.get("/v1/me", headers=headers)).status_code == 503
            assert (await http.get("/v1/me", headers={"authorization": f"Bearer {token}"})).status_code == 200
    finally:
        await admin.stop()
        await state.stop()


async def test_the_log_is_paged_newest_first(desk: Any) -> None:
    """Pages join to the whole log, newest first, and each names the log's head."""
    for number in range(7):
        await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": f"p{number}"})
    numbers, cursor = [], ""
    while cursor is not None:
        page = await desk.get("/v1/audit", params={"limit": 3, "cursor": cursor})
        numbers += [record["number"] for record in page["records"]]
        cursor = page["next_cursor"]
        assert parse_head(page["head"]).number == 7
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


async def test_the_export_verifies_against_the_head_in_health(desk: Any) -> None:
    """What is exported is a whole chain that ends with the head that health told before; a cut one is not."""
    for number in range(5):
        await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": f"p{number}", "payment_id": "ümlaut".encode().hex()})
    head = parse_head((await desk.get("/v1/health"))["audit_head"])
    assert head.number == 5
    answer = await desk.call("GET", "/v1/audit:export")
    assert answer.headers["x-audit-head"] == str(head)
    lines = answer.content.splitlines(keepends=True)
    assert verify(lines, head).head == head
    with pytest.raises(Exception, match="cut off"):
        verify(lines[:-1], head)


async def test_the_head_is_logged_at_each_start(admin_settings: Any, redis_db: str, caplog: Any, desk: Any) -> None:
    """A new process logs the end of the chain, so that it is kept where the state server's users cannot change it."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "free"})
    head = (await desk.get("/v1/health"))["audit_head"]
    caplog.set_level(logging.INFO)
    admin = await admin_server.start(admin_settings(), state_url=redis_db)
    async with asyncio.timeout(10):
        while f"the audit log ends at {head}" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await admin.stop()
    assert head != "0"


async def test_records_are_bounded_and_hold_no_secret(desk: Any) -> None:
    """A value that is too large is kept as size and digest; what looks like a credential is hidden in every field."""
    from starlette.requests import Request

    from app.admin.caller import Caller

    token = await desk.token("viewer")
    scope = {"type": "http", "client": ("192.0.2.7", 1), "headers": [], "state": {"request_id": "r1"}}
    auditor = desk.server.app.state.auditor
    await auditor.record(
        Caller("bootstrap", "bootstrap", "admin"),
        Request(scope),
        "test.record",
        f"key:{token}",
        reason=f"pasted {token} and sk-proj-{'a' * 40} " + "x" * 1000,
        before={"token": "abc", "token_id": "kept", "list": [token], "number": float("nan"), "at": desk},
        after={"long": "y" * 100_000},
    )
    record = (await _records(desk))[-1]
    text = json.dumps(record)
    assert token[12:] not in text
    assert "sk-proj" not in text
    assert "192.0.2.7" not in text
    assert len(text) < 8192
    assert record["before"]["token_id"] == "kept"
    assert record["before"]["token"] == "(hidden)"
    assert record["after"] == {"bytes": 100_012, "sha256": record["after"]["sha256"]}


async def test_the_log_ends_with_its_anchor_when_all_is_old(desk: Any) -> None:
    """The chain's two keys are the only ones of the log, and neither has a time to live."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "free"})
    assert await desk.state.ttl(AUDIT) == -1
    assert await desk.state.ttl(AUDIT_CHAIN) == -1
