"""What is set for the whole deployment, and the copies of it in other processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.enforcement.control import Control
from app.errors import BadInput, ConfigError, Conflict
from app.settings import Settings, StateSettings, load
from app.state import control as module
from app.state import control_feed
from app.state.control import AllowEntry, ControlDoc, ControlStore, Kill
from app.state.factory import background_client
from app.state.keys import CONTROL, CONTROL_CHANGES, PartitionKeys
from app.state.orders import Order, Orders
from app.state.server import StateServer
from app.telemetry import metrics

KEY = "0123456789abcdef" * 2
SOON = "a policy, a switch or an order is in force at once where the server tells of it, and this is far more than that"


def _entry(subject: str = f"key:{KEY}", *, seconds: float = 3600, **more: Any) -> AllowEntry:
    now_us = time.time_ns() // 1000
    fields = {"owner": "trust", "reason": "a benchmark of ours", "by": "ann", "created_us": now_us, **more}
    return AllowEntry(subject=subject, expires_us=now_us + round(seconds * 1e6), **fields)


def _order(action: Any = "suspend", seconds: float = 3600) -> Order:
    now_us = time.time_ns() // 1000
    return Order(ref="sw-test", action=action, since_us=now_us, until_us=now_us + round(seconds * 1e6), by="ann")


def _settings(folder: Path, **more: Any) -> Settings:
    return load(None, {}, {"state.data_dir": folder, **more})


@pytest.fixture
def store(client: Any) -> ControlStore:
    """The control plane of an empty state."""
    return ControlStore(client)


@asynccontextmanager
async def following(settings: Settings, url: str | None) -> AsyncIterator[Control]:
    """The rules of one process, with a client of its own, until the block is left."""
    client = None if url is None else background_client(url, settings)
    control = Control(settings, client)
    await control.start()
    try:
        yield control
    finally:
        await control.stop()
        if client is not None:
            await client.aclose()


async def until(holds: Callable[[], bool], timeout_sec: float = 10.0) -> float:
    """Returns when it holds: after how many seconds."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_sec):
        while not holds():  # noqa: ASYNC110 - a task of the copy makes it hold
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_policy_and_plans_are_changed_by_those_who_have_seen_them(store: ControlStore) -> None:
    """Each write names the version that its writer has seen; the second of two is refused and changes nothing."""
    assert await store.get() == ControlDoc()
    assert await store.set_policy('mode = "enforce"', 0) == 1
    assert await store.set_plans('{"free": {}}', 1) == 2
    with pytest.raises(Conflict, match=r"^version: the stored one is 2"):
        await store.set_policy('mode = "shadow"', 1)
    assert await store.get() == ControlDoc('mode = "enforce"', '{"free": {}}', Kill(), 2)
    assert await store.set_policy("") == 3
    with pytest.raises(BadInput, match=r"^policy: must be at most"):
        await store.set_policy("#" * (module.MAX_TEXT_BYTES + 1))


async def test_the_kill_switch_needs_no_version(store: ControlStore) -> None:
    """It works whatever others change meanwhile, and takes no version from them."""
    kill = await store.set_kill("all", "a bad release", "ann")
    assert (kill.scope, kill.reason, kill.by) == ("all", "a bad release", "ann")
    assert await store.set_policy('mode = "enforce"', 0) == 1
    assert (await store.get()).kill == kill
    assert (await store.set_kill("", "mended", "ben")).scope == ""


async def test_the_allow_list_is_bounded_and_forgets(store: ControlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry is put, replaced and taken out; one that is long over goes by itself; more than the most are refused."""
    assert await store.allow_put(_entry())
    assert not await store.allow_put(_entry(owner="sales"))
    assert [entry.owner for entry in await store.allow_list()] == ["sales"]
    for subject in ("key:xyz", f"key:{KEY.upper()[:-1]}F", "org:", "org:a b", "o", f"org:{'a' * 129}"):
        with pytest.raises(BadInput, match=r"^subject must be"):
            await store.allow_put(_entry(subject))
    assert await store.allow_put(_entry("org:over", seconds=-module.KEPT_SEC - 10))
    monkeypatch.setattr(module, "MAX_ALLOWED", 2)
    assert await store.allow_put(_entry("org:acme"))  # in place of the one that is over
    with pytest.raises(BadInput, match="the allow-list has 2 entries"):
        await store.allow_put(_entry("org:more"))
    assert [entry.subject for entry in await store.allow_list()] == [f"key:{KEY}", "org:acme"]
    assert await store.allow_delete("org:acme")
    assert not await store.allow_delete("org:acme")


async def test_a_kill_switch_that_does_not_decode_is_on(store: ControlStore, client: Any) -> None:
    """Who cannot read the switch does not act."""
    await client.hset(CONTROL, "kill", b'{"scope": "everything"}')
    assert (await store.get()).kill.scope == "actions"


async def test_two_processes_follow_at_once(redis_db: str, client: Any, store: ControlStore, tmp_path: Path) -> None:
    """Policy, plans, switch, allow-list and orders are in force in both well before the next poll would have told them."""
    settings = _settings(tmp_path, **{"control.poll_ms": 500})
    async with following(settings, redis_db) as one, following(settings, redis_db) as two:
        assert (one.ready, one.policy.mode, one.kill, one.generation) == (True, "shadow", "", 1)
        told: list[str] = []
        one.subscribe(lambda: told.append(one.kill))
        both = (one, two)
        waits = []
        await store.set_policy('mode = "enforce"\n[suspect]\naction = "throttle"\nfactor = 0.5\n')
        waits.append(await until(lambda: all(each.policy.mode == "enforce" for each in both)))
        assert {(each.policy.suspect.factor, each.policy_source, each.generation) for each in both} == {(0.5, "state", 2)}
        assert one.policy_digest == two.policy_digest
        await store.set_plans('{"free": {"key": {"requests_per_min": 3}}}')
        waits.append(await until(lambda: all("free" in each.plans.plans for each in both)))
        assert set(one.plans.plans) == {"default", "free"}
        await store.set_kill("actions", "x", "ann")
        waits.append(await until(lambda: all(each.kill == "actions" for each in both)))
        assert told[-1] == "actions"
        await store.allow_put(_entry("org:acme"))
        waits.append(await until(lambda: all(each.allowed(KEY, "acme") for each in both)))
        assert not one.allowed(KEY, "")
        await Orders(client).place(KEY, {1}, _order(), {})
        waits.append(await until(lambda: all(each.order(KEY) is not None for each in both)))
        order = two.order(KEY)
        assert order is not None
        assert (order.action, order.by_person, order.ref) == ("suspend", True, "sw-test")
        await Orders(client).end(KEY, {1}, {})
        waits.append(await until(lambda: all(each.order(KEY) is None for each in both)))
        await store.set_policy("")
        await until(lambda: all(each.policy_source == "settings" for each in both))
        assert sorted(waits)[len(waits) // 2] < 0.25, SOON


async def test_a_bad_document_leaves_the_last_good_one(
    redis_db: str, store: ControlStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in one sentence with field and rule, counted once, and the policy from before holds until a good one."""
    before = metrics.POLICY_REJECTED.labels(source="state")._value.get()
    async with following(_settings(tmp_path), redis_db) as control:
        await store.set_policy('mode = "enforce"')
        await until(lambda: control.policy.mode == "enforce")
        for text, said in (
            ('mode = "off"', "the stored policy: mode: must be 'shadow' or 'enforce'"),
            ("mode = ", "the stored policy is no valid TOML"),
            ('[suspect]\naction = "suspend"', "suspect.action"),
            ("colour = 1", "the stored policy: colour: no such setting"),
        ):
            caplog.clear()
            await store.set_policy(text)
            await until(lambda said=said: said in caplog.text)  # type: ignore[misc]
            assert (control.policy.mode, control.generation) == ("enforce", 2)
        await store.set_plans('{"free": {"key": {"requests_per_min": -1}}}')
        await until(lambda: "the stored plans: free.key.requests_per_min" in caplog.text)
        assert set(control.plans.plans) == {"default"}
        assert metrics.POLICY_REJECTED.labels(source="state")._value.get() - before == 5
        assert set(control.faults) == {"stored policy", "stored plans"}
        await store.set_policy('mode = "enforce"\nenforced_percent = 5')
        await until(lambda: control.policy.enforced_percent == 5)
        assert (control.rejected, metrics.POLICY_BAD.labels(source="state")._value.get()) == ("state", 1)
        await store.set_plans("")
        await until(lambda: not control.faults)
        assert metrics.POLICY_BAD.labels(source="state")._value.get() == 0


async def test_a_copy_that_fell_behind_reads_everything(
    redis_db: str, client: Any, store: ControlStore, tmp_path: Path
) -> None:
    """When changes were trimmed before the copy saw them, it notices the gap and is right again."""
    async with following(_settings(tmp_path), redis_db) as control:
        await store.allow_put(_entry())
        await until(lambda: control.allowed(KEY, ""))
        assert control._feed is not None
        await control._feed.stop()
        await store.allow_delete(f"key:{KEY}")
        await Orders(client).place(KEY, {1}, _order(), {})
        await store.set_kill("all", "x", "ann")
        for _ in range(3):
            await store.set_policy('mode = "enforce"')
        await client.xtrim(CONTROL_CHANGES, maxlen=1, approximate=False)
        await control._feed.start()
        await until(lambda: control.kill == "all")
        assert (control.policy.mode, control.allowed(KEY, "")) == ("enforce", False)
        assert control.order(KEY) is not None


async def test_a_proxy_that_refuses_to_wait_only_makes_it_slower(
    redis_db: str, store: ControlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server tells nothing by itself, changes are found by looking, every control.poll_ms."""

    async def refused(*_: Any) -> bool:
        return False

    monkeypatch.setattr(control_feed, "wait_for_change", refused)
    async with following(_settings(tmp_path, **{"control.poll_ms": 50}), redis_db) as control:
        await store.set_kill("actions", "x", "ann")
        assert await until(lambda: control.kill == "actions") < 1.0


async def test_an_emptied_server_lets_nobody_go(redis_db: str, client: Any, store: ControlStore, tmp_path: Path) -> None:
    """When the state has lost everything, switch, orders and policy stay; what is set anew replaces them."""
    async with following(_settings(tmp_path), redis_db) as control:
        await store.set_kill("actions", "x", "ann")
        await Orders(client).place(KEY, {1}, _order(), {})
        await until(lambda: control.order(KEY) is not None and control.kill == "actions")
        await client.flushdb()
        await asyncio.sleep(control_feed.WAIT_MS / 1000 + 0.4)
        assert control.order(KEY) is not None
        assert control.kill == "actions"
        await store.set_policy('mode = "enforce"')
        await until(lambda: control.policy.mode == "enforce")
        assert (control.kill, control.order(KEY)) == ("", None)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_the_kill_switch_works_by_file_without_state(
    own: StateSettings, data_dir: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Frozen or gone, the file is effective within a second, on and off; what state said last holds until it is back."""
    monkeypatch.setattr("app.state.server.WATCH_SEC", 60.0)
    settings = _settings(data_dir, **{"state.background_timeout_ms": 400})
    async with StateServer(own) as server, following(settings, server.url) as control:
        client = background_client(server.url, settings)
        store = ControlStore(client)
        await store.set_policy('mode = "enforce"')
        await Orders(client).place(KEY, {1}, _order(), {})
        await until(lambda: control.policy.mode == "enforce" and control.order(KEY) is not None)
        pid = server.pid
        assert pid is not None
        os.kill(pid, how)
        try:
            settings.kill_file.write_text("all\n")
            assert await until(lambda: control.kill == "all") < 1.0
            assert control.kill_sentence.endswith(f"by the file {settings.kill_file}")
            settings.kill_file.write_text("")
            assert await until(lambda: control.kill == "actions") < 1.0
            settings.kill_file.unlink()
            assert await until(lambda: control.kill == "") < 1.0
            assert control.policy.mode == "enforce"
            assert control.order(KEY) is not None
            await until(lambda: (control.age_sec or 0) > 0.5)
        finally:
            os.kill(pid, signal.SIGCONT) if how is signal.SIGSTOP else None
        if how is signal.SIGSTOP:
            await until(lambda: (control.age_sec or 9) < 0.5)
            await store.set_kill("actions", "x", "ann")
            await until(lambda: control.kill == "actions")
        await client.aclose()


async def test_the_policy_file_wins_and_keeps_the_last_good(
    redis_db: str, store: ControlStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A new file is in force by itself; a wrong or missing one is told once, with its name, and changes nothing."""
    path = tmp_path / "policy.toml"
    path.write_text('mode = "enforce"\n')
    before = metrics.POLICY_REJECTED.labels(source="file")._value.get()
    async with following(_settings(tmp_path, **{"control.policy_file": path, "control.poll_ms": 20}), redis_db) as control:
        assert (control.policy.mode, control.policy_source) == ("enforce", "file")
        await store.set_policy('mode = "shadow"')
        path.write_text('mode = "enforce"\nenabled_percent = 30\n')
        await until(lambda: control.policy.enabled_percent == 30)
        first = control.policy_digest
        for change, said in (
            (lambda: path.write_text('mode = "enforc"\n'), f"policy file {path}: mode: must be 'shadow' or 'enforce'"),
            (lambda: path.write_text("\n"), f"policy file {path}: is empty"),
            (lambda: path.write_bytes(b"\xff\xfe"), f"policy file {path}: must be UTF-8 text"),
            (lambda: path.write_text("# " + "x" * 70_000), f"policy file {path}: must be at most 65,536 bytes"),
            (path.unlink, f"policy file {path}: No such file or directory"),
        ):
            caplog.clear()
            change()
            await until(lambda said=said: said in caplog.text)  # type: ignore[misc]
            await asyncio.sleep(0.1)
            assert caplog.text.count(said) == 1
            assert control.policy_digest == first
            assert (control.rejected, metrics.POLICY_BAD.labels(source="file")._value.get()) == ("file", 1)
        assert metrics.POLICY_REJECTED.labels(source="file")._value.get() - before == 5
        path.write_text('mode = "shadow"\n')
        await until(lambda: control.policy.mode == "shadow")
        assert control.policy_source == "file"
        assert (control.rejected, metrics.POLICY_BAD.labels(source="file")._value.get()) == ("", 0)


async def test_a_start_with_a_bad_policy_file_is_refused(tmp_path: Path) -> None:
    """There is no last good one yet, so the sentence comes at once."""
    path = tmp_path / "policy.toml"
    with pytest.raises(ConfigError, match=rf"^policy file {path}: No such file"):
        await Control(_settings(tmp_path, **{"control.policy_file": path})).start()
    path.write_text("[watch]\nttl_sec = 1\n")
    with pytest.raises(ConfigError, match=rf"^policy file {path}: watch.ttl_sec: must be greater than or equal to 60"):
        await Control(_settings(tmp_path, **{"control.policy_file": path})).start()


async def test_the_switch_of_the_start_stays(tmp_path: Path) -> None:
    """The setting holds for the life of the process, whatever file or state say; the strongest of the three counts."""
    settings = _settings(tmp_path, **{"control.kill": "actions", "control.poll_ms": 20})
    async with following(settings, None) as control:
        assert (control.ready, control.kill) == (True, "actions")
        settings.kill_file.write_text("all")
        await until(lambda: control.kill == "all")
        settings.kill_file.unlink()
        await until(lambda: control.kill == "actions")
    assert metrics.KILL_SWITCH._value.get() == 1


async def test_an_allow_entry_ends_at_its_time(redis_db: str, store: ControlStore, tmp_path: Path) -> None:
    """For a gateway by the clock, for a worker by the time of the event that it judges."""
    async with following(_settings(tmp_path), redis_db) as control:
        entry = _entry(seconds=0.3)
        await store.allow_put(entry)
        await until(lambda: control.allowed(KEY, ""))
        await until(lambda: not control.allowed(KEY, ""), 5.0)
        assert control.allowed(KEY, "", entry.expires_us - 1)
        assert not control.allowed(KEY, "", entry.expires_us)


async def test_what_state_holds_that_is_none_of_ours_does_not_end_the_copy(
    redis_db: str, client: Any, store: ControlStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An order or an entry that does not decode counts for nothing, a change that is none is told, and the rest goes on."""
    caplog.set_level(logging.ERROR)
    async with following(_settings(tmp_path, **{"control.poll_ms": 20}), redis_db) as control:
        await client.hset("sw:{ctl}:orders", mapping={"a" * 32: b"\xc1", KEY: b"1 {}"})
        await client.hset("sw:{ctl}:allow", f"key:{KEY}", b"\xff")
        await client.xadd(CONTROL_CHANGES, {"colour": "blue"})
        await until(lambda: "could not be read: KeyError" in caplog.text)
        await client.delete(CONTROL_CHANGES)
        await store.set_kill("actions", "x", "ann")
        await until(lambda: control.kill == "actions")
        assert control.order(KEY) is None
        assert not control.allowed(KEY, "")


async def test_an_order_is_where_a_gateway_that_never_saw_the_key_finds_it(redis_db: str, client: Any) -> None:
    """In its partition it is what decide reads, and policy's own string waits beside it with its life."""
    names = PartitionKeys(1)
    policy = b"suspect|throttle|0.25|20|1790003600000000|policy|sw-p"
    await client.set(names.verdict(KEY), policy, px=500_000)
    order = _order()
    await Orders(client).place(KEY, {1}, order, {})
    assert await client.get(names.verdict(KEY)) == f"clear|suspend|1||{order.until_us}|person|sw-test".encode()
    assert await client.get(names.asked(KEY)) == policy
    assert await Orders(client).end(KEY, {1}, {})
    assert await client.get(names.verdict(KEY)) == policy
    assert 490_000 < await client.pttl(names.verdict(KEY)) <= 500_000
