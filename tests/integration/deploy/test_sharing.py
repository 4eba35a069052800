"""A deployment that shares: processes with the overlay's variables, a member that reports, a worker that looks for it."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
import yaml

from app.intel.signing import SigningKey
from tests.integration.deploy.conftest import ROOT, eventually

TAXII = "application/taxii+json;version=2.1"


def _indicator() -> dict[str, Any]:
    """Of proxies, valid from a minute ago for five days."""
    now = time.time()
    begin, until = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}.000Z" for at in (now - 60, now + 5 * 86_400))
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.UUID(int=1, version=4)}",
        "created": begin,
        "modified": begin,
        "pattern": "[ipv4-addr:value ISSUBSET '203.0.113.0/24']",
        "pattern_type": "stix",
        "valid_from": begin,
        "valid_until": until,
    }


def _overlay(site: Any, name: str) -> dict[str, str]:
    """Variables of deploy/sharing.compose.yml, with files of this site; every named file is there."""
    folder = site.folder / "sharing"
    if not folder.exists():
        (folder / "keys").mkdir(parents=True)
        (folder / "keys/labs.json").write_text(json.dumps({"2026-11": "5e" * 32}))
        (folder / "keys/labs.json").chmod(0o400)
        for part in ("signing", "peers"):
            (folder / part).mkdir()
        SigningKey.made().write(folder / "signing/signing.pem")
        (folder / "peers/peers.toml").write_text("")
        (folder / "warning-list.txt").write_text("")
    service = yaml.safe_load((ROOT / "deploy/sharing.compose.yml").read_text())["services"][name]
    given = {key: value.replace("/run/sharing", str(folder)) for key, value in service["environment"].items()}
    return {key: "Birch" if "PROVIDER" in key else value for key, value in given.items()}


def _ask(site: Any, method: str, path: str, token: str, body: Any, kind: str = "application/json") -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.ports[8081]}{path}",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {token}", "content-type": kind, "accept": kind},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_reported_is_looked_for(make_site: Any, kind: str) -> None:
    """What a member sends reaches the worker under the users that the files give the state server, none of them refused."""
    site = make_site(kind)
    site.start("valkey")
    admin, worker = (site.start(name, wait=False, **_overlay(site, name)) for name in ("admin", "worker"))
    for process in (admin, worker):
        process.until_it_serves()
    token = site.secret("admin_token")
    _ask(site, "PUT", "/v1/intel/groups/labs", token, {"title": "Labs"})
    member = _ask(site, "PUT", "/v1/intel/groups/labs/members/acme", token, {"days": 90})["token"]
    sent = {"objects": [_indicator()]}
    status = _ask(site, "POST", "/taxii2/labs/collections/submit/objects/", member, sent, TAXII)
    assert status["success_count"] == 1
    eventually(lambda: site.counted(9102, "stillwatch_shared_looked_for") == 1, worker)
    assert site.counted(8081, "stillwatch_shared_waiting_seconds") < 60
    with redis.Redis(port=site.ports[6379], username="tester", password="tester", decode_responses=True) as client:
        assert [entry["object"] for entry in client.acl_log() if "client|setinfo" not in entry["object"]] == []
    with site.client("worker") as client:
        client.hset("sw:{inth}:h", "x", "y")  # it writes what its keys show,
        for name in ("sw:{ints}:i", "sw:{int}:members"):  # and neither what others said, nor who may come
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.hset(name, "x", "y")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.hgetall("sw:{int}:members")
