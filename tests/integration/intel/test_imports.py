"""Documents that are imported through the admin API: whose word they are, what is left out, and nothing counts twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx2
import orjson
import pytest

from app.intel import bundle, documents, signing, tlp
from app.intel.signing import SigningKey
from app.state.intel_indicators import Indicators
from app.state.intel_received import ReceivedQueue
from app.state.keys import AUDIT
from app.state.waiting import end
from detectors.sharing.indicator import DAY_US, Indicator

KEY = SigningKey.made()
IMPORTS = "/v1/intel/groups/labs/imports"


def _now_us() -> int:
    return time.time_ns() // 1000


def _bundle(count: int = 3, red: int = 0) -> bytes:
    now = _now_us()
    provider = bundle.Provider(bundle.provider_id("Acme"), "Acme")
    found = [
        Indicator(
            bundle.indicator_stix_id(provider, "ref", "asn", str(number)), "asn", (f"AS{64500 + number}",), now,
            now + DAY_US,
        )
        for number in range(count)
    ]  # fmt: skip
    objects = bundle.objects(provider, bundle.Shared("ref", now - DAY_US, now, 240, 12_000, found), now)
    for one in [one for one in objects if one["type"] == "indicator"][:red]:
        one["object_marking_refs"] = [tlp.LEVELS["red"]]
    return orjson.dumps(bundle.bundle(objects))


def _feed(payload: bytes | None = None, key: SigningKey = KEY, **more: Any) -> bytes:
    return signing.signed(_bundle() if payload is None else payload, key, more.pop("issued_us", _now_us()), 3600, **more)


@pytest.fixture
async def still(site: Any) -> Any:
    """The site, with Acme's key registered, and nobody who takes what is queued."""
    await site.server.app.state.taking.stop()
    answer = await _put_key(site, "acme", KEY)
    assert answer.status_code == 200, answer.text
    return site


async def _put_key(site: Any, member: str, key: SigningKey) -> httpx2.Response:
    return await _call(site, "PUT", f"/v1/intel/groups/labs/members/{member}/key", json={"public_key": key.public.pem})


async def _call(site: Any, method: str, path: str, **more: Any) -> httpx2.Response:
    answer: httpx2.Response = await site.http.request(
        method, path, headers={"authorization": f"Bearer {site.token}"}, **more
    )
    return answer


async def _waiting(site: Any) -> dict[str, int]:
    queue = ReceivedQueue(site.state)
    return {source.member: source.objects for source in await queue.sources()}


async def _records(site: Any) -> list[dict[str, Any]]:
    return [orjson.loads(fields[b"r"]) for _, fields in await site.state.xrange(AUDIT)]


async def test_signed_counts_for_member(still: Any) -> None:
    """What Acme's key has signed is queued as Acme's, whoever brings it, on record; the same again does nothing."""
    payload = _bundle()
    feed, total = _feed(payload), len(documents.read(payload))
    answer = await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=feed)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "member": "acme", "fingerprint": KEY.public.fingerprint, "objects": total, "queued": total, "red": 0,
        "dropped": 0, "next": total, "known": False,
    }  # fmt: skip
    assert await _waiting(still) == {"acme": total}
    record = (await _records(still))[-1]
    assert (record["action"], record["subject"], record["after"]["member"]) == ("intel.import", "group:labs", "acme")
    assert record["after"]["fingerprint"] == KEY.public.fingerprint
    again = (await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=feed)).json()
    assert (again["known"], again["queued"], again["next"]) == (True, 0, total)
    assert await _waiting(still) == {"acme": total}


async def test_unsigned_counts_for_person(still: Any) -> None:
    """A plain bundle, an envelope and a feed that nobody's key was asked about are the word of who sends them."""
    envelope = orjson.dumps({"objects": orjson.loads(_bundle())["objects"]})
    for document in (_bundle(), envelope, _feed(key=SigningKey.made())):
        answer = (await _call(still, "POST", IMPORTS, content=document)).json()
        assert answer["member"].startswith("@")
        assert answer["fingerprint"] == ""
        assert answer["queued"] == answer["objects"] == answer["next"]
    (member,) = await _waiting(still)
    assert member.startswith("@")
    refused = await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=_bundle())
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "signature")


async def test_red_left_out(still: Any) -> None:
    """What is marked TLP:RED is not queued."""
    answer = (await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=_feed(_bundle(5, red=2)))).json()
    assert (answer["red"], answer["queued"]) == (2, answer["objects"] - 2)
    queue = ReceivedQueue(still.state)
    kept = [one.data for one in await queue.read("labs", "acme")]
    assert len(kept) == answer["queued"]
    assert not any(tlp.LEVELS["red"].encode() in data for data in kept)


async def test_old_feed_refused(still: Any) -> None:
    """After a newer feed an older one of the same key is refused, and so is another with the same number."""
    now = _now_us()
    old, new, other = _feed(issued_us=now - 1), _feed(issued_us=now), _feed(_bundle(4), issued_us=now)
    assert (await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=new)).status_code == 200
    waiting = await _waiting(still)
    for document, word in ((old, "an old one"), (other, "same seq")):
        answer = await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=document)
        assert answer.status_code == 409
        assert word in answer.json()["detail"]
    assert await _waiting(still) == waiting
    assert (await _records(still))[-1]["outcome"] == "failed"


async def test_bad_signatures_refused(still: Any) -> None:
    """A flipped byte, another key, an expired, a cut and a deep document: one sentence each, and nothing is queued."""
    feed = _feed()
    at = feed.index(b'"payload":"') + 50
    flipped = feed[:at] + (b"A" if feed[at : at + 1] != b"A" else b"B") + feed[at + 1 :]
    deep = _feed(b'{"objects": [{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}]}")
    expired = signing.signed(_bundle(), KEY, _now_us() - 10_000_000_000, 60)
    documents_ = {
        "does not fit": flipped, "another key": _feed(key=SigningKey.made()), "exp has passed": expired,
        "flattened JWS": feed[:-20], "nested": deep, "ahead": _feed(issued_us=_now_us() + 2 * DAY_US),
    }  # fmt: skip
    for word, document in documents_.items():
        answer = await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=document)
        assert answer.status_code == 422, (word, answer.text)
        assert word in answer.json()["detail"]
    assert await _waiting(still) == {}


async def test_full_queue_goes_on(still: Any) -> None:
    """Where the sender's queue is full, the answer says where to go on; after a place is free, the rest is taken."""
    queue = still.server.app.state.taking._queue
    queue._most = 20
    feed = _feed(_bundle(30))
    first = (await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=feed)).json()
    assert (first["queued"], first["next"], first["known"]) == (20, 20, False)
    (*_, last) = await queue.read("labs", "acme")
    await queue.done("labs", "acme", last.entry_id)
    queue._most = 20_000
    params = {"member": "acme", "first": first["next"]}
    second = (await _call(still, "POST", IMPORTS, params=params, content=feed)).json()
    assert (second["queued"], second["next"]) == (second["objects"] - 20, second["objects"])
    assert (await _call(still, "POST", IMPORTS, params=params, content=feed)).json()["known"] is True


async def test_gigabyte_body_refused(still: Any) -> None:
    """A body of 1 GB is refused by its length, and one without a length as soon as it is too long."""
    host, port = still.server.url.removeprefix("http://").split(":")
    head = f"POST {IMPORTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {still.token}\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Content-Length: {1 << 30}\r\n\r\n".encode())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()

    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    sent, piece = 0, b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    async def send() -> None:
        nonlocal sent
        for _ in range(1024):
            writer.write(piece)
            await writer.drain()
            sent += 0x100000

    sending = asyncio.create_task(send())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 30)
    await end(sending)
    writer.transport.abort()
    assert sent < 160 * 1024 * 1024
    assert await _waiting(still) == {}


async def test_keys_of_members(still: Any) -> None:
    """A key is listed, replaced and forgotten, on record; without it nothing is taken as that member's."""
    other = SigningKey.made()
    listed = (await _call(still, "GET", "/v1/intel/groups/labs/keys")).json()["keys"]
    assert [(one["member"], one["fingerprint"]) for one in listed] == [("acme", KEY.public.fingerprint)]
    assert (await _put_key(still, "acme", other)).json()["fingerprint"] == other.public.fingerprint
    record = (await _records(still))[-1]
    assert (record["before"]["fingerprint"], record["after"]["fingerprint"]) == (
        KEY.public.fingerprint, other.public.fingerprint,
    )  # fmt: skip
    assert (await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=_feed())).status_code == 422
    path = "/v1/intel/groups/labs/members/acme/key"
    assert (await _call(still, "DELETE", path)).status_code == 204
    assert (await _call(still, "DELETE", path)).status_code == 404
    assert (await _call(still, "POST", IMPORTS, params={"member": "acme"}, content=_feed())).status_code == 404
    bad = await _call(still, "PUT", path, json={"public_key": "CANARY-SECRET"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "body.public_key")
    assert "CANARY" not in bad.text
    await _put_key(still, "acme", KEY)
    await _call(still, "DELETE", "/v1/intel/groups/labs/members/acme")
    assert (await _call(still, "GET", "/v1/intel/groups/labs/keys")).json()["keys"] == []


async def test_becomes_indicators(site: Any) -> None:
    """What was imported is looked for under the member's name, without anything more to be done."""
    await _put_key(site, "acme", KEY)
    await _call(site, "POST", IMPORTS, params={"member": "acme"}, content=_feed())
    held: Any = ()
    async with asyncio.timeout(15):
        while len(held) < 3:
            await asyncio.sleep(0.05)
            held = await Indicators(site.state).all()
    assert {one.owner for one in held} == {"acme"}
