"""The TAXII addresses: media types, credentials, rights, records, and what a lying member may send."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import orjson
import pytest

from app.admin import failures, routes_taxii, visiting
from app.admin import server as admin_server
from app.admin.permissions import route_of
from app.intel.taxii.envelope import MAX_BODY_BYTES, MAX_OBJECT_BYTES, MAX_OBJECTS
from app.settings import load
from app.state.audit_file import verify
from app.state.intel_groups import Credential
from app.state.intel_keys import INTEL_MEMBERS
from app.state.intel_received import ReceivedQueue
from app.state.keys import AUDIT, UNBOUNDED_OK

PAGE = Path(__file__).resolve().parents[3] / "docs" / "intel.md"
ROW = re.compile(r"^\| `([A-Z]+) (/taxii2/[^`]*)` \| `([a-z.]+)` \|", re.MULTILINE)
TAXII = "application/taxii+json;version=2.1"
FEED, SUBMIT = "/taxii2/labs/collections/feed/", "/taxii2/labs/collections/submit/"
NOBODY = f"indicator--{'0' * 8}-0000-4000-8000-{'0' * 12}"


def _taxii(site: Any) -> Any:
    """The application behind the door."""
    app = site.server.app.middleware_stack
    while not isinstance(app, routes_taxii.TaxiiDoor):
        app = app.app
    return app._taxii


def _operations(site: Any) -> list[tuple[str, str]]:
    """(method, path that exists) of every TAXII address."""
    filled = {"group": "labs", "collection_id": "feed", "status_id": "none", "object_id": NOBODY}
    return [(method, path.format(**filled)) for method, path in route_of(_taxii(site))]


async def _records(site: Any) -> list[dict[str, Any]]:
    return [json.loads(fields[b"r"]) for _, fields in await site.state.xrange(AUDIT)]


async def test_there_are_the_nine_addresses_each_with_one_permission(site: Any) -> None:
    """The routes are those of the standard, with a permission each, and the page lists them."""
    routes = route_of(_taxii(site))
    assert len({path for _, path in routes}) == 9
    assert all(len(permissions) == 1 for permissions in routes.values())
    told = {(method, path): [permission] for method, path, permission in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert told == routes
    for (method, _), (permission,) in routes.items():
        assert permission == ("intel.read" if method == "GET" else "intel.write")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (TAXII, 200),
        ("application/taxii+json", 200),
        ("application/taxii+json; version=2.1", 200),
        ('application/taxii+json;version="2.1"', 200),
        ("APPLICATION/TAXII+JSON;VERSION=2.1", 200),
        ("text/html, application/taxii+json;version=2.1;q=0.5", 200),
        ("application/taxii+json;version=2.0", 406),
        ("application/vnd.oasis.taxii+json; version=2.0", 406),
        ("application/taxii+json;version=2.1;q=0", 406),
        ("application/taxii+json;charset=latin-1", 406),
        ("application/json", 406),
        ("application/stix+json;version=2.1", 406),
        ("*/*", 406),
        ("", 406),
        ("application/taxii+json;;;", 406),
    ],
)
async def test_what_a_request_accepts_is_looked_at(site: Any, accept: str, status: int) -> None:
    """An answer is TAXII 2.1 or there is none."""
    for path in ("/taxii2/", "/taxii2/labs/", f"{FEED}objects/"):
        answer = await site.ask("GET", path, site.acme, headers={"accept": accept})
        assert answer.status_code == status, (path, answer.text)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (TAXII, 202),
        ("application/taxii+json", 202),
        ("application/taxii+json; version=2.0", 415),
        ("application/json", 415),
        ("application/stix+json;version=2.1", 415),
        ("application/taxii+json;q=1", 415),
        ("", 415),
    ],
)
async def test_what_a_body_is_has_to_be_said(site: Any, content_type: str, status: int) -> None:
    """A body of another type is refused before it is read."""
    body = orjson.dumps({"objects": [site.indicator(1)]})
    answer = await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body, headers={"content-type": content_type})
    assert answer.status_code == status


async def test_nothing_is_open_without_a_good_credential(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential, a wrong, ended or maimed one, another's name, two at once: 401 everywhere, in TAXII's form."""
    monkeypatch.setattr(failures, "BURST", 10**9)
    ended = await site.member("ended")
    await site.http.delete("/v1/intel/groups/labs/members/ended", headers={"authorization": f"Bearer {site.token}"})
    expired = await site.member("expired")
    stored = msgspec.json.decode(await site.state.hget(INTEL_MEMBERS, expired[3:11]), type=Credential)
    late = msgspec.structs.replace(stored, expires_sec=int(time.time()) - 1)
    await site.state.hset(INTEL_MEMBERS, expired[3:11], msgspec.json.encode(late))
    bad = {
        "none": "",
        "wrong": "Bearer wrong",
        "ended": f"Bearer {ended}",
        "expired": site.basic("expired", expired),
        "maimed": f"Bearer {site.acme[:-1]}",
        "of another name": site.basic("birch", site.acme),
        "without a name": site.basic("", site.acme),
        "a person's as a password": site.basic("bootstrap", site.token),
        "no base64": "Basic ###",
        "base64 of no text": "Basic /////w==",
        "another scheme": f"Token {site.acme}",
    }
    for kind, authorization in bad.items():
        for method, path in _operations(site):
            answer = await site.ask(method, path, headers={"authorization": authorization})
            assert answer.status_code == 401, (kind, method, path)
            assert answer.headers["www-authenticate"] == 'Basic realm="taxii2", Bearer'
    async with httpx2.AsyncClient(base_url=site.server.url, trust_env=False) as http:
        for first, second in ((site.acme, site.acme), (site.acme, "wrong"), (site.token, site.acme)):
            both = [("authorization", f"Bearer {first}"), ("authorization", f"Bearer {second}"), ("accept", TAXII)]
            assert (await http.get("/taxii2/", headers=both)).status_code == 401


async def test_a_members_credential_opens_nothing_of_the_admin_api(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address of the API refuses it, and so does another group, which looks as if it did not exist."""
    monkeypatch.setattr(failures, "BURST", 10**9)
    for method, path in route_of(site.server.app):
        if path not in ("/healthz", "/metrics"):
            answer = await site.http.request(
                method, re.sub(r"\{[^}]+\}", "some", path), headers={"authorization": f"Bearer {site.acme}"}
            )
            assert answer.status_code == 401, (method, path)
    await site.http.put(
        "/v1/intel/groups/other", json={"title": "Other"}, headers={"authorization": f"Bearer {site.token}"}
    )
    for path in ("/taxii2/other/", "/taxii2/other/collections/feed/objects/", "/taxii2/none/"):
        answer = await site.ask("GET", path, site.acme)
        assert answer.status_code == 404
        assert answer.json()["description"] == "There is no such API root, or it is not open to the caller."
    assert (await site.ask("GET", "/taxii2/", site.acme)).json()["api_roots"] == ["/taxii2/labs/"]
    assert (await site.ask("GET", "/taxii2/")).json()["api_roots"] == ["/taxii2/labs/", "/taxii2/other/"]


async def test_wrong_credentials_are_limited(site: Any) -> None:
    """Guesses from one place are refused unseen after a few; who was known from before them goes on, if it still counts."""
    assert (await site.ask("GET", "/taxii2/", site.acme)).status_code == 200
    codes = []
    for number in range(failures.BURST + 2):
        guess = site.basic("acme", f"guess {number}")
        codes.append((await site.ask("GET", "/taxii2/", headers={"authorization": guess})).status_code)
    assert codes[: failures.BURST] == [401] * failures.BURST
    assert codes[-1] == 429
    wrong_name = site.basic("birch", site.acme)
    for authorization, code in ((site.basic("acme", site.acme), 200), (f"Bearer {site.birch}", 429), (wrong_name, 429)):
        assert (await site.ask("GET", "/taxii2/", headers={"authorization": authorization})).status_code == code


async def test_a_member_reads_the_feed_and_writes_to_submit(site: Any) -> None:
    """The rights of members and of our own people, address by address."""
    await site.share(site.indicator(1))
    name = site.indicator(1)["id"]
    body = {"content": orjson.dumps({"objects": [site.indicator(2)]})}
    reader = await site.member("reader", may_submit=False)
    viewer, analyst = [
        (
            await site.http.post(
                "/v1/tokens", json={"name": role, "role": role}, headers={"authorization": f"Bearer {site.token}"}
            )
        ).json()["token"]
        for role in ("viewer", "analyst")
    ]
    expected = {
        ("GET", f"{FEED}objects/"): (200, 200, 403, 200, 200),
        ("GET", f"{FEED}manifest/"): (200, 200, 403, 200, 200),
        ("GET", f"{FEED}objects/{name}/"): (200, 200, 403, 200, 200),
        ("GET", f"{FEED}objects/{name}/versions/"): (200, 200, 403, 200, 200),
        ("POST", f"{FEED}objects/"): (403, 403, 403, 403, 403),
        ("DELETE", f"{FEED}objects/{name}/"): (403, 403, 403, 403, 403),
        ("GET", f"{SUBMIT}objects/"): (403, 403, 403, 200, 200),
        ("GET", f"{SUBMIT}manifest/"): (403, 403, 403, 200, 200),
        ("POST", f"{SUBMIT}objects/"): (202, 403, 403, 403, 202),
        ("DELETE", f"{SUBMIT}objects/{site.indicator(2)['id']}/"): (403, 403, 403, 403, 200),
    }
    for (method, path), codes in expected.items():
        for token, code in zip((site.acme, reader, viewer, analyst, site.token), codes, strict=True):
            answer = await site.ask(method, path, token, **(body if method == "POST" else {}))
            assert answer.status_code == code, (method, path, token[:11], answer.text)
    told = (await site.ask("GET", "/taxii2/labs/collections/", reader)).json()["collections"]
    assert [(one["can_read"], one["can_write"]) for one in told] == [(True, False), (False, False)]


async def test_what_is_sent_is_queued_with_who_sent_it(site: Any) -> None:
    """Two members send the same object: both reports wait, each under its sender, and one version is in the collection."""
    objects = [site.indicator(1), {**site.indicator(2), "created_by_ref": f"identity--{'1' * 8}-1111-4111-8111-{'1' * 12}"}]
    before_us = time.time_ns() // 1000
    for token in (site.acme, site.birch):
        answer = await site.ask("POST", f"{SUBMIT}objects/", token, content=orjson.dumps({"objects": objects}))
        assert answer.json()["success_count"] == 2
    queue = ReceivedQueue(site.state)
    assert [(one.group, one.member, one.objects) for one in await queue.sources()] == [
        ("labs", "acme", 2),
        ("labs", "birch", 2),
    ]
    for member in ("acme", "birch"):
        received = await queue.read("labs", member)
        assert [orjson.loads(one.data) for one in received] == objects
        assert all(before_us <= one.received_us <= time.time_ns() // 1000 for one in received)
    found = await site.ask("GET", f"{SUBMIT}objects/")
    assert found.json()["objects"] == objects
    listed = (await site.http.get("/v1/intel/groups", headers={"authorization": f"Bearer {site.token}"})).json()["groups"][
        0
    ]
    assert (listed["shared"], listed["submitted"], listed["waiting"]) == (0, 2, 4)
    assert {one["member"] for one in listed["members"]} == {"acme", "birch"}
    assert site.acme not in json.dumps(listed)
    for key in await site.state.keys("*int*"):
        assert await site.state.ttl(key) > 0 or key.decode().endswith(UNBOUNDED_OK), key


async def test_a_status_is_its_senders_own(site: Any) -> None:
    """Success and failure of each object can be asked for again by who sent them, and by nobody else."""
    bad = [
        {**site.indicator(2), "spec_version": "2.0"},
        {key: value for key, value in site.indicator(3).items() if key != "spec_version"},
        {**site.indicator(4), "modified": "yesterday"},
        {**site.indicator(5), "modified": 5},
        {**site.indicator(6), "modified": "1969-12-31T23:59:59Z"},
        {**site.indicator(7), "description": "x" * MAX_OBJECT_BYTES},
        {**site.indicator(8), "x_deep": json.loads("[" * 25 + "]" * 25)},
        {**site.indicator(9), "x_deeper": json.loads("[" * 500 + "]" * 500)},
        {"type": "bundle", "id": f"bundle--{'1' * 8}-1111-4111-8111-{'1' * 12}", "objects": []},
    ]
    body = json.dumps({"objects": [site.indicator(1), *bad]}).encode()
    answer = await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body)
    assert answer.status_code == 202
    status = answer.json()
    assert (status["status"], status["total_count"], status["success_count"], status["failure_count"]) == (
        "complete", 10, 1, 9,
    )  # fmt: skip
    assert [one["id"] for one in status["failures"]] == [one["id"] for one in bad]
    assert [one["message"].split()[0] for one in status["failures"]] == [
        "spec_version", "spec_version", "modified", "modified", "modified", "must", "must", "must", "must",
    ]  # fmt: skip
    path = f"/taxii2/labs/status/{status['id']}/"
    assert (await site.ask("GET", path, site.acme)).json() == status
    for token in (site.birch, site.token):
        assert (await site.ask("GET", path, token)).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"not json", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"objects": []}', 422),
        (b'{"objects": {}}', 422),
        (b'{"objects": [1]}', 422),
        (b'{"objects": [{}]}', 422),
        (b'{"objects": [{"id": 5, "type": "indicator"}]}', 422),
        (b'{"objects": [{"id": "indicator--x", "type": "indicator"}]}', 422),
        (b'{"objects": [{"id": "indicator--%s|{x}", "type": "indicator"}]}' % (b"0" * 36), 422),
        (f'{{"objects": [{{"id": "{NOBODY}", "type": "malware"}}]}}'.encode(), 422),
        (b'{"objects": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 422),
        (b'{"objects": ' + b"[" * 2_000_000, 422),
        (b'{"objects": [{"a": 1' + b"0" * 5000 + b"}]}", 422),
        (b'{"objects": [{"a": NaN}]}', 422),
        (b'{"objects": [{"a": "\\ud800"}]}', 422),
        (b'\xff\xfe{"objects": []}', 422),
        (b'{"objects": [' + b",".join([b"{}"] * (MAX_OBJECTS + 1)) + b"]}", 422),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
    ids=range(20),
)
async def test_an_envelope_that_is_none_is_refused_whole(site: Any, body: bytes, status: int) -> None:
    """Nothing of it is stored, nothing of it stands in the answer or the log, and there is no record of a change."""
    before = await _records(site)
    answer = await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body)
    assert answer.status_code == status, answer.text
    assert len(answer.content) < 600
    assert await _records(site) == before
    assert await ReceivedQueue(site.state).sources() == []


async def test_a_body_without_end_is_cut(site: Any) -> None:
    """A body of unknown length that goes on and on is refused when it passes the bound, and was never held whole."""
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 10**9:
            sent += 65_536
            yield b" " * 65_536

    try:
        answer = await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=endless())
        assert answer.status_code == 413
    except httpx2.TransportError:
        pass  # it hung up on us before we had read the answer
    assert sent < 2 * 10**8


async def test_a_full_queue_is_a_failure_of_those_objects(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is named in the status, is in no collection, and another member is not held up."""
    app = site.server.app
    assert app is not None
    monkeypatch.setattr(ReceivedQueue, "received", _only(3))
    body = orjson.dumps({"objects": [site.indicator(number) for number in range(1, 6)]})
    status = (await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body)).json()
    assert (status["success_count"], status["failure_count"]) == (3, 2)
    assert {one["message"] for one in status["failures"]} == {"The queue of this sender is full; send it again later."}
    assert len((await site.ask("GET", f"{SUBMIT}objects/")).json()["objects"]) == 3


def _only(most: int) -> Any:
    real = ReceivedQueue.received

    async def fewer(self: ReceivedQueue, group: str, member: str, objects: Any) -> int:
        return await real(self, group, member, objects[:most])

    return fewer


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "limit=" + "9" * 5000,
        "next=x", "next=", "next=-1", "next=" + "1" * 17,
        "added_after=yesterday", "added_after=2026-01-01", "added_after=2026-13-01T00:00:00Z",
        "added_after=1900-01-01T00:00:00Z",
        "match[id]=x", "match[id]=", "match[id]=" + ",".join([NOBODY] * 101),
        "match[type]=A", "match[type]=%00", "match[type]=a,,b",
        "match[version]=newest", "match[version]=last,", "match[spec_version]=x",
        "match[created_by_ref]=x", "match=x", "x=1", "a" * 5000 + "=1",
    ],
)  # fmt: skip
async def test_a_broken_question_is_refused(site: Any, query: str) -> None:
    """400 with the name of the parameter and its rule, and none of what was sent."""
    for part in ("objects/", "manifest/"):
        answer = await site.ask("GET", f"{FEED}{part}?{query}", site.acme)
        assert answer.status_code == 400, answer.text
        assert answer.json()["description"].startswith("query")
        assert len(answer.content) < 600


async def test_unknown_things_are_not_found(site: Any) -> None:
    """Unknown ids and addresses without the last slash get 404; methods that an address does not take 405."""
    await site.share(site.indicator(1))
    name = site.indicator(1)["id"]
    for path in (
        "/taxii2/labs", "/taxii2/labs/collections", f"{FEED}objects", "/taxii2/labs/status/x/",
        "/taxii2/labs/collections/none/", f"{FEED}objects/{NOBODY}/", f"{FEED}objects/x|y/", f"{FEED}objects/{name}/x/",
        f"{FEED}objects/{NOBODY}/versions/",
    ):  # fmt: skip
        assert (await site.ask("GET", path, site.acme)).status_code == 404, path
    for method in ("PUT", "PATCH", "OPTIONS"):
        answer = await site.ask(method, f"{FEED}objects/", site.acme)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert (await site.http.head("/taxii2/")).status_code == 405
    assert (await site.ask("GET", f"{FEED}objects/{name}/?match[spec_version]=2.0", site.acme)).json() == {}


async def test_the_dates_of_a_page_are_in_its_headers(site: Any) -> None:
    """First and last date of what is in the answer; none where nothing is."""
    await site.share(*(site.indicator(number) for number in range(1, 6)))
    manifest = (await site.ask("GET", f"{FEED}manifest/", site.acme)).json()["objects"]
    answer = await site.ask("GET", f"{FEED}objects/?limit=2", site.acme)
    assert answer.json()["more"] is True
    assert answer.headers["x-taxii-date-added-first"] == manifest[0]["date_added"]
    assert answer.headers["x-taxii-date-added-last"] == manifest[1]["date_added"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", manifest[0]["date_added"])
    rest = await site.ask("GET", f"{FEED}objects/?added_after={manifest[1]['date_added']}", site.acme)
    assert rest.json() == {"objects": [site.indicator(number) for number in (3, 4, 5)]}
    empty = await site.ask("GET", f"{FEED}objects/?added_after={manifest[4]['date_added']}", site.acme)
    assert empty.json() == {}
    assert "x-taxii-date-added-first" not in empty.headers


async def test_a_page_of_large_objects_is_cut_by_its_bytes(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has fewer objects and says more; going on gives all of them."""
    monkeypatch.setattr(routes_taxii, "PAGE_BYTES", 100_000)
    objects = [site.indicator(number, description="x" * 30_000) for number in range(1, 8)]
    await site.share(*objects)
    found, path = [], f"{FEED}objects/"
    while True:
        page = (await site.ask("GET", path, site.acme)).json()
        assert len(page["objects"]) <= 3
        found += page["objects"]
        if not page.get("more"):
            break
        path = f"{FEED}objects/?next={page['next']}"
    assert found == objects


async def test_every_change_leaves_one_record_before_it_is_made(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending and deleting are in the log, under the member's name, in a sound chain; without it nothing is taken."""
    body = orjson.dumps({"objects": [site.indicator(1)]})
    before = await _records(site)
    answer = await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body)
    await site.ask("DELETE", f"{SUBMIT}objects/{site.indicator(1)['id']}/")
    sent, deleted = (await _records(site))[len(before) :]
    assert (sent["action"], sent["subject"], sent["name"], sent["role"]) == (
        "intel.submit", "group:labs", "labs/acme", "member",
    )  # fmt: skip
    assert sent["after"] == {"member": "acme", "objects": 1, "taken": 1, "bytes": len(body)}
    assert sent["request_id"] == answer.headers["x-request-id"]
    assert sent["token_id"] == site.acme[3:11]
    assert (deleted["action"], deleted["before"]["versions"]) == ("intel.delete", 1)
    exported = await site.http.get("/v1/audit:export", headers={"authorization": f"Bearer {site.token}"})
    assert verify(exported.content.splitlines(keepends=True)).records == len(before) + 2

    async def broken(*_: Any) -> int:
        raise RuntimeError("no")

    monkeypatch.setattr(ReceivedQueue, "received", broken)
    assert (await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body)).status_code == 500
    assert [one["outcome"] for one in (await _records(site))[-2:]] == ["accepted", "failed"]
    await site.state.delete(AUDIT)
    await site.state.set(AUDIT, "no stream")
    monkeypatch.undo()
    answer = await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert len(await ReceivedQueue(site.state).read("labs", "acme")) == 1


async def test_a_member_that_hurries_is_slowed(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bursts a member gets 429 with a time to wait, reading and sending apart; others are not held up."""
    monkeypatch.setattr(visiting, "READS_BURST", 3)
    monkeypatch.setattr(visiting, "WRITES_BURST", 1)
    monkeypatch.setattr(visiting, "READS_EVERY_SEC", 60.0)
    codes = [(await site.ask("GET", "/taxii2/", site.acme)).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    body = orjson.dumps({"objects": [site.indicator(1)]})
    answers = [await site.ask("POST", f"{SUBMIT}objects/", site.acme, content=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert 0 < int(answers[1].headers["retry-after"]) <= 60
    assert (await site.ask("GET", "/taxii2/", site.birch)).status_code == 200


async def test_a_credential_is_shown_once_and_kept_as_a_digest(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither state, nor audit log, nor log lines, nor metrics hold it."""
    caplog.set_level(logging.DEBUG)
    token = await site.member("cedar")
    assert (
        await site.ask("GET", "/taxii2/labs/", headers={"authorization": site.basic("cedar", token)})
    ).status_code == 200
    assert (await site.ask("GET", "/taxii2/labs/", token[:-1])).status_code == 401
    held = [await site.state.dump(key) or b"" for key in await site.state.keys("*")]
    assert not any(token[12:].encode() in data for data in held)
    assert token[12:] not in json.dumps(await _records(site))
    metrics = (await site.http.get("/metrics")).text
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith(("httpx", "httpcore", "uvicorn.access"))]
    assert token[12:] not in metrics + "\n".join(ours)


async def test_a_replaced_credential_may_overlap(site: Any) -> None:
    """With an overlap both open the group; without one the old one is refused at once."""
    second = await site.member("acme", overlap_hours=24)
    assert [(await site.ask("GET", "/taxii2/", token)).status_code for token in (site.acme, second)] == [200, 200]
    third = await site.member("acme")
    codes = [(await site.ask("GET", "/taxii2/", token)).status_code for token in (site.acme, second, third)]
    assert codes == [401, 401, 200]


async def test_names_that_cannot_be_are_refused(site: Any) -> None:
    """Of groups and of members, with the rule; a member of a group that does not exist is not made."""
    head = {"authorization": f"Bearer {site.token}"}
    for path in ("/v1/intel/groups/A", "/v1/intel/groups/a{b}", "/v1/intel/groups/-a", "/v1/intel/groups/" + "a" * 33):
        assert (await site.http.put(path, json={"title": "x"}, headers=head)).status_code == 422
    for member in ("@boss", "A", "a:b", "x" * 65):
        assert (await site.http.put(f"/v1/intel/groups/labs/members/{member}", json={}, headers=head)).status_code == 422
    assert (await site.http.put("/v1/intel/groups/none/members/acme", json={}, headers=head)).status_code == 404
    assert (await site.http.delete("/v1/intel/groups/labs/members/none", headers=head)).status_code == 404
    assert (await site.http.delete("/v1/intel/groups/none", headers=head)).status_code == 404


async def test_many_members_send_at_once_and_nothing_is_lost(site: Any) -> None:
    """Twenty requests in parallel: every object is in its sender's queue, and a reader's pages have each once."""

    async def send(token: str, start: int) -> None:
        objects = [site.indicator(number) for number in range(start, start + 50)]
        answer = await site.ask("POST", f"{SUBMIT}objects/", token, content=orjson.dumps({"objects": objects}))
        assert answer.json()["success_count"] == 50

    await asyncio.gather(
        *(send(site.acme, 1 + 50 * number) for number in range(10)),
        *(send(site.birch, 5001 + 50 * number) for number in range(10)),
    )
    found, path = [], f"{SUBMIT}objects/?limit=33"
    while True:
        page = (await site.ask("GET", path)).json()
        found += [one["id"] for one in page["objects"]]
        if not page.get("more"):
            break
        path = f"{SUBMIT}objects/?limit=33&next={page['next']}"
    assert len(found) == len(set(found)) == 1000
    assert [one.objects for one in await ReceivedQueue(site.state).sources()] == [500, 500]


async def test_without_the_state_server_nobody_is_let_in(site: Any, tmp_path: Path) -> None:
    """Members and people get 503 in TAXII's form, and when to ask again; a wrong credential is still a wrong one."""
    environ = {
        "STILLWATCH_STATE__DATA_DIR": str(tmp_path),
        "STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS": "100",
        "STILLWATCH_ADMIN__TOKEN": site.token,
        "STILLWATCH_ADMIN__PORT": "0",
    }
    server = await admin_server.start(load(environ=environ), state_url="redis://127.0.0.1:1/0")
    try:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30.0) as http:
            for token, status in ((site.acme, 503), (site.token, 503), ("wrong", 401)):
                head = {"authorization": f"Bearer {token}", "accept": TAXII}
                for path in ("/taxii2/", f"{FEED}objects/"):
                    answer = await http.get(path, headers=head)
                    assert (answer.status_code, answer.headers["content-type"]) == (status, TAXII), answer.text
                    assert (answer.headers.get("retry-after") == "5") is (status == 503)
    finally:
        await server.stop()
