"""The campaign commands against a running admin process and the state it serves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from app import cli
from app.settings import load
from app.state.campaigns import CampaignStore, Written
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from detectors.campaign.contract import Campaign, Evidence, Member, Turn
from detectors.contract import Level

ID = "c-0123456789ab"
KEYS = [f"{number:032x}" for number in range(1, 4)]
T0 = 1_790_000_000_000_000
WHY = ("--reason", "one operation of November")

Say = Callable[..., tuple[int, str, str]]


async def _store(url: str, keys: Sequence[str] = KEYS) -> None:
    """A campaign of these keys, as the linker stores it."""
    client = background_client(url, load())
    try:
        held = CampaignStore(client)
        made = Campaign(
            id=ID,
            level=Level.CONFIRMED,
            score=0.98,
            first_us=T0,
            since_us=T0,
            at_us=T0,
            members=tuple(Member(key_id, "acme", T0, 0.9, ("template",), 40, 7, T0) for key_id in keys),
            evidence=(Evidence("template", "what", 5.5, 0.97, 0.001, "97 % of the keys share a template"),),
            organisations=1,
            leaked=123,
            history=(Turn(T0, "formed", len(keys)),),
        )
        written = Written(T0, [made], [(ID, key_id) for key_id in keys], [], [ID])
        assert await held.write(await held.state(), written) is not None
    finally:
        await client.aclose()


@pytest.fixture
def say(
    redis_db: str, start: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Say:
    """Runs a command in this process, beside a running admin whose state has a campaign: (status, output, errors)."""
    environ["STILLWATCH_STATE__REDIS_URL"] = redis_db
    url = start("admin").addresses()["admin"]
    for name, value in environ.items():
        if name.startswith("STILLWATCH_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("STILLWATCH_ADMIN_URL", url)
    asyncio.run(_store(redis_db))

    def say(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.main(list(arguments))
        said = capfd.readouterr()
        return status, said.out, said.err

    return say


def test_a_campaign_is_listed_shown_acted_about_and_undone(say: Say, tmp_path: Any) -> None:
    """The page has evidence, timeline and members; --dry-run and shadow do nothing; one undo takes all orders back."""
    path = tmp_path / "accounts.jsonl"
    path.write_text("".join(json.dumps({"key_id": key_id, "org_id": "acme"}) + "\n" for key_id in KEYS))
    assert say("accounts", "import", str(path))[0] == 0
    status, listed, errors = say("campaigns", "list")
    assert (status, ID in listed, "confirmed" in listed) == (0, True, True), errors
    status, page, errors = say("campaigns", "show", ID)
    assert status == 0, errors
    for word in ("97 %", "0.10%", "formed, 3 keys", KEYS[0], "action: none"):
        assert word in page, page
    act = ("campaigns", "act", ID, "--action", "throttle", "--for", "2h", *WHY)
    status, shown, errors = say(*act, "--dry-run")
    assert (status, "It would affect 3 of 3 keys" in shown) == (0, True), errors
    status, shown, errors = say(*act, "--yes")
    assert (status, "in shadow" in shown) == (0, True), errors
    assert json.loads(say("orders", "list", "--json")[1]) == []
    assert say(*act, "--mode", "real", "--yes")[0] == 0
    assert {one["key_id"] for one in json.loads(say("orders", "list", "--json")[1])} == set(KEYS)
    members = json.loads(say("campaigns", "members", ID, "--json")[1])
    assert {one["share"]["state"] for one in members} == {"real"}
    assert say("campaigns", "lift", ID, KEYS[0], *WHY)[0] == 0
    assert say("campaigns", "undo", ID, "--yes", *WHY)[0] == 0
    assert json.loads(say("orders", "list", "--json")[1]) == []
    assert say("campaigns", "show", "c-ba9876543210")[0] == 1


def test_keys_show_says_which_campaign_and_why(say: Say, tmp_path: Any) -> None:
    """From the state itself, without an admin process; a key that belongs to none has no such line."""
    client = redis.Redis.from_url(os.environ["STILLWATCH_STATE__REDIS_URL"])
    number = partition_of(KEYS[0], load().state.partitions)
    client.zadd(PartitionKeys(number).seen, {KEYS[0]: T0 // 1000})
    client.close()
    status, page, errors = say("keys", "show", KEYS[0])
    assert status == 0, errors
    assert f"campaign: {ID}, confirmed, 3 keys; strength 0.90 by template" in page


def test_the_undo_about_many_keys_is_waited_for(
    say: Say, redis_db: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells how far it is, and ends when nothing stands any more."""
    keys = [f"{number:032x}" for number in range(1, 151)]
    path = tmp_path / "accounts.jsonl"
    path.write_text("".join(json.dumps({"key_id": key_id, "org_id": "acme"}) + "\n" for key_id in keys))
    assert say("accounts", "import", str(path))[0] == 0
    asyncio.run(_store(redis_db, keys))
    ann, bob = (say("tokens", "make", name, "--role", "approver")[1].strip() for name in ("ann", "bob"))
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", ann)
    act = say("campaigns", "act", ID, "--action", "throttle", "--mode", "real", "--for", "2h", *WHY, "--yes", "--json")
    monkeypatch.setenv("STILLWATCH_ADMIN__TOKEN", bob)
    approved = say("proposals", "approve", json.loads(act[1])["act"]["bulk"], *WHY, "--yes")
    assert approved[0] == 0, approved
    assert len(json.loads(say("orders", "list", "--json", "--limit", "500")[1])) == 150
    status, told, progress = say("campaigns", "undo", ID, "--reason", "one customer's own", "--yes")
    assert (status, told) == (0, f"{ID}: throttle ended for 150 keys\n")
    assert "of 150 keys" in progress
    assert json.loads(say("orders", "list", "--json")[1]) == []
