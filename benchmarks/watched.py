"""The processes of the demonstration under a real Prometheus: honest customers first, then attackers beside them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.demo import cast
from app.demo.stage import Ground
from app.processes import Child
from app.settings import Settings, StateSettings
from app.simulate.traffic.player import Player
from app.simulate.traffic.population import Client
from app.state.server import StateServer
from benchmarks.prometheus import Prometheus
from detectors import model as models

STOP_SEC = 8.0
SETTLE_SEC = 3.0
"""From the last request to its trace in Prometheus: a batch of the worker, its count of keys, a scrape."""

_ROLES = {"gateway": "app.main:run_gateway", "worker": "app.main:run_worker", "admin": "app.main:run_admin"}


@dataclass(frozen=True, slots=True)
class Moments:
    """Unix seconds: honest traffic from `begin` to `attack`, attackers too until `end`."""

    begin: float
    attack: float
    end: float


@dataclass
class Service:
    """Running processes.

    Attributes:
        gateways: base addresses.
        admin: base address of the admin API.
        targets: job → "host:port" of its metrics.
        children: "gateway 0", "worker 0", "admin 0", … → process.
        state: the state server, which is ours to stop.
        ground: secrets and folder of the run.
    """

    gateways: list[str]
    admin: str
    targets: dict[str, list[str]]
    children: dict[str, Child]
    state: StateServer
    ground: Ground


@asynccontextmanager
async def service(
    folder: Path, clients: list[Client], *, counts: Mapping[str, int], model_dir: Path | None = None
) -> AsyncIterator[Service]:
    """State server, simulated model API, and so many processes of each kind.

    Args:
        folder: existing, empty.
        clients: who has an account.
        counts: "gateway", "worker", "admin" → number.
        model_dir: a saved model; None saves and takes the named rules, which need no history.
    """
    if model_dir is None:
        model_dir = folder / "model"
        models.save(models.rules_only(), model_dir)
    async with AsyncExitStack() as stack:
        (folder / "state").mkdir()
        state = StateServer(StateSettings(data_dir=folder / "state")).open()
        stack.callback(state.close)
        ground = Ground.new(folder, state.url)
        (folder / "data").mkdir()
        now = time.time()
        cast.write_lines(ground.accounts_file, [cast.account(client, client.credential, now) for client in clients])
        log = stack.enter_context((folder / "processes.log").open("ab"))
        children: dict[str, Child] = {}

        async def start(name: str, role: str, settings: Settings) -> Child:
            child = await Child.start(name, role, settings, output=log)
            stack.push_async_callback(child.stop, STOP_SEC)
            return child

        api = await start("model API", "app.demo.stage:run_model_api", ground.settings())
        settings = ground.settings(api.addresses["model API"], model_dir)
        targets: dict[str, list[str]] = {}
        for kind, role in _ROLES.items():
            for number in range(counts.get(kind, 0)):
                child = children[f"{kind} {number}"] = await start(f"{kind} {number}", role, settings)
                place = child.addresses["metrics"].removeprefix("http://").removesuffix("/metrics")
                targets.setdefault(f"stillwatch-{kind}", []).append(place)
        gateways = [child.addresses["gateway"] for name, child in children.items() if name.startswith("gateway")]
        admin = children["admin 0"].addresses["admin"] if "admin 0" in children else ""
        yield Service(gateways, admin, targets, children, state, ground)


@asynccontextmanager
async def playing(gateways: list[str], clients: list[Client]) -> AsyncIterator[None]:
    """Traffic of these clients, divided among the gateways, while the block runs."""
    players = [Player(url, clients[place :: len(gateways)]) for place, url in enumerate(gateways)]
    tasks = [asyncio.create_task(player.run()) for player in players]
    try:
        yield
    finally:
        for player in players:
            player.stop()
        await asyncio.gather(*tasks)


@contextmanager
def folder_of_run() -> Iterator[Path]:
    """A folder that is removed at the end; its path is short enough for the state server's socket."""
    with tempfile.TemporaryDirectory(prefix="stillwatch-watched-") as name:
        yield Path(name)


@contextmanager
def campaign(honest_sec: float, attack_sec: float, *, seed: int = 1) -> Iterator[tuple[Prometheus, Moments]]:
    """Plays a campaign and leaves a Prometheus that has seen it.

    Args:
        honest_sec: length of the part without attackers.
        attack_sec: length of the part with them.
        seed: of everybody's texts.

    Raises:
        CannotMeasure: Prometheus is not installed.
    """
    clients = cast.live(seed)
    honest = [client for client in clients if not client.kind.attack]
    attackers = [client for client in clients if client.kind.attack]
    with ExitStack() as stack:
        folder = stack.enter_context(folder_of_run())

        async def run() -> tuple[Prometheus, Moments]:
            async with service(folder, clients, counts={"gateway": 2, "worker": 1, "admin": 1}) as running:
                watched = folder / "prometheus"
                watched.mkdir()
                prometheus = await asyncio.to_thread(Prometheus, watched, running.targets)
                stack.enter_context(prometheus)
                await asyncio.to_thread(prometheus.until_up)
                begin = time.time()
                async with playing(running.gateways, honest):
                    await asyncio.sleep(honest_sec)
                    attack = time.time()
                    async with playing(running.gateways, attackers):
                        await asyncio.sleep(attack_sec)
                    end = time.time()
                    await asyncio.sleep(SETTLE_SEC)
                return prometheus, Moments(begin, attack, end)

        yield asyncio.run(run())
