"""A campaign leaves as STIX over the real admin API, state and TAXII server, after a second person; and is taken back."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from taxii2client.v21 import Collection as Reader

from app.cli import main
from app.intel.outbox import Outbox
from app.intel.publishing import entries
from app.intel.signing import SigningKey, opened, verified
from app.state.accounts import Account, AccountStore
from app.state.campaigns import CampaignStore, Written
from app.state.control import AllowEntry, ControlStore
from app.state.intel_groups import IntelGroups
from app.state.intel_published import Publications
from app.state.keys import PartitionKeys, partition_of
from app.state.labels import Label, Labels
from detectors.campaign.contract import Campaign, Evidence, Member
from detectors.campaign.trace import Kind, Trace, encode, packed
from detectors.contract import Level
from detectors.sharing.tokens import GroupKey
from detectors.tally import INDEX
from detectors.watermark.keys import MasterSecret

CAMPAIGN = "c-0123456789ab"
PARTITIONS = 4
SECRET = "5e" * 32
ADDRESS = "canary.account@example.org"
WHY = "looked at twenty of its keys: one operation"
MEMBERS = [f"{number:032x}" for number in range(1, 13)]


def _trace(key_id: str, marks: list[tuple[int, int]], at_us: int) -> Trace:
    data = b"".join(struct.pack("<BIB", kind, item, 255) for kind, item in sorted(marks))
    sums = packed(np.zeros(len(INDEX), np.float32))
    return Trace(key_id=key_id, org=key_id, at_us=at_us, marks=data, sums=sums)


class Office:
    """A provider with a campaign, and two people: ann, an analyst, and bob, an admin."""

    def __init__(self, site: Any, http: httpx2.AsyncClient) -> None:
        self.site = site
        self.http = http
        self.ann = self.bob = ""
        self.store = Publications(site.state)

    async def call(self, method: str, path: str, token: str = "", **more: Any) -> httpx2.Response:
        """One request to /v1/intel/publications…; ann's unless another token is given."""
        headers = {"authorization": f"Bearer {token or self.ann}"}
        return await self.http.request(method, f"/v1/intel/publications{path}", headers=headers, **more)

    async def propose(self, **more: Any) -> dict[str, Any]:
        """A proposal that is taken."""
        answer = await self.call("POST", "", json=self.asked(**more))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def asked(self, **more: Any) -> dict[str, Any]:
        """The body of a proposal."""
        return {"campaign_id": CAMPAIGN, "group": "labs", "reason": WHY, **more}

    async def approve(self, one: dict[str, Any], token: str = "") -> httpx2.Response:
        """Bob's word."""
        body = {"sha256": one["sha256"], "reason": WHY}
        return await self.call("POST", f"/{one['id']}:approve", token or self.bob, json=body)

    async def read(self, **filters: Any) -> list[dict[str, Any]]:
        """What a member reads in the feed with an independent client."""
        site = self.site

        def read() -> list[dict[str, Any]]:
            url = f"{site.root}collections/{site.group.feed_id}/"
            with Reader(url, user="acme", password=site.acme) as feed:
                return list(feed.get_objects(**filters).get("objects", []))

        return await asyncio.to_thread(read)

    async def store_campaign(self, level: Level = Level.CONFIRMED) -> None:
        """Stores the campaign as the linker does."""
        at_us = time.time_ns() // 1000
        made = Campaign(
            CAMPAIGN,
            level,
            0.99,
            at_us - 86_400_000_000,
            at_us,
            at_us,
            members=tuple(Member(key_id, key_id, at_us, 0.9, ("template",), 40, 7, at_us) for key_id in MEMBERS),
            evidence=(Evidence("template", "what", 9.0, 1.0, 0.001, "canary sentence of evidence"),),
            requests=480,
        )
        held = CampaignStore(self.site.state)
        joined = [(CAMPAIGN, key_id) for key_id in MEMBERS]
        assert await held.write(await held.state(), Written(at_us, [made], joined, [], [CAMPAIGN])) is not None

    async def store_traces(self) -> None:
        """Members share a system prompt; 300 other keys share nothing."""
        at_us = time.time_ns() // 1000
        traces = [_trace(key_id, [(Kind.SYSTEM, 7), (Kind.PAYMENT, 9)], at_us) for key_id in MEMBERS]
        traces += [_trace(f"{number:032x}", [(Kind.HEAD, number)], at_us) for number in range(1000, 1300)]
        for trace in traces:
            part = PartitionKeys(partition_of(trace.org, PARTITIONS))
            await self.site.state.hset(part.traces, mapping={"": at_us, trace.key_id: encode(trace)})

    async def allow(self, key_ids: list[str]) -> None:
        """Puts members on the allow-list."""
        at_us = time.time_ns() // 1000
        for key_id in key_ids:
            entry = AllowEntry(
                subject=f"key:{key_id}", owner="sales", reason=WHY, expires_us=at_us + 10**12, by="ann", created_us=at_us
            )
            await ControlStore(self.site.state).allow_put(entry)

    async def label(self, key_id: str, finding: Any) -> None:
        """A person's finding about a key."""
        at_us = time.time_ns() // 1000
        await Labels(self.site.state).add(
            Label(
                key_id=key_id, label=finding, source="analyst", weight=0.9, from_us=1, until_us=at_us, at_us=at_us, by="ann"
            )
        )


@pytest.fixture
async def office(site: Any, admin_of: Any, tmp_path: Path) -> AsyncIterator[Office]:
    """An admin process that may publish, beside the one that members read from."""
    keys = tmp_path / "groups"
    keys.mkdir()
    file = keys / "labs.json"
    file.write_text(json.dumps({"2026q3": "ab" * 32, "2026q4": SECRET}))
    file.chmod(0o600)
    settings = {"STILLWATCH_INTEL__PROVIDER": "Provider A", "STILLWATCH_INTEL__KEYS_DIR": str(keys)}
    async with admin_of(**settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        made = Office(site, http)
        for name, role in (("ann", "analyst"), ("bob", "admin")):
            body = {"name": name, "role": role}
            answer = await http.post("/v1/tokens", json=body, headers={"authorization": f"Bearer {site.token}"})
            setattr(made, name, answer.json()["token"])
        await AccountStore(site.state).import_many({key_id: Account() for key_id in MEMBERS})
        await made.store_campaign()
        await made.store_traces()
        yield made


async def test_proposed_approved_read(office: Office) -> None:
    """Nothing leaves before another person approves; then a member reads exactly the objects that were looked at."""
    preview = await office.call("POST", ":preview", json={"campaign_id": CAMPAIGN, "group": "labs", "asns": ["AS64500"]})
    assert preview.status_code == 200, preview.text
    assert any("64500" in line for line in preview.json()["says"])
    assert (await office.call("GET", "")).json() == {"publications": []}
    one = await office.propose(asns=["AS64500"])
    assert await office.read() == []
    assert (await office.call("GET", f"/{one['id']}")).json()["bundle"] == one["bundle"]
    done = await office.approve(one)
    assert done.status_code == 200, done.text
    assert (done.json()["status"], done.json()["in_feed"], done.json()["decided_by"]) == ("published", True, "bob")
    assert {orjson.dumps(found) for found in await office.read()} == {
        data for _, _, data in entries(one["bundle"].encode())
    }
    (template,) = [found for found in await office.read(type="indicator") if found["pattern_type"] != "stix"]
    key = GroupKey(MasterSecret(bytes.fromhex(SECRET)))
    assert template["pattern"].endswith(f":2026q4:{key.token(Kind.SYSTEM << 32 | 7)}")
    audit = await office.http.get("/v1/audit", headers={"authorization": f"Bearer {office.bob}"})
    actions = [record["action"] for record in audit.json()["records"]]
    assert actions[:2] == ["intel.publish", "intel.propose"]


async def test_second_person_enforced(office: Office) -> None:
    """Who proposed it cannot approve it, nor can an analyst, nor anybody who names another digest."""
    boss = office.site.token
    answer = await office.call("POST", "", boss, json=office.asked())
    one = answer.json()
    assert (await office.approve(one, boss)).status_code == 403
    assert (await office.approve(one, office.ann)).status_code == 403
    one["sha256"] = "0" * 64
    refused = await office.approve(one)
    assert (refused.status_code, "digest" in refused.json()["detail"]) == (409, True)
    assert await office.read() == []


async def test_refused_or_decided_stays(office: Office) -> None:
    """A refused proposal cannot be approved, one that was published not again, and an old one not at all."""
    one, two = await office.propose(), await office.propose()
    assert (await office.call("POST", f"/{one['id']}:refuse", json={"reason": WHY})).status_code == 200
    assert (await office.approve(one)).status_code == 409
    assert (await office.approve(two)).status_code == 200
    assert (await office.approve(two)).status_code == 409
    three = await office.propose()
    await office.site.state.hset(f"sw:{{intp}}:h:{three['id']}", "until_ms", 1)
    assert (await office.approve(three)).status_code == 409
    assert len((await office.call("GET", "")).json()["publications"]) == 3


async def test_crash_between_steps(office: Office) -> None:
    """A process that dies behind the word and before the feed leaves it to the next one, which sends it once."""
    one = await office.propose()
    found = await office.store.get(one["id"])
    assert found is not None
    assert await office.store.publish(found, time.time_ns() // 1000, "bob", WHY) is True
    assert await office.read() == []
    assert not (await office.call("GET", f"/{one['id']}")).json()["in_feed"]
    unsent, since_us = await office.store.waiting()
    assert unsent == 1
    assert since_us is not None
    assert 0 <= time.time_ns() // 1000 - since_us < 60_000_000
    outbox = Outbox(office.store, IntelGroups(office.site.state), lambda group: office.site.feed())
    assert [await outbox.finish(), await outbox.finish()] == [1, 0]
    assert await office.store.waiting() == (0, None)
    size = await office.site.feed().size()
    await outbox.send(one["id"])  # another one was about to send it, too
    assert await office.site.feed().size() == size
    assert len(await office.read()) == sum(one["objects"].values())


async def test_retracted_read_as_revoked(office: Office) -> None:
    """One person takes it back at once: members read campaign and indicators as revoked; later ones have other ids."""
    one = await office.propose(networks=["192.0.2.0/24"])
    assert (await office.call("POST", f"/{one['id']}:retract", json={"reason": WHY})).status_code == 409
    await office.approve(one)
    waiting = await office.propose()
    back = await office.call("POST", f"/{one['id']}:retract", json={"reason": WHY})
    assert (back.status_code, back.json()["status"], back.json()["in_feed"]) == (200, "retracted", True)
    found = await office.read(type=["campaign", "indicator"])
    assert len(found) == 3
    assert all(each["revoked"] for each in found)
    late = await office.approve(waiting)  # it is a version of what was taken back
    assert (late.status_code, "propose it again" in late.json()["detail"]) == (409, True)
    again = await office.propose()
    assert again["version"] == 1
    assert not {each["id"] for each in found} & {each["id"] for each in orjson.loads(again["bundle"])["objects"]}


async def test_second_version_replaces(office: Office) -> None:
    """A new version has the ids of the old one, which cannot be taken back alone; of two proposals one is published."""
    first = await office.propose(asns=["AS64500"])
    await office.approve(first)
    second, rival = await office.propose(), await office.propose()
    assert (second["version"], second["follows"]) == (2, first["id"])
    assert (await office.approve(second)).status_code == 200
    assert (await office.approve(rival)).status_code == 409
    statuses = {each["id"]: each["status"] for each in (await office.call("GET", "")).json()["publications"]}
    assert statuses[first["id"]] == "replaced"
    assert (await office.call("POST", f"/{first['id']}:retract", json={"reason": WHY})).status_code == 409
    indicators = await office.read(type="indicator")
    assert len(indicators) == 2
    assert [each["name"].split()[0] for each in indicators if each.get("revoked")] == ["asn"]


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"tlp": "red"}, 422, "must not be red"),
        ({"group": "others"}, 422, "must be a trust group"),
        ({"campaign_id": "c-ffffffffffff"}, 404, "No campaign has this id"),
        ({"networks": ["192.0.2.7/24"]}, 422, "entry 1 must be a network"),
        ({"clients": ["curl/8"]}, 422, "entry 1 must not be listed"),
    ],
)
async def test_unfit_refused(office: Office, change: dict[str, Any], status: int, word: str) -> None:
    """What cannot be published is refused in one sentence, by preview and proposal alike."""
    for path in ("", ":preview"):
        body = office.asked(**change)
        if path:
            del body["reason"]
        answer = await office.call("POST", path, json=body)
        assert (answer.status_code, word in answer.text) == (status, True), answer.text


async def test_only_confirmed(office: Office) -> None:
    """A campaign that is only suspect needs a person's word; one that is only watched is not published at all."""
    await office.store_campaign(Level.SUSPECT)
    answer = await office.call("POST", "", json=office.asked())
    assert (answer.status_code, "confirmed_by_review" in answer.json()["detail"]) == (409, True)
    one = await office.propose(confirmed_by_review=True)
    assert one["confirmed_by_review"]
    await office.store_campaign(Level.WATCH)
    assert (await office.call("POST", "", json=office.asked(confirmed_by_review=True))).status_code == 409


async def test_below_ten_with_excused(office: Office) -> None:
    """Twelve keys of which three are allowed or found benign are nine: refused, also where they were excused since."""
    one = await office.propose()
    assert (one["keys"], one["left_out"]) == (12, 0)
    await office.allow(MEMBERS[:1])
    await AccountStore(office.site.state).put(MEMBERS[1], Account(authorised=("evaluation",)))
    assert (await office.propose())["keys"] == 10
    await office.label(MEMBERS[2], "benign")
    answer = await office.call("POST", "", json=office.asked(asns=["AS64500"]))
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        "Nothing is shared of fewer than 10 keys; without those on the allow-list, under contract or excused there are 9."
    )
    assert (await office.approve(one)).status_code == 409


async def test_identities(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Only accounts of members that are labelled abusive, as keyed hashes; the address is in no answer, log or state."""
    named = {"identities": [{"key_id": MEMBERS[0], "address": ADDRESS}]}
    for key_id, word in ((MEMBERS[0], "labelled abusive"), ("f" * 32, "must be a member")):
        body = office.asked(identities=[{"key_id": key_id, "address": ADDRESS}])
        answer = await office.call("POST", "", json=body)
        assert (answer.status_code, word in answer.text, ADDRESS in answer.text) == (422, True, False)
    body = office.asked(identities=[{"key_id": MEMBERS[0], "address": "canary account"}])
    answer = await office.call("POST", "", json=body)
    assert (answer.status_code, "canary" in answer.text) == (422, False)
    assert answer.json()["errors"][0]["field"] == "body.identities.0.address"
    await office.label(MEMBERS[0], "abusive")
    one = await office.propose(**named)
    await office.approve(one)
    token = GroupKey(MasterSecret(bytes.fromhex(SECRET))).identity(ADDRESS)
    assert one["bundle"].count(token) == 2
    held = b"".join([await office.site.state.dump(name) or b"" for name in await office.site.state.keys("*")])
    raw = ["canary", "Canary", SECRET, MEMBERS[3], CAMPAIGN]
    assert [word for word in raw if word in one["bundle"]] == []
    assert b"canary.account" not in held
    assert "canary.account" not in caplog.text
    audit = await office.http.get("/v1/audit", headers={"authorization": f"Bearer {office.bob}"})
    assert "canary.account" not in audit.text


async def test_no_key_no_name(site: Any, admin_of: Any, tmp_path: Path) -> None:
    """Without a name or a key of the group nothing is published, and a sentence says which setting is missing."""
    headers = {"authorization": f"Bearer {site.token}"}
    body = {"campaign_id": CAMPAIGN, "group": "labs"}
    for more, word in (({}, "intel.provider"), ({"STILLWATCH_INTEL__PROVIDER": "A provider"}, "intel.keys_dir")):
        async with admin_of(**more) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            answer = await http.post("/v1/intel/publications:preview", json=body, headers=headers)
        assert (answer.status_code, word in answer.json()["detail"]) == (409, True)


async def test_commands(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """publish, publications, approve and retract by command; a bad line of a file of accounts is named and not quoted."""
    from app import cli

    for name in [name for name in os.environ if name.startswith("STILLWATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", str(office.http.base_url))

    async def say(token: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", token)
        capfd.readouterr()
        status = await asyncio.to_thread(cli.main, ["intel", *arguments])
        said = capfd.readouterr()
        return status, said.out, said.err

    file = tmp_path / "accounts.txt"
    publish = ("publish", CAMPAIGN, "--group", "labs", "--reason", WHY, "--identities", str(file))
    file.write_text(f"# accounts\n{MEMBERS[0]} {ADDRESS}\n{MEMBERS[1]}\n")
    status, _, errors = await say(office.ann, *publish, "--yes")
    assert (status, "line 3" in errors, MEMBERS[1] in errors) == (1, True, False)
    file.write_text(f"# accounts\n{MEMBERS[0]} {ADDRESS}\n")
    status, _, errors = await say(office.ann, *publish, "--yes")
    assert (status, "line 2: must be labelled" in errors, ADDRESS in errors) == (2, True, False), errors
    await office.label(MEMBERS[0], "abusive")
    status, told, errors = await say(office.ann, *publish, "--dry-run")
    assert (status, "12 keys" in told, "1 accounts as keyed hashes" in told) == (0, True, True), errors
    assert orjson.loads((await say(office.ann, *publish, "--dry-run", "--json"))[1])["type"] == "bundle"
    assert json.loads((await say(office.ann, "publications", "list", "--json"))[1]) == []
    status, told, errors = await say(office.ann, *publish, "--yes", "--json")
    made = json.loads(told)
    status, told, _ = await say(office.ann, "publications", "show", made["id"], "--exact")
    assert told == made["bundle"]
    assert (await say(office.ann, "approve", made["id"], "--reason", WHY, "--yes"))[0] == 1
    assert (await say(office.bob, "approve", made["id"], "--reason", WHY, "--yes"))[1].endswith("the feed of labs\n")
    assert (await say(office.ann, "retract", made["id"], "--reason", WHY))[1].startswith(f"{made['id']}: retracted")
    status, told, _ = await say(office.ann, "publications", "list")
    assert "retracted" in told


async def test_exported_by_id(
    office: Office, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was approved is exported byte for byte and as a signed feed, nothing before that; later what takes it back."""
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", office.site.token)
    key = SigningKey.made()
    key.write(tmp_path / "key.pem")
    one = await office.propose(asns=["AS64500"])

    async def export(*more: str) -> int:
        arguments = ["intel", "export", "--publication", one["id"], "--admin-url", office.site.server.url, *more]
        return await asyncio.to_thread(main, arguments)

    assert await export() == 1
    assert "a second person has not approved it" in capfd.readouterr().err
    await office.approve(one)
    assert await export() == 0
    assert capfd.readouterr().out == one["bundle"]
    assert await export("-f", "feed", "--set", f"intel.signing_key_file={tmp_path / 'key.pem'}") == 0
    feed = opened(capfd.readouterr().out.encode())
    assert verified(feed, key.public, time.time_ns() // 1000).decode() == one["bundle"]
    await office.call("POST", f"/{one['id']}:retract", json={"reason": WHY})
    assert await export() == 0
    objects = orjson.loads(capfd.readouterr().out)["objects"]
    assert all(found["revoked"] for found in objects if found["type"] == "indicator")
