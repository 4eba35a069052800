"""The processes of the demonstration under a real Prometheus: honest customers first, then attackers beside them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.demo import cast
from app.demo.stage import Ground
from app.processes import Child
from app.settings import Settings, StateSettings
from app.simulate.traffic.http import Http
from app.simulate.traffic.player import Player, Tally
from app.simulate.traffic.population import Client
from app.state.server import StateServer
from benchmarks.prometheus import Prometheus
from detectors import model as models

STOP_SEC = 8.0
SETTLE_SEC = 3.0
"""From the last request to its trace in Prometheus: a batch of the worker, its count of keys, a scrape."""

_CROWD_CONNECTIONS = 8

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
        admin: base address of the admin API; "" without one.
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

    async def stop(self, kind: str) -> None:
        """End every process of a kind."""
        names = [name for name in self.children if name.startswith(kind)]
        await asyncio.gather(*(self.children.pop(name).stop(STOP_SEC) for name in names))


@asynccontextmanager
async def service(folder: Path, clients: list[Client], counts: Mapping[str, int]) -> AsyncIterator[Service]:
    """State server, simulated model API, and so many processes of each kind, with the named rules as model.

    Keys without an account are served, too, so that a crowd can come.

    Args:
        folder: existing, empty.
        clients: who has an account.
        counts: "gateway", "worker", "admin" → number.
    """
    model_dir = folder / "model"
    models.save(models.rules_only(), model_dir)
    for name in ("state", "data"):
        (folder / name).mkdir()
    async with AsyncExitStack() as stack:
        state = StateServer(StateSettings(data_dir=folder / "state")).open()
        stack.callback(state.close)
        ground = Ground.new(folder, state.url)
        now = time.time()
        cast.write_lines(ground.accounts_file, [cast.account(client, client.credential, now) for client in clients])
        log = stack.enter_context((folder / "processes.log").open("ab"))

        async def start(name: str, role: str, settings: Settings) -> tuple[str, Child]:
            child = await Child.start(name, role, settings, output=log)
            stack.push_async_callback(child.stop, STOP_SEC)
            return name, child

        _, api = await start("model API", "app.demo.stage:run_model_api", ground.settings())
        settings = ground.settings(api.addresses["model API"], model_dir)
        settings = settings.model_copy(update={"identity": settings.identity.model_copy(update={"unknown_keys": "allow"})})
        wanted = [(f"{kind} {number}", role) for kind, role in _ROLES.items() for number in range(counts.get(kind, 0))]
        children = dict(await asyncio.gather(*(start(name, role, settings) for name, role in wanted)))
        targets: dict[str, list[str]] = {}
        for name, child in children.items():
            place = child.addresses["metrics"].removeprefix("http://").removesuffix("/metrics")
            targets.setdefault(f"stillwatch-{name.partition(' ')[0]}", []).append(place)
        gateways = [child.addresses["gateway"] for name, child in children.items() if name.startswith("gateway")]
        admin = children["admin 0"].addresses["admin"] if "admin 0" in children else ""
        yield Service(gateways, admin, targets, children, state, ground)


@asynccontextmanager
async def playing(gateways: list[str], clients: list[Client]) -> AsyncIterator[list[Tally]]:
    """Traffic of these clients, divided among the gateways, while the block runs; what it saw is complete afterwards."""
    players = [Player(url, clients[place :: len(gateways)]) for place, url in enumerate(gateways)]
    tasks = [asyncio.create_task(player.run()) for player in players]
    try:
        yield [tally for player in players for tally in player.tallies.values()]
    finally:
        for player in players:
            player.stop()
        await asyncio.gather(*tasks)


async def crowd(gateways: list[str], keys: int) -> int:
    """One request of each of so many keys; returns how many were answered with 200."""
    body = orjson.dumps(
        {"model": "still-mini-1", "max_tokens": 8, "messages": [{"role": "user", "content": "Why distil?"}]}
    )
    numbers = iter(range(keys))
    answered = 0

    async def client(http: Http) -> None:
        nonlocal answered
        for number in numbers:
            headers = {"authorization": f"Bearer sk-crowd-{number:032x}", "content-type": "application/json"}
            answer = await http.request("POST", "/v1/chat/completions", headers, body)
            answered += answer.status == 200

    places = [Http(url, connections=_CROWD_CONNECTIONS) for url in gateways]
    try:
        await asyncio.gather(*(client(http) for http in places for _ in range(_CROWD_CONNECTIONS)))
    finally:
        await asyncio.gather(*(http.close() for http in places))
    return answered


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
            async with service(folder, clients, {"gateway": 2, "worker": 1, "admin": 1}) as running:
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
