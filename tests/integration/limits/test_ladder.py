"""The response ladder where it is decided: in the round trip, in shadow, by share, by a person, and without state."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from app.enforcement.policy import Action, encode_verdict, share_of
from app.enforcement.rules import FixedRules
from app.settings import ActionName, ActionRule, EnforcementSettings
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level

BLOCKS = ("step_up", "suspend")
FIRST_SCRIPT = (Path(__file__).parents[2] / "fixtures/v0_1/lua/decide.lua").read_text(encoding="utf-8")
"""decide.lua as it was before there was a ladder; a gateway of that release may run beside a new one."""


class Switches(FixedRules):
    """Rules that a test changes while the limiter runs."""

    def __init__(self, **policy: Any) -> None:
        super().__init__(EnforcementSettings.model_validate(policy))
        self.orders: dict[str, Action] = {}
        self.listed: set[str] = set()

    def order(self, key_id: str) -> Action | None:
        """The order of this test."""
        return self.orders.get(key_id)

    def allowed(self, key_id: str, org_id: str) -> bool:
        """On this test's list."""
        return key_id in self.listed


def now_us() -> int:
    """Unix time in µs."""
    return time.time_ns() // 1000


def put(url: str, action: ActionName, key: str = "k1", *, by: str = "policy", **rule: Any) -> None:
    """What a worker's commit, or a person's order, leaves for `decide`."""
    text = encode_verdict(Level.SUSPECT, ActionRule(action=action, **rule), now_us(), by=by, ref="sw-a")
    with redis.Redis.from_url(url) as client:
        client.set(PartitionKeys(partition_of(key, 16)).verdict(key), text, ex=1000)


def order(action: ActionName, *, seconds: int = 60, **rest: Any) -> Action:
    """A person's order in memory."""
    return Action(Level.CONFIRMED, action, 0.5, 2.0, now_us() + seconds * 1_000_000, "person", "sw-b")


@pytest.mark.parametrize("action", BLOCKS)
async def test_a_block_charges_nothing(action: ActionName, make_gate: Any, redis_db: str) -> None:
    """A blocked request is refused by its action and reference, asks no budget, and leaves nothing behind in state."""
    limits = {"default": {"key": {"requests_per_min": 5, "concurrent": 1}, "org": {"requests_per_min": 5}}}
    gate = await make_gate(control=Switches(mode="enforce", automatic_up_to="suspend"), **{"limits.plans": limits})
    put(redis_db, action)
    for _ in range(9):
        decision = await gate.limiter.decide(gate.ask())
        assert (decision.admitted, decision.blocked, decision.throttled) == (False, True, False)
        assert (decision.action, decision.effect, decision.ref, decision.budgets) == (action, "enforced", "sw-a", ())
        gate.limiter.settle(decision.reservation, input_tokens=0, output_tokens=0, event=b"e")
    await gate.events.flush()
    with redis.Redis.from_url(redis_db) as client:
        keys = PartitionKeys(partition_of("k1", 16))
        assert not client.exists(keys.limits("k", "k1"), keys.inflight("k", "k1"))
        assert client.xlen(keys.stream) == 9  # refusals are logged all the same
        client.delete(keys.verdict("k1"))
    assert (await gate.limiter.decide(gate.ask())).admitted


@pytest.mark.parametrize("action", BLOCKS)
async def test_in_shadow_a_block_is_only_counted(action: ActionName, make_gate: Any, redis_db: str) -> None:
    """A key that policy would block passes as if there were no verdict, and the decision says what would have been."""
    gate = await make_gate(
        control=Switches(automatic_up_to="suspend"), **{"limits.plans": {"default": {"key": {"requests_per_min": 4}}}}
    )
    put(redis_db, action, factor=0.25)
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(5)]
    assert [decision.admitted for decision in decisions] == [True] * 4 + [False]
    assert {(decision.action, decision.effect, decision.blocked) for decision in decisions} == {(action, "shadow", False)}
    assert [decision.shadow_would for decision in decisions] == [action] * 4 + [""]


async def test_a_capped_key_is_throttled_too(make_gate: Any, redis_db: str) -> None:
    """Each action includes those below it, enforced and in shadow."""
    rules = Switches(mode="enforce", automatic_up_to="cap")
    gate = await make_gate(control=rules, **{"limits.plans": {"default": {"key": {"requests_per_min": 8}}}})
    put(redis_db, "cap", factor=0.25)
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(3)]
    assert [(decision.admitted, decision.throttled, decision.action) for decision in decisions] == [
        (True, True, "cap"),
        (True, True, "cap"),
        (False, True, "cap"),
    ]
    rules.policy = EnforcementSettings(automatic_up_to="cap")
    put(redis_db, "cap", "k2", factor=0.25)
    would = [(await gate.limiter.decide(gate.ask("k2"))).shadow_would for _ in range(3)]
    assert would == ["cap", "cap", "refuse"]


@pytest.mark.parametrize("mode", ["shadow", "off"])
async def test_a_persons_order_acts_whatever_policy_does(mode: str, make_gate: Any, redis_db: str) -> None:
    """In shadow, for a key policy does not look at, and beyond what policy may do by itself, an order is done."""
    percent = {"enabled_percent": 0} if mode == "off" else {}
    rules = Switches(**percent)
    gate = await make_gate(control=rules, **{"limits.plans": {"default": {"key": {"requests_per_min": 8}}}})
    put(redis_db, "suspend", by="person")
    assert (await gate.limiter.decide(gate.ask())).action == "suspend"
    put(redis_db, "throttle", "k2", by="person", factor=0.25)
    decisions = [await gate.limiter.decide(gate.ask("k2")) for _ in range(3)]
    assert [decision.admitted for decision in decisions] == [True, True, False]
    assert {(decision.throttled, decision.effect) for decision in decisions} == {(True, "enforced")}
    put(redis_db, "observe", "k3", by="person")
    assert (await gate.limiter.decide(gate.ask("k3"))).action == ""


async def test_policy_goes_no_further_than_it_may_now(make_gate: Any, redis_db: str) -> None:
    """A verdict written under a bolder policy is done only as far as the present one goes by itself."""
    rules = Switches(mode="enforce")
    gate = await make_gate(control=rules, **{"limits.plans": {"default": {"key": {"requests_per_min": 100}}}})
    put(redis_db, "suspend")
    decision = await gate.limiter.decide(gate.ask())
    assert (decision.admitted, decision.throttled, decision.action) == (True, True, "throttle")
    rules.policy = EnforcementSettings(mode="enforce", automatic_up_to="suspend")
    assert (await gate.limiter.decide(gate.ask())).blocked
    rules.policy = EnforcementSettings(
        mode="enforce", automatic_up_to="observe", suspect=ActionRule(), confirmed=ActionRule()
    )
    decision = await gate.limiter.decide(gate.ask())
    assert (decision.admitted, decision.throttled, decision.action) == (True, False, "")


async def test_shares_of_the_keys(make_gate: Any, redis_db: str) -> None:
    """Policy acts on the keys below one share, counts those below the other, and does not see the rest."""
    rules = Switches(mode="enforce", enabled_percent=60, enforced_percent=30)
    gate = await make_gate(control=rules)
    seen = set()
    for number in range(40):
        key = f"key{number}"
        put(redis_db, "throttle", key)
        decision = await gate.limiter.decide(gate.ask(key))
        share = share_of(key)
        assert decision.effect == ("enforced" if share < 30 else "shadow" if share < 60 else "")
        assert decision.throttled == (share < 30)
        seen.add(decision.effect)
    assert len(seen) == 3


async def test_what_is_allowed_is_left_alone_by_policy_only(make_gate: Any, redis_db: str) -> None:
    """Nothing is done about a key on the allow-list, until a person orders it."""
    rules = Switches(mode="enforce")
    gate = await make_gate(control=rules)
    put(redis_db, "throttle")
    assert (await gate.limiter.decide(gate.ask())).throttled
    rules.listed.add("k1")
    assert (await gate.limiter.decide(gate.ask())).action == ""
    put(redis_db, "suspend", by="person")
    assert (await gate.limiter.decide(gate.ask())).blocked


async def test_the_kill_switch(make_gate: Any, redis_db: str) -> None:
    """`actions` ends everything that is done about verdicts and orders; `all` asks no limit either, and logs on."""
    rules = Switches(mode="enforce", automatic_up_to="suspend")
    gate = await make_gate(control=rules, **{"limits.plans": {"default": {"key": {"requests_per_min": 2}}}})
    put(redis_db, "suspend", by="person")
    rules.orders["k1"] = order("suspend")
    assert (await gate.limiter.decide(gate.ask())).blocked
    rules.kill = "actions"
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(3)]
    assert [(decision.admitted, decision.action) for decision in decisions] == [(True, ""), (True, ""), (False, "")]
    rules.kill = "all"
    for _ in range(5):
        decision = await gate.limiter.decide(gate.ask())
        assert (decision.admitted, decision.degraded) == (True, "")
        gate.limiter.settle(decision.reservation, input_tokens=5, output_tokens=5, event=b"e")
    await gate.events.flush()
    with redis.Redis.from_url(redis_db) as client:
        assert client.xlen(PartitionKeys(partition_of("k1", 16)).stream) == 5
    rules.kill = ""
    assert (await gate.limiter.decide(gate.ask())).blocked


async def test_a_block_is_known_before_the_partition_has_it(make_gate: Any) -> None:
    """An order in memory blocks although state says nothing, until it ends."""
    rules = Switches()
    gate = await make_gate(control=rules)
    rules.orders["k1"] = order("step_up")
    decision = await gate.limiter.decide(gate.ask())
    assert (decision.blocked, decision.action, decision.ref) == (True, "step_up", "sw-b")
    rules.orders["k1"] = order("suspend", seconds=-1)
    assert (await gate.limiter.decide(gate.ask())).admitted


@pytest.mark.parametrize("on_loss", ["local", "open", "closed"])
async def test_blocked_stays_blocked_without_state(on_loss: str, make_gate: Any, own_server: Any) -> None:
    """Who is blocked, by an order or by policy, stays so under every failure policy; a lift in memory holds as well."""
    rules = Switches(mode="enforce", automatic_up_to="suspend")
    gate = await make_gate(own_server.url, rules, **{"limits.on_state_loss": on_loss})
    for key in ("policy", "lifted"):
        put(own_server.url, "suspend", key)
        assert (await gate.limiter.decide(gate.ask(key))).blocked
    rules.orders["ordered"] = order("step_up")
    rules.orders["lifted"] = order("observe")
    own_server.signal(signal.SIGKILL)
    for _ in range(3):
        decisions = [await gate.limiter.decide(gate.ask(key)) for key in ("policy", "ordered", "lifted", "other")]
        assert [decision.blocked for decision in decisions] == [True, True, False, False]
        assert [decision.admitted for decision in decisions[2:]] == [on_loss != "closed"] * 2
    rules.kill = "actions"
    assert not (await gate.limiter.decide(gate.ask("policy"))).blocked
    assert not (await gate.limiter.decide(gate.ask("ordered"))).blocked


async def test_an_order_to_throttle_holds_without_state(make_gate: Any, own_server: Any) -> None:
    """Throttled by a person stays throttled, in shadow too, at this gateway's share of what is left."""
    rules = Switches()
    plans = {"limits.plans": {"default": {"key": {"requests_per_min": 16}}}, "limits.replicas": 2}
    gate = await make_gate(own_server.url, rules, **plans)
    own_server.signal(signal.SIGKILL)
    rules.orders["k1"] = order("cap")
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(5)]
    assert [decision.admitted for decision in decisions] == [True] * 4 + [False]
    assert {(decision.throttled, decision.action, decision.effect) for decision in decisions} == {(True, "cap", "enforced")}


@pytest.mark.parametrize("action", ["throttle", "cap", "step_up", "suspend"])
def test_a_gateway_of_the_release_before_reads_todays_strings(action: ActionName, redis_db: str) -> None:
    """The script before the ladder narrows by a throttle with the added fields, and lets what it does not know pass."""
    put(redis_db, action, by="person", factor=0.5)
    keys = PartitionKeys(partition_of("k1", 16))
    with redis.Redis.from_url(redis_db) as client:
        fixed = ["enforce", 120_000_000, 172_800, 1, 0, 0, 0, "r", 1, 30e6, 60e6]
        names = [keys.verdict("k1"), keys.limits("k", "k1")]
        replies: list[Any] = [client.eval(FIRST_SCRIPT, 2, *names, f"r{n}", 1, 1, *fixed) for n in range(3)]
    narrowed = action == "throttle"
    assert [reply[0] for reply in replies] == ([1, 0, 0] if narrowed else [1, 1, 0])
    assert {reply[3] for reply in replies} == {int(narrowed)}


async def test_balances_are_shared_with_the_release_before(make_gate: Any, redis_db: str) -> None:
    """What a gateway of the release before has charged is spent for a new one, and the other way round."""
    gate = await make_gate(**{"limits.plans": {"default": {"key": {"requests_per_min": 2}}}})
    keys = PartitionKeys(partition_of("k1", 16))
    names = [keys.verdict("k1"), keys.limits("k", "k1")]
    fixed = ["enforce", 120_000_000, 172_800, 1, 0, 0, 0, "r", 1, 30e6, 60e6]
    with redis.Redis.from_url(redis_db) as client:
        first: Any = client.eval(FIRST_SCRIPT, 2, *names, "r1", 1, 1, *fixed)
        assert first[0] == 1
        assert (await gate.limiter.decide(gate.ask())).admitted
        last: Any = client.eval(FIRST_SCRIPT, 2, *names, "r2", 1, 1, *fixed)
        assert last[0] == 0
    assert not (await gate.limiter.decide(gate.ask())).admitted
