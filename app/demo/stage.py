"""The processes of the demonstration and their settings. Everything listens on loopback, on ports that are free."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from app.errors import ConfigError
from app.main import Ready
from app.processes import Tree
from app.settings import Settings
from app.state.calls import reachable
from app.state.factory import background_client
from app.state.server import StateServer

STOP_SEC = 8.0

PARTS = (
    ("model API", "app.demo.stage:run_model_api"),
    ("gateway", "app.main:run_gateway"),
    ("worker", "app.main:run_worker"),
    ("admin API", "app.main:run_admin"),
)

PLANS = {"default": 60, "free": 240, "payg": 240, "team": 600}
"""Requests a minute and key. The busiest honest customer here sends about 130."""


ACTIONS = {"suspect": {"action": "throttle", "factor": 0.1}, "confirmed": {"action": "throttle", "factor": 0.05}}
"""Harsher than the default policy, so that a minute is long enough to see it work."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the settings of a run are made of: its folder, its secrets, and the state server of the environment, if any."""

    folder: Path
    pepper: str
    token: str
    redis_url: str
    mode: Literal["shadow", "enforce"] = "enforce"

    @classmethod
    def new(cls, folder: Path, redis_url: str, mode: Literal["shadow", "enforce"] = "enforce") -> Ground:
        """Secrets are made for the run and known to nobody else."""
        return cls(folder, secrets.token_hex(24), secrets.token_hex(24), redis_url, mode)

    @property
    def accounts_file(self) -> Path:
        """Accounts of the live part."""
        return self.folder / "accounts.jsonl"

    def settings(self, upstream: str = "", model_dir: Path | None = None) -> Settings:
        """Settings of every process."""
        tree: dict[str, Any] = {
            "state": {"redis_url": self.redis_url, "data_dir": self.folder / "data"},
            "identity": {
                "pepper": self.pepper,
                "unknown_keys": "deny",
                "accounts_file": self.accounts_file,
                "trusted_proxies": ("127.0.0.1/32",),  # the simulated clients, each of which says where it comes from
            },
            "gateway": {
                "port": 0,
                "upstream": upstream,
                "upstream_accepts_include_usage": True,
                "metrics_port": 0,
                "grace_sec": 3,
            },
            "limits": {"plans": {plan: {"key": {"requests_per_min": limit}} for plan, limit in PLANS.items()}},
            "enforcement": {"mode": self.mode, **ACTIONS},
            "worker": {"poll_ms": 100, "metrics_port": 0, "model_dir": model_dir, "archive_sec": 5},
            "admin": {"port": 0, "token": self.token},
        }
        return Settings.model_validate(tree)


class Stage:
    """The processes. As an async context manager it stops, in reverse order, whatever of them was started.

    Attributes:
        addresses: "gateway", "admin", and "… metrics" → address.
    """

    def __init__(self, ground: Ground, model_dir: Path | None) -> None:
        self._ground = ground
        self._model_dir = model_dir
        self._stack = AsyncExitStack()
        self._tree = Tree(STOP_SEC)
        self._log_path = ground.folder / "processes.log"
        self.addresses: dict[str, str] = {}

    async def start(self) -> bool:
        """Start the state server and then each process when the one before serves; true once all do.

        Raises:
            StillwatchError: one of them cannot start; its own sentence.
        """
        (self._ground.folder / "data").mkdir(exist_ok=True)
        state = await self._stack.enter_async_context(StateServer(self._ground.settings().state))
        if not state.embedded:
            await self._stack.enter_async_context(_borrowed(self._ground))
        await self._stack.enter_async_context(self._tree)
        log = self._stack.enter_context(self._log_path.open("ab"))
        upstream = ""
        for name, role in PARTS:
            found = await self._add(name, role, upstream, log)
            upstream = upstream or found["model API"]
            for what, address in found.items():
                self.addresses[f"{name} {what}" if what == "metrics" else what] = address
        return True

    async def _add(self, name: str, role: str, upstream: str, log: IO[bytes]) -> dict[str, str]:
        return await self._tree.add(name, role, self._ground.settings(upstream, self._model_dir), output=log)

    def last_words(self) -> str:
        """The end of the processes' log, which quotes neither clients nor credentials."""
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"the log ends with: {lines[-1]}" if lines else "the log is empty"

    async def broken(self) -> str:
        """Waits until a process has ended that nobody stopped; a sentence about it."""
        return await self._tree.broken()

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


async def check_borrowed(ground: Ground) -> None:
    """Refuse a configured database that is in use: the demonstration would mix its inventions with real state.

    Raises:
        ConfigError: it is not empty.
        StateUnavailable: it does not answer.
    """
    if ground.redis_url:
        async with _borrowed(ground):
            return


@asynccontextmanager
async def _borrowed(ground: Ground) -> AsyncIterator[None]:
    """A configured database is empty before and after."""
    client = background_client(ground.redis_url, ground.settings())
    try:
        with reachable("state.redis_url"):
            held = await client.dbsize()
        if held:
            raise ConfigError(
                f"state.redis_url: the demonstration wants an empty database, and this one holds {held:,} keys; "
                "name another one (…/15), or unset STILLWATCH_REDIS_URL"
            )
        try:
            yield
        finally:
            with reachable("state.redis_url"):
                await client.flushdb()
    finally:
        await client.aclose()


async def run_model_api(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The simulated model API as a process of its own; a role as in `app.main`."""
    import uvicorn

    from app.simulate.model_api import ModelApi
    from app.telemetry.exposition import EmbeddedServer, listen

    sock = listen("127.0.0.1", 0, "model API")
    config = uvicorn.Config(
        ModelApi(), http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = EmbeddedServer(config)
    task = await server.start(sock)
    ready({"model API": f"http://127.0.0.1:{sock.getsockname()[1]}"})
    await stop.wait()
    server.should_exit = True
    await task
    sock.close()
