"""The copy of the control plane in every gateway and worker: stored policy and plans, kill switch, allow-list, orders.

The server tells of changes at once (a blocking read of their stream); the same loop looks by itself after each wait, so a
proxy that passes no such reads on only makes it slower. Each change names the one before it: a reader that finds a gap
reads everything again. While the server is away, and when it comes back empty, the copy stays what it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from app.enforcement.policy import Action
from app.errors import StateUnavailable
from app.state.calls import Client, reachable
from app.state.control import AllowEntry, ControlDoc, ControlStore, read_entry
from app.state.keys import ALLOWED, CONTROL_CHANGES
from app.state.mark_groups import MarkGroups
from app.state.orders import Orders
from app.state.partition import START, next_id, parse_id
from app.state.waiting import end, wait_for_change

log = logging.getLogger(__name__)

WAIT_MS = 1000
"""Longest wait for news in one call; afterwards the copy is checked all the same."""


class ControlFeed:
    """One process's copy.

    Attributes:
        doc: policy, plans and kill switch as stored.
        allow: subject → entry of the allow-list, those that are over too.
        orders: key id → what the order that stands about it asks for; it may be over by its time.
        groups: tenant → group whose watermark its answers carry too.
    """

    def __init__(self, client: Client, changed: Callable[[], None], *, poll_sec: float, timeout_sec: float) -> None:
        """Nothing is read yet.

        Args:
            client: of the state server.
            changed: called after each change of the copy.
            poll_sec: pause between looks while the server is away, or tells nothing by itself.
            timeout_sec: of the client; a wait for news is shorter.
        """
        self._client = client
        self._store = ControlStore(client)
        self._list = Orders(client)
        self._groups = MarkGroups(client)
        self._changed = changed
        self._poll_sec = poll_sec
        self._wait_ms = max(1, min(WAIT_MS, round(timeout_sec * 500)))
        self._last: str | None = None  # newest change that the copy has; None: there is no copy yet
        self._fresh_at: float | None = None
        self._emptied = False
        self._task: asyncio.Task[None] | None = None
        self.doc = ControlDoc()
        self.allow: dict[str, AllowEntry] = {}
        self.orders: dict[str, Action] = {}
        self.groups: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Everything was read at least once."""
        return self._last is not None

    @property
    def age_sec(self) -> float | None:
        """Time since the copy was last known to be complete; None before the first time."""
        return None if self._fresh_at is None else time.monotonic() - self._fresh_at

    async def start(self) -> None:
        """Reads everything, then follows until `stop`. Returns at once when the server is away."""
        try:
            await self._turn()
        except StateUnavailable as error:
            log.warning("%s; policy, kill switch and orders in state are not known yet", error)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stops following; the copy stays readable."""
        if self._task:
            await end(self._task)
            self._task = None

    async def _follow(self) -> None:
        away = self._last is None
        while True:
            try:
                if away or not await wait_for_change(self._client, CONTROL_CHANGES, self._last or START, self._wait_ms):
                    await asyncio.sleep(self._poll_sec)
                await self._turn()
                if away:
                    log.info("the state server answers again; %d orders stand", len(self.orders))
                away = False
            except StateUnavailable as error:
                if not away:
                    log.warning("%s; the last known policy, kill switch and %d orders hold", error, len(self.orders))
                away = True
            except Exception as error:  # something in state is none of ours; the loop must outlive it
                log.error("policy, kill switch and orders in state could not be read: %s", type(error).__name__)
                away = True

    async def _turn(self) -> None:
        """Brings the copy up to date."""
        if self._last is None:
            await self._reload()
        entries, newest = await self._changes(self._last or START)
        if newest == START and self._last != START:
            # An emptied server is a loss, not an order to let everybody go.
            if not self._emptied:
                log.error("policy, kill switch and orders are gone from the state server; the copy of them holds")
            self._emptied = True
            return
        self._emptied = False
        if entries and entries[0][1] == self._last:
            await self._apply({(what, name) for _, _, what, name in entries})
            self._last = entries[-1][0]
        elif entries or parse_id(newest) < parse_id(self._last or START):
            await self._reload()
        self._fresh_at = time.monotonic()

    async def _changes(self, after: str) -> tuple[list[tuple[str, str, str, str]], str]:
        """([(id, id of the one before, doc | allow | order | group, name)], id of the newest of all), oldest first."""
        with reachable("control changes"):
            pipe = self._client.pipeline(transaction=False)
            pipe.xrange(CONTROL_CHANGES, min=next_id(after))
            pipe.xrevrange(CONTROL_CHANGES, count=1)
            found, newest = await pipe.execute()
        entries = [(entry.decode(), *(fields[name].decode() for name in (b"p", b"w", b"k"))) for entry, fields in found]
        return entries, newest[0][0].decode() if newest else START

    async def _apply(self, changes: Iterable[tuple[str, str]]) -> None:
        names: dict[str, list[str]] = {"doc": [], "allow": [], "order": [], "group": []}
        for what, name in changes:
            names.setdefault(what, []).append(name)  # a later version may tell of more
        if names["doc"]:
            self.doc = await self._store.get()
        if names["allow"]:
            with reachable("allow-list"):
                found: Any = await self._client.hmget(ALLOWED, names["allow"])
            for name, data in zip(names["allow"], found, strict=True):
                entry = read_entry(data)
                if entry is None:
                    self.allow.pop(name, None)
                else:
                    self.allow[name] = entry
        if names["order"]:
            standing = await self._list.get_many(names["order"])
            for name in names["order"]:
                if name in standing:
                    self.orders[name] = standing[name].asks()
                else:
                    self.orders.pop(name, None)
        if names["group"]:
            for name, group in (await self._groups.get_many(names["group"])).items():
                if group:
                    self.groups[name] = group
                else:
                    self.groups.pop(name, None)
        self._changed()

    async def _reload(self) -> None:
        """A new copy. The place in the changes is taken first: what changes meanwhile is read once more afterwards."""
        _, last = await self._changes("9999999999999999-0")
        doc = await self._store.get()
        allow = {entry.subject: entry for entry in await self._store.allow_list()}
        orders = {name: order.asks() async for name, order in self._list.standing()}
        groups = await self._groups.all()
        self.doc, self.allow, self.orders, self.groups = doc, allow, orders, groups
        self._last = last
        self._changed()
