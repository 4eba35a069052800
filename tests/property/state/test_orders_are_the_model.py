"""Orders and commits on a real server against plain Python: whatever people and workers do, wherever a change breaks off.

Time is a number that the rules move on; an order that it passes leaves the server as expiry takes it, order and verdict in
the same moment. What policy asks for has a life of its own each time, so that a move that renewed it would show.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.enforcement.policy import decode_verdict, encode_action
from app.settings import load
from app.state import order_repair, orders
from app.state.factory import background_client
from app.state.keys import UNBOUNDED_OK, PartitionKeys, partition_of
from app.state.order_repair import OrderRepair
from app.state.orders import Entry, Order, Orders, read_order
from app.state.ownership import Lease, Ownership
from app.state.partition import Batch, PartitionStore

KEYS = ("a" * 32, "b" * 32)
PARTITIONS = (0, 1)
FAR_US = 4_000_000_000_000_000
"""The year 2096: nothing ends by the server's own clock."""

MOVES_MS = 500
"""What a life may gain or lose in the moves of one example; lives differ by 10,000 ms or more. A stall of this process
counts for nothing: the server's clock is read before and after."""

_servers: list[str] = []


@pytest.fixture(autouse=True)
def _server(redis_db: str) -> None:
    """Hypothesis makes the machines; they find the server here."""
    _servers[:] = [redis_db]


@dataclass
class Policy:
    """What policy asks for about a key in one partition, and between what times of the server in ms that is forgotten."""

    string: str
    first_ms: int
    last_ms: int


@dataclass
class KeyModel:
    """What is true of one key."""

    policy: dict[int, Policy] = field(default_factory=dict)
    order: Order | None = None
    places: set[int] = field(default_factory=set)
    broken: bool = False  # a change broke off: the partitions are not there yet


class OrdersMachine(RuleBasedStateMachine):
    """People give and end orders, workers commit, time passes, processes die."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.redis = redis.Redis.from_url(_servers[0])
        self.redis.flushall()
        self.client = background_client(_servers[0], load(environ={}))
        self.orders = Orders(self.client)
        self.repair = OrderRepair(self.client, len(PARTITIONS))
        self.now_us = FAR_US
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(orders, "_now_us", lambda: self.now_us)
        self.patch.setattr(order_repair, "_now_us", lambda: self.now_us)
        self.numbers = itertools.count(1)
        self.keys = {key_id: KeyModel() for key_id in KEYS}
        self.stores = {number: self.store(number) for number in PARTITIONS}

    def teardown(self) -> None:
        """Everything is closed."""
        self.patch.undo()
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()
        self.redis.close()

    def run(self, work: Any) -> Any:
        """Waits for a coroutine."""
        return self.loop.run_until_complete(work)

    def store(self, partition: int) -> PartitionStore:
        """A leased partition."""
        lease: Lease | None = self.run(Ownership(self.client, "w", 3_600_000).acquire(partition))
        assert lease is not None
        return PartitionStore(self.client, lease)

    def new_order(self, action: Any, hours: int) -> Order:
        """An order from now on, unlike any other."""
        ref = f"sw-{next(self.numbers)}"
        until_us = self.now_us + hours * 3_600_000_000
        return Order(ref=ref, action=action, factor=0.5, level="suspect", since_us=self.now_us, until_us=until_us, by="me")

    @rule(
        key_id=st.sampled_from(KEYS), partition=st.sampled_from(PARTITIONS), level=st.sampled_from(["", "watch", "suspect"])
    )
    def commit(self, key_id: str, partition: int, level: str) -> None:
        """A worker judges the key; an empty level says that it is clear."""
        number = next(self.numbers)
        string = f"{level}|throttle|0.25|20|{self.now_us + number}|policy|sw-{number}" if level else ""
        store = self.stores[partition]
        cursor = self.run(store.cursor())
        self.run(store.commit(Batch(cursor=cursor, last=f"{number}-1", verdicts={key_id: string})))
        model = self.keys[key_id]
        model.policy.pop(partition, None)
        if level:
            life_ms = 10_000_000 + number * 10_000
            names = PartitionKeys(partition)
            place = names.asked(key_id) if self.redis.exists(names.order(key_id)) else names.verdict(key_id)
            before_ms = self.server_ms()
            self.redis.pexpire(place, life_ms)
            model.policy[partition] = Policy(string, before_ms + life_ms, self.server_ms() + life_ms)

    @rule(
        key_id=st.sampled_from(KEYS),
        places=st.sets(st.sampled_from(PARTITIONS), min_size=1),
        action=st.sampled_from(["observe", "throttle", "suspend"]),
        hours=st.integers(1, 3),
        dies=st.booleans(),
    )
    def place(self, key_id: str, places: set[int], action: str, hours: int, dies: bool) -> None:
        """A person gives an order; the process may die when it is in the list and nowhere else."""
        model = self.keys[key_id]
        order = self.new_order(action, hours)
        if dies:
            entry = Entry(order=order, places=tuple(sorted(places | model.places)), item={"what": "x"})
            self.run(self.orders._list("place", key_id, msgspec.json.encode(entry), 0, 1000, 1000))
            model.broken = True
        else:
            self.run(self.orders.place(key_id, places, order, {"what": "x"}))
            model.broken = False
        model.order = order
        model.places |= places

    @rule(key_id=st.sampled_from(KEYS), dies=st.booleans(), other=st.booleans())
    def end(self, key_id: str, dies: bool, other: bool) -> None:
        """A person takes an order back, or one that is not there; the process may die when the list says so."""
        model = self.keys[key_id]
        if other:
            assert not self.run(self.orders.end(key_id, PARTITIONS, {"what": "y"}, ref="sw-other"))
            return
        if dies and model.order is not None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(self.orders, "finish", _dies)
                with pytest.raises(_Died):
                    self.run(self.orders.end(key_id, PARTITIONS, {"what": "y"}))
            model.order, model.broken = None, True
            model.places = set(PARTITIONS)  # where it is looked for is where a later one stands, too
            return
        stood = model.order is not None
        assert self.run(self.orders.end(key_id, PARTITIONS, {"what": "y"})) is stood
        model.order, model.broken = None, False
        model.places = set()

    @rule(hours=st.integers(1, 2))
    def time_passes(self, hours: int) -> None:
        """Orders end by themselves: the server forgets order and verdict in the same moment."""
        self.now_us += hours * 3_600_000_000
        for key_id, partition in itertools.product(KEYS, PARTITIONS):
            names = PartitionKeys(partition)
            found = read_order(self.redis.get(names.order(key_id)))
            if found is not None and found.until_us <= self.now_us:
                self.redis.delete(names.order(key_id), names.verdict(key_id))
        for model in self.keys.values():
            if model.order is not None and model.order.until_us <= self.now_us:
                model.order, model.broken = None, True  # what policy asks for comes back with the repair, or a commit

    @precondition(lambda self: any(model.broken for model in self.keys.values()))
    @rule()
    def repair_all(self) -> None:
        """A worker looks at every order of the list."""
        for key_id in KEYS:
            data = self.redis.hget("sw:{ctl}:orders", key_id)
            if data is not None:
                self.run(self.repair._look(key_id, data))
            model = self.keys[key_id]
            model.broken = False
            if model.order is None:
                model.places = set()
            else:  # where it is decided belongs to its places, too
                model.places.add(partition_of(key_id, len(PARTITIONS)))

    @invariant()
    def the_list_is_what_people_ordered(self) -> None:
        """Also while the partitions are behind."""
        found = self.run(self.orders.get_many(KEYS))
        assert found == {key_id: model.order for key_id, model in self.keys.items() if model.order is not None}

    @invariant()
    def each_partition_does_what_was_ordered_else_what_policy_asks_for(self) -> None:
        """With the bytes and the remaining life that policy's string would have had without any order."""
        for key_id, partition in itertools.product(KEYS, PARTITIONS):
            model, names = self.keys[key_id], PartitionKeys(partition)
            if model.broken:
                continue
            verdict, asked = self.redis.get(names.verdict(key_id)), self.redis.get(names.asked(key_id))
            policy = model.policy.get(partition)
            if model.order is not None and partition in model.places:
                assert read_order(self.redis.get(names.order(key_id))) == model.order
                assert verdict == encode_action(model.order.asks()).encode()
                assert decode_verdict(verdict) == model.order.asks()
                assert asked == (policy and policy.string.encode())
                place = names.asked(key_id)
            else:
                assert not self.redis.exists(names.order(key_id))
                assert verdict == (policy and policy.string.encode())
                assert asked is None
                place = names.verdict(key_id)
            if policy is not None:
                before_ms, left_ms, after_ms = self.server_ms(), self.redis.pttl(place), self.server_ms()
                assert policy.first_ms - MOVES_MS <= left_ms + after_ms
                assert left_ms + before_ms <= policy.last_ms + MOVES_MS

    @invariant()
    def every_name_ends(self) -> None:
        """Each key of the server has a TTL but those that are listed as bounded otherwise."""
        for name in self.redis.scan_iter("*"):
            assert self.redis.ttl(name) > 0 or name.decode().endswith(UNBOUNDED_OK), name

    def server_ms(self) -> int:
        """The server's clock."""
        seconds, micros = self.redis.time()  # type: ignore[misc]
        return int(seconds) * 1000 + int(micros) // 1000


class _Died(Exception):
    """The process is gone."""


async def _dies(*_: Any) -> None:
    raise _Died


TestOrders = OrdersMachine.TestCase
TestOrders.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
