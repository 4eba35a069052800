"""What the routes by which people act share: one of each part over one deployment's state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from app.admin.deadline import answered
from app.admin.ordering import Ordering
from app.admin.proposals import Bulks
from app.admin.subjects import Finder
from app.admin.traffic import Traffic
from app.enforcement.control import Control
from app.errors import StateUnavailable
from app.settings import Settings
from app.state.accounts import AccountStore
from app.state.bulks import BulkStore
from app.state.calls import Client
from app.state.campaigns import CampaignStore
from app.state.control import ControlStore
from app.state.key_facts import KeyFacts
from app.state.order_records import OrderRecords
from app.state.orders import Orders
from app.state.reading import StateReader
from app.state.replies import Replies
from app.state.traces import TraceStore
from app.state.waiting import end
from app.worker.inherit import Inheritance

log = logging.getLogger(__name__)

RESOLVE_SEC = 10.0
"""More time than an ordinary question has, to find out which keys an organisation or a match stands for."""


class Acting:
    """Started and stopped with the admin process.

    Attributes:
        settings: the whole tree.
        reader, accounts, orders, records, replies: stores.
        store: what is set for the whole deployment; control: what of that, and of the files here, is in force.
        finder: which keys a question stands for; facts: what is known about many of them.
        ordering: gives and undoes orders; bulks: those about many keys.
        traffic: what keys did in the last day.
        campaigns: groups of keys that act as one; inheritance: what is done about all members of one.
        traces: what the linker knows of each key.
    """

    def __init__(
        self, settings: Settings, client: Client, reader: StateReader, accounts: AccountStore, orders: Orders
    ) -> None:
        self.settings = settings
        self.reader = reader
        self.accounts = accounts
        self.orders = orders
        self.store = ControlStore(client)
        self.control = Control(settings, client)
        self.records = OrderRecords(client)
        self.replies = Replies(client)
        self.facts = KeyFacts(client, settings.state.partitions)
        self.finder = Finder(reader, accounts, self.facts, orders)
        self.ordering = Ordering(self.finder, orders, self.records)
        self.bulks = Bulks(BulkStore(client), self.store, self.finder, self.ordering)
        self.traffic = Traffic(settings.archive_dir)
        self.campaigns = CampaignStore(client)
        self.traces = TraceStore(client, settings.state.partitions)
        self.inheritance = Inheritance(client, settings)
        self._behind: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def patiently(self, more_sec: float = RESOLVE_SEC) -> AsyncIterator[None]:
        """As `answered`, for what asks about many keys; a server that is away is found out first, and in ordinary time.

        Raises:
            StateUnavailable: it is.
        """
        async with answered():
            await self.store.get()
        async with answered(more_sec):
            yield

    def behind(self, work: Coroutine[object, object, None], what: str) -> None:
        """Goes on behind the answer. For what another process finishes where this one stops or the server is away."""

        async def run() -> None:
            try:
                await work
            except StateUnavailable as error:
                log.warning("%s is left to the worker that links: %s", what, error)

        task = asyncio.create_task(run())
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def start(self) -> None:
        """Follow what is in force, and carry out what is approved.

        Raises:
            ConfigError: the policy file is wrong.
        """
        await self.control.start()
        self.bulks.start()

    async def stop(self) -> None:
        """Stop both, and what goes on behind answers."""
        for task in list(self._behind):
            await end(task)
        await self.bulks.stop()
        await self.control.stop()
