"""Secrets that go through all of sharing, from traffic at one provider to hits at another, and are found nowhere."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from prometheus_client import generate_latest

from app import cli
from app.admin import server as admin_server
from app.gateway.identity import Hasher
from app.intel.signing import SigningKey
from app.settings import StateSettings
from app.state.accounts import Account, AccountStore
from app.state.campaigns import CampaignStore, Written
from app.state.factory import background_client
from app.state.keys import PartitionKeys
from app.state.labels import Label, Labels
from app.state.server import StateServer
from app.state.traces import TraceStore
from app.telemetry import metrics
from detectors.campaign.contract import Campaign, Evidence, Member
from detectors.campaign.trace import decode
from detectors.contract import Level
from detectors.event import encode
from tests.integration.intel.canaries import forms, found
from tests.integration.intel.conftest import TAXII, TOKEN, settings_for
from tests.integration.sharing_traffic import Style, acting, event
from tests.integration.worker.conftest import Lab
from tests.integration.worker.test_privacy import _everything

PROMPT, ANSWER, REASON = "qzxprompt7f3a9", "qzxanswer55b1d", "qzxreason20c4e looked at twenty of its keys"
ADDRESS, CREDENTIAL, IP = "qzxcanary.account@example.org", "sk-qzxcredential81c2", "203.0.113.177"
PEPPERS = {"A": "qzxpepper-of-a-some-length", "B": "qzxpepper-of-b-some-length"}
SECRET = hashlib.sha256(b"group").hexdigest()
CAMPAIGN = "c-5e1a77c0ffee"
STYLE = Style(f"Solve the numbered olympiad task {PROMPT} and show all of your reasoning step by step:", 0.31, 1777, 77)
PARTITIONS = 4


class Provider:
    """One side: an admin process, a worker, and what was seen of them.

    Attributes:
        shown: what its admin API answered.
    """

    def __init__(self, name: str, url: str, client: Any, admin: Any, http: httpx2.AsyncClient, lab: Lab) -> None:
        self.name = name
        self.url = url
        self.state = client
        self.admin = admin
        self.http = http
        self.lab = lab
        self.hasher = Hasher(PEPPERS[name])
        self.tokens: dict[str, str] = {"admin": TOKEN}
        self.shown: list[bytes] = []

    def key(self, number: int) -> str:
        """Id of a key here."""
        return self.hasher.key(f"{CREDENTIAL}-{number}")

    async def call(
        self, method: str, path: str, who: str = "admin", *, secret: bool = False, **more: Any
    ) -> httpx2.Response:
        """One request of a person or a member; what is answered is looked through unless it gives a credential out."""
        headers = {"authorization": f"Bearer {self.tokens[who]}", **more.pop("headers", {})}
        answer = await self.http.request(method, path, headers=headers, **more)
        if not secret:
            self.shown.append(answer.content + repr(answer.headers).encode())
        return answer

    async def good(self, method: str, path: str, who: str = "admin", **more: Any) -> Any:
        """One that must be answered well."""
        answer = await self.call(method, path, who, **more)
        assert answer.status_code < 300, (method, path, answer.text)
        return answer.json() if answer.content else None

    async def people(self) -> None:
        """A trust group, a member that reads, an analyst and an admin."""
        await self.good("PUT", "/v1/intel/groups/labs", json={"title": "Labs"})
        made = await self.good("PUT", "/v1/intel/groups/labs/members/acme", json={}, secret=True)
        self.tokens["acme"] = made["token"]
        for name, role in (("ann", "analyst"), ("bob", "admin")):
            body = {"name": name, "role": role}
            self.tokens[name] = (await self.good("POST", "/v1/tokens", json=body, secret=True))["token"]

    async def traffic(self, first: int, count: int, style: Style | None, exchanges: int = 3) -> None:
        """Exchanges of each key, with secrets in everything that clients and models write."""
        pipe = self.lab.client.pipeline(transaction=False)
        address = self.hasher.digest(b"ip", bytes(map(int, IP.split(".")[:3])))
        for key in range(first, first + count):
            for number in range(exchanges):
                one = event(
                    key,
                    number,
                    style,
                    key_id=self.key(key),
                    org_id=self.key(key),
                    ip_prefix_id=address,
                    system_head=f"{PROMPT} {key}",
                    user_tail=f"{number} {PROMPT}{key}",
                    answer_head=f"{ANSWER} {key} {number}",
                )
                pipe.xadd(self.lab.stream_of(one), {"e": encode(one)})
        await pipe.execute()
        await self.lab.until_applied()

    async def routes(self) -> None:
        """Every route that can be read."""
        document = (await self.call("GET", "/v1/openapi.json")).json()
        for path in [path for path, operations in document["paths"].items() if "get" in operations]:
            for name, value in (("{key_id}", self.key(1)), ("{org_id}", self.key(1)), ("{group}", "labs")):
                path = path.replace(name, value)
            assert (await self.call("GET", path)).status_code < 500, path


@asynccontextmanager
async def provider(name: str, url: str, folder: Path, **more: str) -> AsyncIterator[Provider]:
    """A provider over a state server of its own."""
    keys = folder / "keys"
    keys.mkdir(parents=True)
    (keys / "labs.json").touch(0o600)
    (keys / "labs.json").write_text(json.dumps({"2026q4": SECRET}))
    given = {**acting(str(keys)), "STILLWATCH_IDENTITY__PEPPER": PEPPERS[name], **more}
    settings = settings_for(folder / "data", STILLWATCH_INTEL__PROVIDER=f"Provider {name}", **given)
    client = background_client(url, settings)
    lab = Lab(url, client, folder / "archive")
    lab.partitions = PARTITIONS
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        admin = await admin_server.start(settings, state_url=url)
        stack.push_async_callback(admin.stop)
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=admin.url, trust_env=False, timeout=30.0))
        await stack.enter_async_context(lab.worker(STILLWATCH_WORKER__ARCHIVE_SEC="0.1", **given))
        made = Provider(name, url, client, admin, http, lab)
        await made.people()
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that wait a second do so for a moment."""
    for name in ("app.worker.worker.SHARE_CHECK_SEC", "app.worker.sharing.REFRESH_SEC", "app.intel.taking.TAKE_SEC"):
        monkeypatch.setattr(name, 0.02)
    for name in [name for name in os.environ if name.startswith("STILLWATCH_")]:
        monkeypatch.delenv(name)


async def _campaign(a: Provider) -> None:
    """The campaign of twelve keys, as the linker leaves it; one of them was labelled by a person."""
    at_us, members = time.time_ns() // 1000, [a.key(number) for number in range(1, 13)]
    await AccountStore(a.state).import_many({key_id: Account() for key_id in members})
    made = Campaign(
        CAMPAIGN,
        Level.CONFIRMED,
        0.99,
        at_us - 86_400_000_000,
        at_us,
        at_us,
        members=tuple(Member(key_id, key_id, at_us, 0.9, ("template",), 40, 7, at_us) for key_id in members),
        evidence=(Evidence("template", "what", 9.0, 1.0, 0.001, f"{len(members)} keys send one wording"),),
        requests=480,
    )
    held = CampaignStore(a.state)
    joined = [(CAMPAIGN, key_id) for key_id in members]
    assert await held.write(await held.state(), Written(at_us, [made], joined, [], [CAMPAIGN])) is not None
    label = Label(
        key_id=members[0], label="abusive", source="analyst", weight=0.9, from_us=1, until_us=at_us, at_us=at_us, by="ann"
    )
    await Labels(a.state).add(label)
    traces = TraceStore(a.state, PARTITIONS)
    for partition in range(PARTITIONS):
        logged = {one.key_id: entry.data for entry in await traces.log(partition, "") if (one := decode(entry.data))}
        await a.state.hset(PartitionKeys(partition).traces, mapping={"": at_us, **logged})


async def _published(a: Provider) -> dict[str, Any]:
    """A publication with everything in it that can be in one."""
    body = {
        "campaign_id": CAMPAIGN,
        "group": "labs",
        "reason": REASON,
        "asns": ["AS64500"],
        "networks": ["198.51.100.0/24"],
        "clients": ["harvester/2"],
        "identities": [{"key_id": a.key(1), "address": ADDRESS}],
    }
    preview = {name: value for name, value in body.items() if name != "reason"}
    await a.good("POST", "/v1/intel/publications:preview", "ann", json=preview)
    one = await a.good("POST", "/v1/intel/publications", "ann", json=body)
    done = {"sha256": one["sha256"], "reason": REASON}
    await a.good("POST", f"/v1/intel/publications/{one['id']}:approve", "bob", json=done)
    return dict(one)


async def _refused(one: Provider) -> None:
    """What people and members get wrong, with secrets where they do not belong; answers quote none of it."""
    bad = f"{PROMPT} {ADDRESS} {CREDENTIAL} {IP} {SECRET} {PEPPERS[one.name]}"
    group = "/v1/intel/groups/labs"
    submit = "/taxii2/labs/collections/submit/objects/"
    objects = [{"type": "indicator", "id": f"indicator--{bad}", "pattern": bad}]
    wrong = [{"type": "indicator", "id": "indicator--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10", "created": bad, "name": bad}]
    campaign = CAMPAIGN if one.name == "A" else "c-ffffffffffff"
    asked: dict[str, Any] = {"campaign_id": campaign, "group": "labs", "reason": REASON}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/intel/publications", {"json": {**asked, "identities": [{"key_id": one.key(1), "address": bad}]}}),
        ("POST", "/v1/intel/publications", {"json": {**asked, "identities": [{"key_id": bad, "address": ADDRESS}]}}),
        ("POST", "/v1/intel/publications", {"json": {**asked, "networks": [f"{IP}/24"], "clients": [bad]}}),
        ("POST", "/v1/intel/publications", {"json": {**asked, "tlp": bad, bad: bad}}),
        ("POST", "/v1/intel/publications", {"content": bad}),
        ("PUT", f"{group}/members/birch", {"json": {"days": bad}}),
        ("PUT", f"{group}/members/birch/key", {"json": {"public_key": bad}}),
        ("POST", f"{group}/imports", {"content": bad}),
        ("POST", f"{group}/imports", {"content": orjson.dumps({"type": "bundle", "objects": objects})}),
        ("POST", f"{group}/imports", {"json": {"payload": bad, "protected": bad, "signature": bad}}),
        ("POST", f"{group}/imports", {"params": {"member": bad}, "content": b"{}"}),
        ("GET", "/v1/intel/indicators", {"params": {"kind": bad, bad: bad}}),
        ("GET", "/v1/intel/hits", {"params": {"cursor": bad}}),
        ("POST", f"/v1/intel/indicators/labs/{wrong[0]['id']}:agree", {"json": {"reason": bad}}),
        ("PUT", "/v1/intel/reporters/labs/acme", {"json": {"organisation": bad}}),
        ("POST", submit, {"content": bad}),
        ("POST", submit, {"content": orjson.dumps({"objects": objects})}),
        ("POST", submit, {"content": orjson.dumps({"objects": wrong})}),
        ("GET", "/taxii2/labs/collections/feed/objects/", {"params": {"match[id]": bad, bad: bad}}),
        ("GET", f"/taxii2/{CREDENTIAL}/", {}),
    ]
    for method, path, more in calls:
        who = "acme" if path == submit else "admin"
        headers = {"accept": TAXII, "content-type": TAXII} if path.startswith("/taxii2/") else {}
        answer = await one.call(method, path, who, headers=headers, **more)
        taken = answer.json() if answer.status_code < 300 else {}
        assert answer.status_code >= 400 or 1 in (taken.get("failure_count"), taken.get("dropped")), (path, answer.text)
    for token in (CREDENTIAL, PEPPERS["A"], one.tokens["acme"]):
        answer = await one.http.get("/v1/intel/groups", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code in (401, 403)
        one.shown.append(answer.content)
    basic = base64.b64encode(f"acme:{CREDENTIAL}".encode()).decode()
    answer = await one.http.get("/taxii2/", headers={"authorization": f"Basic {basic}", "accept": TAXII})
    assert answer.status_code == 401
    one.shown.append(answer.content)


class Commands:
    """The commands of a person, and what they print."""

    def __init__(self, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._capfd = capfd
        self._monkeypatch = monkeypatch
        self.said: list[bytes] = []

    async def run(self, one: Provider, *arguments: str, status: int = 0, who: str = "bob") -> bytes:
        """One command against a provider's admin API: what it wrote to its output."""
        self._monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", one.tokens[who])
        self._monkeypatch.setenv("STILLWATCH_ADMIN_URL", one.admin.url)
        self._capfd.readouterr()
        assert await asyncio.to_thread(cli.main, ["intel", *arguments]) == status, (arguments, self._capfd.readouterr())
        told = self._capfd.readouterr()
        self.said += [told.out.encode(), told.err.encode()]
        return str(told.out).encode()


async def test_nothing_planted_is_found(
    redis_db: str,
    quick: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing planted is in a feed, a file, an answer, a refusal, the state of either side, a log, a metric or the audit
    log; and nothing of A's own names of keys, people or campaigns leaves A."""
    caplog.set_level(logging.DEBUG)
    signing = SigningKey.made()
    signing.write(tmp_path / "key.pem")
    commands = Commands(capfd, monkeypatch)
    other = StateServer(StateSettings(data_dir=tmp_path / "other"))
    other.open()
    try:
        async with (
            provider("A", redis_db, tmp_path / "a") as a,
            provider("B", other.url, tmp_path / "b") as b,
        ):
            left = await _sent(a, commands, tmp_path)
            await _received(a, b, left, signing, commands, tmp_path)
            for one in (a, b):
                await _refused(one)
                await one.routes()
            places = {
                "A answers": b"\n".join(a.shown),
                "B answers": b"\n".join(b.shown),
                "A state": await _everything(a.state),
                "B state": await _everything(b.state),
                "metrics": generate_latest(metrics.REGISTRY),
                "commands": b"\n".join(commands.said),
                "logs": "\n".join(
                    f"{one.getMessage()} {one.__dict__}"
                    for one in caplog.records
                    if not one.name.startswith(("httpx", "httpcore"))
                ).encode(),
                **left,
            }
            tokens = {f"token of {one.name} {who}": token for one in (a, b) for who, token in one.tokens.items()}
    finally:
        other.close()
    places |= {f"archive {path}": path.read_bytes() for one in (a, b) for path in one.lab.folder.rglob("*.parquet")}
    assert any(name.startswith("archive") for name in places)
    pem = (tmp_path / "key.pem").read_bytes().splitlines()
    secrets = {
        "prompt": PROMPT, "answer": ANSWER, "address": ADDRESS, "credential": CREDENTIAL, "ip": IP,
        "pepper of A": PEPPERS["A"], "pepper of B": PEPPERS["B"], "group": SECRET, **tokens,
    }  # fmt: skip
    raw = {name: value.encode() for name, value in secrets.items()}
    raw |= {"group, raw": bytes.fromhex(SECRET), "signing key": b"".join(pem[1:-1])[-40:]}
    digests = {f"{name} sha256" for name in tokens}  # what is kept of a token, docs/security
    assert found(places, raw, digests) == set()
    ours = {f"key {number}": a.key(number).encode() for number in range(1, 13)}
    ours |= {"campaign": CAMPAIGN.encode(), "reason": REASON[:14].encode()}
    outside = {name: data for name, data in places.items() if name in left or name.startswith("B ")}
    assert found(outside, ours) == set()
    # The same look finds what is there.
    assert found(places, ours) >= {("A state", "key 1", "plain"), ("A answers", "reason", "plain")}
    assert ("B state", "key of B", "plain") in found(places, {"key of B": b.key(1).encode()})


async def _sent(a: Provider, commands: Commands, folder: Path) -> dict[str, bytes]:
    """What leaves A of its campaign, by every way."""
    await a.traffic(1, 12, STYLE)
    await a.traffic(1000, 210, None, exchanges=1)
    await _campaign(a)
    one = await _published(a)
    taxii = {"accept": TAXII}
    left = {}
    for what in ("objects", "manifest"):
        answer = await a.call("GET", f"/taxii2/labs/collections/feed/{what}/", "acme", headers=taxii)
        assert answer.status_code == 200
        left[f"TAXII {what}"] = answer.content
    kinds = {found.get("pattern_type") for found in orjson.loads(left["TAXII objects"])["objects"]}
    assert len(kinds) == 4, kinds  # nothing, plain, sketches, accounts
    key = ("--set", f"intel.signing_key_file={folder / 'key.pem'}")
    for form in ("stix", "feed", "misp", "csv"):
        more = key if form == "feed" else ()
        left[form] = await commands.run(a, "export", "--publication", one["id"], "-f", form, *more)
        (folder / form).write_bytes(left[form])
    assert b"198.51.100.0/24" in left["csv"]
    left["signed payload"] = base64.urlsafe_b64decode(json.loads(left["feed"])["payload"] + "==")
    for form in ("stix", "feed"):
        left[f"verify {form}"] = await commands.run(a, "verify", str(folder / form), "--json")
    (folder / "bad").write_text(f'{{"type": "bundle", "{PROMPT}": "{ADDRESS} {SECRET}')
    await commands.run(a, "verify", str(folder / "bad"), status=1)
    (folder / "accounts").write_text(f"{a.key(1)} {ADDRESS}\n{CREDENTIAL} {ADDRESS}\n")
    publish = ("publish", CAMPAIGN, "--group", "labs", "--reason", REASON, "--identities", str(folder / "accounts"))
    await commands.run(a, *publish, "--yes", status=1)
    await commands.run(a, "publications", "list")
    await commands.run(a, "publications", "show", one["id"])
    await a.good("GET", "/v1/audit")
    return left


async def _received(
    a: Provider, b: Provider, left: dict[str, bytes], signing: SigningKey, commands: Commands, folder: Path
) -> None:
    """What becomes of it at B, whose keys do the same; and what B says back."""
    await b.good("PUT", "/v1/intel/groups/labs/members/acme/key", json={"public_key": signing.public.pem})
    await commands.run(b, "pull", str(folder / "feed"), "--group", "labs", "--as", "acme")
    await b.traffic(1, 3, STYLE)

    async def shown() -> bool:
        return await hits_of(b, 1) is not None

    await b.lab.until(shown, True)
    await b.traffic(50, 1, None)
    listed = await b.good("GET", "/v1/intel/indicators")
    sketch = next(one for one in listed["indicators"] if one["kind"] == "settings")
    await b.good("POST", f"/v1/intel/indicators/labs/{sketch['id']}:agree", "bob", json={"reason": "seen here as well"})
    answer = await b.call("GET", "/taxii2/labs/collections/feed/objects/", "acme", headers={"accept": TAXII})
    assert b"opinion" in answer.content
    left["B feed"] = answer.content
    for words in (("match",), ("match", "--json"), ("indicators",), ("indicators", sketch["id"]), ("reporters", "--json")):
        left[f"B {' '.join(words)}"] = await commands.run(b, *words)
    await b.good("GET", f"/v1/keys/{b.key(1)}")
    await b.good("GET", "/v1/audit")
    sets = [f"intel.keys_dir={folder / 'b' / 'keys'}", f"state.redis_url={b.url}", f"state.partitions={PARTITIONS}"]
    given = [part for one in sets for part in ("--set", one)]
    where = ("--archive", str(b.lab.folder), "--bundle", str(folder / "stix"), "--group", "labs")
    await commands.run(b, "match", "--days", "3", *where, *given)


async def hits_of(one: Provider, number: int) -> Any:
    """What a key shows there."""
    from app.state.intel_hits import Hits

    return (await Hits(one.state).of([one.key(number)])).get(one.key(number))


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"])
def test_scanner_finds_what_is_planted(before: bytes) -> None:
    """Every form of a secret is found wherever it stands, and nothing where there is none."""
    secret = b"qzxprompt7f3a9/+"
    planted = {
        "plain": before + secret + b"y",
        "hex": (before + secret).hex().encode(),
        "HEX": (before + secret + b"y").hex().upper().encode(),
        "base64": base64.b64encode(before + secret + b"yyyy"),
        "base64url": base64.urlsafe_b64encode(before + secret + b"yyy"),
        "sha256": before + hashlib.sha256(secret).hexdigest().encode(),
        "sha256 raw": before + hashlib.sha256(secret).digest(),
    }
    assert {place for place, _, form in found(planted, {"s": secret}) if form.partition("/")[0] == place} == set(planted)
    assert found({"clean": b"qzxprompt7f3a8/+" * 9}, {"s": secret}) == set()
    assert len(dict(forms(secret))) == 11
