"""The admin process: the admin application on a socket of its own."""

from __future__ import annotations

import asyncio
import logging
import socket

import uvicorn
from fastapi import FastAPI

from app.admin.acting import Acting
from app.admin.api import create_admin
from app.admin.auth import check_bootstrap
from app.admin.casebook import Casebook
from app.admin.sharing_clock import SharingClock
from app.admin.shelf import Shelf
from app.errors import ConfigError, StateUnavailable
from app.gateway.protocol import guarded
from app.intel.digesting import Digester
from app.intel.feed_reader import FeedReader
from app.intel.taking import Taking
from app.intel.taxii.peers import load as load_peers
from app.intel.taxii.poller import Poller, Polling
from app.intel.taxii.sender import Sender
from app.settings import Settings
from app.state import meta
from app.state.accounts import AccountStore
from app.state.audit import AuditLog
from app.state.calls import Client
from app.state.erasures import Erasures
from app.state.factory import background_client
from app.state.intel_groups import IntelGroups
from app.state.mark_groups import MarkGroups
from app.state.orders import Orders
from app.state.reading import StateReader
from app.state.server import StateServer
from app.state.tokens import TokenStore
from app.state.waiting import end
from app.telemetry import metrics
from app.telemetry.exposition import EmbeddedServer, listen, version
from detectors import model as models

log = logging.getLogger(__name__)

_GRACE_SEC = 5
"""Running requests get as long to end at shutdown; none of them takes that long."""


class AdminServer:
    """A running admin API.

    Attributes:
        app: the application that is served.
        url: base address, with the port that was really taken.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        sock: socket.socket,
        client: Client,
        acting: Acting,
        state: StateServer | None,
    ) -> None:
        self.app = app
        self._sock = sock
        self._client = client
        self._acting = acting
        self._state = state
        host, port = sock.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        config = uvicorn.Config(
            app,
            http=guarded(settings.gateway),  # the same bounds on a request's head
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SEC,
        )
        self._server = EmbeddedServer(config)
        self._task: asyncio.Task[None] | None = None
        self._heads: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept requests; returns when the socket is served."""
        self._task = await self._server.start(self._sock)
        self._heads = asyncio.create_task(self.app.state.auditor.tell_heads())
        self.app.state.casebook.clock.start()
        self.app.state.runs.start()
        self.app.state.polling.start()
        self.app.state.outbox.start()
        self.app.state.taking.start()
        self.app.state.sharing_clock.start()

    async def stop(self) -> None:
        """Stop accepting, let running answers end, then let go of the state server."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        if self._heads is not None:
            await end(self._heads)
        await self.app.state.casebook.clock.stop()
        await self.app.state.runs.stop()
        await self.app.state.polling.stop()
        await self.app.state.outbox.stop()
        await self.app.state.taking.stop()
        await self.app.state.sharing_clock.stop()
        self._sock.close()
        await self._acting.stop()
        await self._client.aclose()
        if self._state is not None:
            await self._state.stop()


async def start(settings: Settings, *, state_url: str | None = None) -> AdminServer:
    """Start an admin API with everything it needs. The state server need not answer: until it does, reads get a 503.

    Args:
        settings: the whole tree; `admin.token` must be set.
        state_url: address of a state server that is already running; None resolves one from the settings.

    Raises:
        ConfigError: a setting does not fit, the model or the file of peers cannot be read, or the port is taken.
    """
    check_bootstrap(settings.admin)  # before anything is opened
    model = _load_model(settings)
    peers = load_peers(settings.intel.peers_file) if settings.intel.peers_file else ()
    sock = listen(settings.admin.host, settings.admin.port, "admin.port")
    state: StateServer | None = None
    client: Client | None = None
    acting: Acting | None = None
    try:
        if state_url is None:
            state = StateServer(settings.state)
            await state.start()
            state_url = state.url
        client = background_client(state_url, settings)
        try:
            await meta.check(client, settings)
        except StateUnavailable as error:
            log.warning("%s; until it does, every answer is a 503", error)
        reader = StateReader(client, settings.state.partitions)
        audit = AuditLog(client, settings.admin.audit_retention_days)
        erasures = Erasures(client, settings.state.partitions)
        accounts, orders = AccountStore(client), Orders(client)
        acting = Acting(settings, client, reader, accounts, orders)
        casebook = Casebook(client, acting)
        tokens = TokenStore(client)
        groups = MarkGroups(client)
        shelf = Shelf(client, IntelGroups(client), peers)
        app = create_admin(
            settings, reader, accounts, orders, tokens, audit, erasures, acting, casebook, groups, shelf=shelf, model=model
        )
        sender, feeds = Sender(shelf.outgoing, shelf.polls), FeedReader(shelf.queue, shelf.signers)
        app.state.polling = Polling(Poller(peers, shelf.polls, shelf.queue, sender=sender, feeds=feeds))
        app.state.taking = Taking(Digester(shelf.queue, shelf.indicators), shelf.queue)
        app.state.sharing_clock = SharingClock(peers, shelf.polls, shelf.queue, shelf.outgoing, shelf.publications)
        await acting.start()
        metrics.BUILD_INFO.labels(version(), "admin").set(1)
        server = AdminServer(app, settings, sock, client, acting, state)
        await server.start()
    except BaseException:
        sock.close()
        if acting is not None:
            await acting.stop()
        if client is not None:
            await client.aclose()
        if state is not None:
            await state.stop()
        raise
    return server


async def serve(settings: Settings, stop: asyncio.Event, *, state_url: str | None = None) -> None:
    """Run an admin API until `stop` is set."""
    server = await start(settings, state_url=state_url)
    try:
        await stop.wait()
    finally:
        await server.stop()


def _load_model(settings: Settings) -> models.Model | None:
    """The model the workers judge with, for percentiles; None when only the named rules judge."""
    if settings.worker.model_dir is None:
        return None
    try:
        return models.load(settings.worker.model_dir)
    except models.BadModel as error:
        raise ConfigError(f"worker.model_dir: {error}") from None
