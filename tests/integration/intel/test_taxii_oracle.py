"""What we serve is TAXII 2.1 to an independent client, taxii2-client 2.3.0, over a real socket and a real state server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import requests
import stix2
from taxii2client.common import TokenAuth
from taxii2client.v21 import ApiRoot, Collection, Server, as_pages


class Bearer(TokenAuth):  # type: ignore[misc]
    """The client's own token scheme, with the word that RFC 6750 has."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the header."""
        request.headers["Authorization"] = f"Bearer {self.key}"
        return request


async def test_a_client_finds_its_way_from_discovery(site: Any) -> None:
    """Discovery, API root and collections, with HTTP Basic and a bearer token, and what the client may do there."""

    def walk(**credentials: Any) -> None:
        with Server(f"{site.server.url}/taxii2/", **credentials) as server:
            assert server.title == "Stillwatch"
            (root,) = server.api_roots
            assert server.default is root
            assert root.url == site.root
            assert (root.title, root.versions) == ("Labs", ["application/taxii+json;version=2.1"])
            assert root.max_content_length == 4 * 1024 * 1024
            feed, submit = root.collections
            assert (feed.id, submit.id) == (site.group.feed_id, site.group.submit_id)
            assert (feed.can_read, feed.can_write, submit.can_read, submit.can_write) == (True, False, False, True)
            assert feed.media_types == ["application/stix+json;version=2.1"]
            again = Collection(f"{site.root}collections/{feed.id}/", **credentials)
            assert again.title == "Labs: feed"

    await asyncio.to_thread(walk, user="acme", password=site.acme)
    await asyncio.to_thread(walk, auth=Bearer(site.birch))


async def test_more_than_a_thousand_objects_come_page_by_page(site: Any) -> None:
    """as_pages over 2,345 objects gives each once, in the order of their dates, whatever the pages' length."""
    objects = [site.indicator(number) for number in range(1, 2346)]
    await site.share(*objects)
    url = f"{site.root}collections/{site.group.feed_id}/"

    def read(per_request: int) -> list[dict[str, Any]]:
        with Collection(url, user="acme", password=site.acme) as collection:
            pages = list(as_pages(collection.get_objects, per_request=per_request))
            assert all(len(page["objects"]) <= (per_request or 1000) for page in pages)
            return [one for page in pages for one in page["objects"]]

    for per_request in (0, 100, 5000):
        assert await asyncio.to_thread(read, per_request) == objects

    def manifest() -> list[dict[str, Any]]:
        with Collection(url, user="acme", password=site.acme) as collection:
            return [one for page in as_pages(collection.get_manifest, per_request=700) for one in page["objects"]]

    records = await asyncio.to_thread(manifest)
    assert [record["id"] for record in records] == [one["id"] for one in objects]
    dates = [record["date_added"] for record in records]
    assert dates == sorted(set(dates))
    assert {record["version"] for record in records} == {"2026-11-20T10:00:00.000Z"}

    def after(date: str) -> list[dict[str, Any]]:
        with Collection(url, user="acme", password=site.acme) as collection:
            return list(collection.get_objects(added_after=date).get("objects", []))

    assert await asyncio.to_thread(after, dates[2300]) == objects[2301:]
    assert await asyncio.to_thread(after, dates[-1]) == []


async def test_filters_and_versions(site: Any) -> None:
    """match[id], type, version and spec_version, one object, and its versions."""
    old, new = site.indicator(1), site.indicator(1, "2026-11-21T00:00:00.000Z", revoked=True)
    other = {"type": "ipv4-addr", "id": "ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd", "value": "198.51.100.3"}
    await site.share(old, other, new)

    def read() -> None:
        with Collection(f"{site.root}collections/{site.group.feed_id}/", user="acme", password=site.acme) as feed:
            assert feed.get_objects()["objects"] == [other, new]
            assert feed.get_objects(type="indicator")["objects"] == [new]
            assert feed.get_objects(type=["campaign", "ipv4-addr"])["objects"] == [other]
            assert feed.get_objects(id=old["id"])["objects"] == [new]
            assert feed.get_objects(version="first")["objects"] == [old, other]
            assert feed.get_objects(version="all")["objects"] == [old, other, new]
            assert feed.get_objects(version=old["modified"])["objects"] == [old]
            assert feed.get_objects(spec_version="2.1", type="indicator")["objects"] == [new]
            assert feed.get_objects(spec_version="2.0") == {}
            assert feed.get_objects(type="campaign") == {}
            assert feed.get_object(old["id"])["objects"] == [new]
            assert feed.get_object(old["id"], version="all")["objects"] == [old, new]
            assert feed.object_versions(old["id"])["versions"] == [old["modified"], new["modified"]]
            (version,) = feed.object_versions(other["id"])["versions"]
            assert feed.get_object(other["id"], version=version)["objects"] == [other]
            assert [one["version"] for one in feed.get_manifest(id=old["id"])["objects"]] == [new["modified"]]

    await asyncio.to_thread(read)


async def test_a_bundle_of_stix2_makes_the_whole_way(site: Any) -> None:
    """Objects made by stix2 are sent with add_objects, confirmed by a status, read back by a person, and are the same."""
    campaign = stix2.v21.Campaign(name="a campaign", objective="a model")
    sent = [
        stix2.v21.Identity(name="Acme", identity_class="organization"),
        campaign,
        stix2.v21.Indicator(
            pattern="[autonomous-system:number = 64496]", pattern_type="stix", valid_until="2099-01-01T00:00:00Z"
        ),
        stix2.v21.Sighting(sighting_of_ref=campaign.id, count=24_000),
        stix2.v21.IPv4Address(value="198.51.100.7"),
    ]
    envelope = {"objects": [json.loads(one.serialize()) for one in sent]}

    def send() -> Any:
        with ApiRoot(site.root, user="acme", password=site.acme) as root:
            _, submit = root.collections
            status = submit.add_objects(envelope)
            assert (status.status, status.success_count, status.failure_count, status.pending_count) == (
                "complete",
                5,
                0,
                0,
            )
            status.refresh()
            assert [one["id"] for one in status.successes] == [one.id for one in sent]
            assert root.get_status(status.id).total_count == 5
            return status

    await asyncio.to_thread(send)

    def look() -> list[dict[str, Any]]:
        with Collection(f"{site.root}collections/{site.group.submit_id}/", auth=Bearer(site.token)) as submit:
            assert (submit.can_read, submit.can_write) == (True, True)
            found = submit.get_objects()["objects"]
            submit.delete_object(campaign.id)
            assert [one["id"] for one in submit.get_objects()["objects"]] == [one.id for one in sent if one is not campaign]
            return list(found)

    found = await asyncio.to_thread(look)
    assert found == envelope["objects"]
    assert [stix2.parse(one, version="2.1") for one in found] == sent
