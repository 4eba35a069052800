"""Two versions side by side: what version 0.1 left, its scripts at work beside the present ones (docs/deployment.md)."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import polars
import pytest
import redis

from app.enforcement.policy import decode_verdict, encode_verdict
from app.limits.limiter import Ask, Decision, Limiter
from app.settings import ActionRule, Settings, load
from app.state.accounts import Account
from app.state.events import EventLog
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.orders import Order, Orders
from detectors.contract import Level
from detectors.event import Event, decode, encode

OLD = Path(__file__).resolve().parents[2] / "fixtures/v0_1"
PEPPER = "a pepper for tests of upgrades"
PLAIN, HARVESTER, OF_ORG = (
    "3a25e8792916c12df130fe08127aa441",
    "582bc4a0825cfad9216b21bc2a8001e7",
    "a05ae21f8000af720f86cbfc264464a8",
)
MINUTE_US = 60_000_000
REQUESTS, TOKENS = 10, 6000


def _script(name: str) -> str:
    return (OLD / "lua" / f"{name}.lua").read_text()


def _state() -> dict[str, Any]:
    return json.loads((OLD / "state.json").read_text())


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _restore(client: redis.Redis) -> None:
    """Puts everything that the old version left into an empty server."""
    for name, found in _state().items():
        kind, value = found["type"], found["value"]
        if kind == "string":
            client.set(name, _bytes(value))
        elif kind == "hash":
            client.hset(name, mapping={_bytes(key): _bytes(field) for key, field in value.items()})
        elif kind == "list":
            client.rpush(name, *map(_bytes, value))
        elif kind == "zset":
            client.zadd(name, {_bytes(member): score for member, score in value.items()})
        else:
            for entry, fields in value:
                client.xadd(name, {_bytes(key): _bytes(field) for key, field in fields.items()}, id=entry)
        if found["ttl"] > 0:
            client.expire(name, found["ttl"])


@pytest.fixture(scope="module")
def old_event() -> Iterator[ModuleType]:
    """The old version's module of events."""
    spec = importlib.util.spec_from_file_location("stillwatch_v0_1_event", OLD / "event.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its annotations are strings, which are looked up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


# Events


def test_old_events_are_read_by_the_new_worker(old_event: ModuleType) -> None:
    """Every entry that waits in an old stream decodes, with every field that both versions know as it was written."""
    entries = _state()["sw:{p0001}:ev"]["value"]
    assert len(entries) == 18
    for _, fields in entries:
        data = next(_bytes(field) for key, field in fields.items() if _bytes(key) == b"e")
        was, now = old_event.decode(data), decode(data)
        for name in was.__struct_fields__:
            assert getattr(now, name) == getattr(was, name), name


def test_new_events_are_read_by_the_old_worker(old_event: ModuleType) -> None:
    """An event with every field set, those of the present version among them, decodes in the old one, which skips those."""
    samples: dict[Any, Any] = {str: "text", int: 7, bool: True, float: 0.5, bytes: b"block"}
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Event):
        kind = field.type
        choices = getattr(kind, "__args__", ())
        values[field.name] = ("use",) if "tuple" in str(kind) else samples.get(kind) or samples[choices[0]]
    event = Event(**values)
    read = old_event.decode(encode(event))
    for name in old_event.Event.__struct_fields__:
        assert getattr(read, name) == values[name], name


# Scripts


class OldGateway:
    """Decides and settles with the old scripts, as the old version called them."""

    def __init__(self, client: redis.Redis, partitions: int) -> None:
        self._decide = client.register_script(_script("decide"))
        self._settle = client.register_script(_script("settle"))
        self._partitions = partitions
        self._number = 0

    def names(self, key_id: str) -> PartitionKeys:
        """Of the key's partition."""
        return PartitionKeys(partition_of(key_id, self._partitions))

    def decide(self, key_id: str, tokens: int = 0, mode: str = "enforce") -> list[Any]:
        """One request of a plan with REQUESTS and TOKENS (of output) per minute."""
        names = self.names(key_id)
        self._number += 1
        budgets = ["r", 1, MINUTE_US // REQUESTS, MINUTE_US, "o", 3, MINUTE_US // TOKENS, MINUTE_US]
        head = [f"old-{self._number}", 0, tokens, mode, 120_000_000, 172_800, 2, 0, 0, 0]
        return self._decide([names.verdict(key_id), names.limits("k", key_id)], [*head, *budgets])

    def give_back(self, key_id: str, tokens: int, at_us: int, event: bytes) -> None:
        """Settles a request that took fewer tokens, and appends its event."""
        names = self.names(key_id)
        keys = [names.stream, names.writer("old-writer"), names.limits("k", key_id)]
        settled = [3, at_us, 1, "o", -tokens * (MINUTE_US // TOKENS)]
        self._number += 1
        assert self._settle(keys, [self._number, 604_800, 200_000, 1, 86_400_000_000, event, *settled]) == 1


class NewGateway:
    """The present limiter with the same plan."""

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        self.settings = settings
        self._limiter = limiter
        self._number = 0

    async def decide(self, key_id: str, tokens: int = 0) -> Decision:
        """One request."""
        self._number += 1
        return await self._limiter.decide(Ask(key_id, "", "default", "m", 0, tokens, f"{self._number:028x}"))


@pytest.fixture
async def both(redis_db: str, tmp_path: Path) -> Any:
    """(old gateway, new gateway, client) on one state server; the new one enforces."""
    plan = {"default": {"key": {"requests_per_min": REQUESTS, "output_tokens_per_min": TOKENS}}}
    settings = load(None, {}, {"limits.plans": plan, "enforcement.mode": "enforce"})
    events = EventLog(redis_db, settings.state, tmp_path / "spool")
    limiter = Limiter(settings, redis_db, events)
    await events.start()
    await limiter.start()
    with redis.Redis.from_url(redis_db) as client:
        yield OldGateway(client, settings.state.partitions), NewGateway(settings, limiter), client
    await limiter.stop()
    await events.stop(1.0)


async def test_old_and_new_gateways_share_balances(both: Any) -> None:
    """Requests and tokens are counted together, in whatever order the two ask; what one gives back, the other may spend."""
    old, new, _ = both
    key = "0" * 32
    for turn in range(REQUESTS):
        if turn % 2:
            assert old.decide(key)[0] == 1
        else:
            assert (await new.decide(key)).admitted
    assert old.decide(key)[0] == 0
    assert not (await new.decide(key)).admitted

    other = "1" * 32
    status, _, _, _, now_us, *_ = old.decide(other, tokens=TOKENS)
    assert status == 1
    assert (await new.decide(other, tokens=TOKENS // 2)).limited_by == "output_tokens"
    old.give_back(other, TOKENS * 3 // 4, now_us, b"\x01\x80")
    assert (await new.decide(other, tokens=TOKENS // 2)).admitted
    assert old.decide(other, tokens=TOKENS // 2)[0] == 0


async def test_verdict_strings_are_read_by_both(both: Any) -> None:
    """An old verdict throttles in the new gateway, a new throttle in the old one; steps it does not know it ignores."""
    old, new, client = both
    until = (time.time_ns() // 1000) + 3_600_000_000
    key = "2" * 32
    client.set(old.names(key).verdict(key), f"suspect|throttle|0.25|20|{until}")
    decision = await new.decide(key)
    assert (decision.admitted, decision.throttled, decision.action) == (True, True, "throttle")
    assert old.decide(key)[3] == 1

    rule = ActionRule(action="throttle", factor=0.5, requests_per_min=None)
    client.set(old.names(key).verdict(key), encode_verdict(Level.SUSPECT, rule, until, by="person", ref="sw-abc"))
    assert old.decide(key)[3] == 1
    for action in ("cap", "step_up", "suspend"):
        beyond = ActionRule(action=action, factor=0.5)
        client.set(old.names(key).verdict(key), encode_verdict(Level.CONFIRMED, beyond, until, by="person", ref="sw-abc"))
        assert old.decide("2" * 32, mode="enforce")[3] == 0


async def test_an_old_worker_heeds_an_order_by_taking_its_action_back(both: Any, redis_db: str) -> None:
    """It takes the order for a hold and writes no verdict; the order's own may go, so workers are upgraded first."""
    old, new, client = both
    key = "3" * 32
    names = old.names(key)
    background = background_client(redis_db, new.settings)
    at_us = time.time_ns() // 1000
    order = Order(ref="sw-order", action="suspend", since_us=at_us, until_us=at_us + 3_600_000_000, reason="x", by="person")
    await Orders(background).place(key, {names.partition}, order, {"what": "order"})
    assert (await new.decide(key)).blocked
    client.set(names.fence, 1)
    keys = [names.fence, names.cursor, names.stream, names.rows, names.dead, names.seen, names.flagged]
    keys += [names.verdict(key), names.order(key)]
    args = [1, "0-0", "5-1", "5-2", 86_400, 0, 1000, 3_600_000, "0-0", 0, 1, 0, 0, 0, 0, 0, 200_000]
    assert client.register_script(_script("commit"))(keys, [*args, f"suspect|throttle|0.25|20|{at_us * 2}"]) == 0
    assert client.get(names.verdict(key)) is None
    assert await Orders(background).get(key) is not None  # gateways know it all the same, from the list of orders
    await background.aclose()


# State


def test_old_verdicts_and_accounts_decode() -> None:
    """The strings and records in the frozen state mean to this version what they meant to that one."""
    state = _state()
    action = decode_verdict(_bytes(state[f"sw:{{p0001}}:v:{HARVESTER}"]["value"]))
    assert action is not None
    assert (action.level, action.action, action.factor, action.requests_per_min) == (Level.SUSPECT, "throttle", 0.25, 20)
    assert action.by == "policy"
    ((key, record),) = state["sw:{acct}:h"]["value"].items()
    assert _bytes(key).decode() == OF_ORG
    assert msgspec.msgpack.decode(_bytes(record), type=Account).org_id == "org-old"


def test_the_present_processes_take_over_old_state(site: Any) -> None:
    """Verdict, hold, timeline, account, registrations and waiting events of the old version go on in this one; a profile of
    its layout is begun anew."""
    (site.secrets / "pepper").chmod(0o600)
    (site.secrets / "pepper").write_text(PEPPER)
    two = {"STILLWATCH_STATE__PARTITIONS": "2"}
    policy = Path(site.folder) / "enforce.toml"
    policy.write_text('mode = "enforce"\n')
    site.start("valkey")
    with redis.Redis(port=site.ports[6379], username="tester", password="tester") as client:
        _restore(client)
        client.zadd("sw:{gw}:live", {"shadow|an-old-gateway": time.time() * 1000 + 60_000})  # as that version says it runs
        gateway = site.start("gateway", STILLWATCH_CONTROL__POLICY_FILE=str(policy), **two)
        worker, admin = site.start("worker", **two), site.start("admin", **two)
        _until(lambda: not client.xlen("sw:{p0001}:ev"))
        # The profile holds what came after the upgrade: the waiting events, and not the 60 exchanges counted before.
        detail = site.admin(f"/v1/keys/{HARVESTER}")
        assert round(detail["profile"]["exchanges_7d"]) == 6
        assert detail["action"]["action"] == "throttle"
        timeline = site.admin(f"/v1/keys/{HARVESTER}/timeline")["changes"]
        assert ("suspect", "throttle") in {(item["level"], item["action"]) for item in timeline}
        plain = site.admin(f"/v1/keys/{PLAIN}")
        assert "checked by phone" in json.dumps(plain)
        assert site.admin(f"/v1/keys/{OF_ORG}")["account"]["org_id"] == "org-old"
        health = site.admin("/v1/health")
        assert (health["workers"], health["gateways"]) == (1, 2)
        assert site.chat("sk-old-plain") == site.chat("sk-old-org") == 200
        # The verdict that the old worker wrote narrows the plan's 600 requests of a minute in the new gateway.
        site.chat("sk-old-harvester")
        touched = site.counted(9101, "stillwatch_actions_total")
        assert touched >= 1
    for process in (gateway, admin, worker):
        assert process.stop() == 0
        assert "Traceback" not in process.said, process.said
    files = list((Path(site.folder) / "volumes" / "archive").rglob("*.parquet"))
    archived = [name for path in files for name in polars.read_parquet(path)["event_id"]]
    assert len(archived) == len(set(archived)) == 6 + 18 + 3


def _until(holds: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
