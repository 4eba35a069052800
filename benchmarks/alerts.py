"""Faults under the alert rules as they are shipped, in real time: how long until the alert fires.

    python -m benchmarks alerts

Scrapes and evaluations are as far apart as in `deploy/prometheus/prometheus.yml`. Each fault must raise its alerts within
two minutes, and they must end after it is healed. The whole takes about eight minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.demo import cast
from app.errors import StillwatchError
from app.simulate.traffic.http import Http
from benchmarks.machine import CannotMeasure, describe
from benchmarks.prometheus import Prometheus, configured_interval_sec, wait_for_alert, wait_for_quiet
from benchmarks.watched import Service, folder_of_run, playing, service

LIMIT_SEC = 120.0
WRONG_TOKENS = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, and what must be said about it.

    Attributes:
        name: for people.
        alerts: what must fire.
        begin: brings it about.
        end: heals it; None for a fault that stays.
    """

    name: str
    alerts: tuple[str, ...]
    begin: Callable[[Service], Awaitable[None]]
    end: Callable[[Service], Awaitable[None]] | None = None


async def freeze(running: Service) -> None:
    """The state server keeps its connections and says nothing."""
    assert running.state.pid is not None
    os.kill(running.state.pid, signal.SIGSTOP)


async def thaw(running: Service) -> None:
    """The state server goes on."""
    assert running.state.pid is not None
    os.kill(running.state.pid, signal.SIGCONT)


async def kill(running: Service) -> None:
    """The state server is gone."""
    assert running.state.pid is not None
    os.kill(running.state.pid, signal.SIGKILL)


async def restart(running: Service) -> None:
    """The state server comes back with what it had written."""
    await asyncio.to_thread(running.state.close)
    await asyncio.to_thread(running.state.open)


async def switch_on(running: Service) -> None:
    """The kill switch, by its file."""
    (running.ground.folder / "data/KILL").write_text("actions\n")


async def switch_off(running: Service) -> None:
    """The file is taken away."""
    (running.ground.folder / "data/KILL").unlink()


async def try_tokens(running: Service) -> None:
    """Somebody tries tokens at the admin API."""
    http = Http(running.admin)
    for number in range(WRONG_TOKENS):
        await http.request("GET", "/v1/keys", {"authorization": f"Bearer {'guess'}{number:027d}"}, b"")
    await http.close()


async def stop_workers(running: Service) -> None:
    """No worker is left."""
    await running.stop("worker")


async def stop_gateways(running: Service) -> None:
    """No gateway is left."""
    await running.stop("gateway")


STATE_FROZEN = Fault("state server frozen", ("StillwatchFallbackActive", "StillwatchStateDown"), freeze, thaw)
WORKERS_STOPPED = Fault("every worker stopped", ("StillwatchNoWorker",), stop_workers)

FAULTS = (
    STATE_FROZEN,
    Fault("state server killed", ("StillwatchFallbackActive", "StillwatchStateDown"), kill, restart),
    Fault("kill switch on, by file", ("StillwatchKillSwitch",), switch_on, switch_off),
    Fault("tokens tried at the admin API", ("StillwatchAuthFailures",), try_tokens),
    WORKERS_STOPPED,
    Fault("every gateway stopped", ("StillwatchNoGateway",), stop_gateways),
)


async def raise_alerts(running: Service, prometheus: Prometheus, fault: Fault, limit_sec: float) -> dict[str, float | None]:
    """Bring a fault about and heal it once its alerts fire: alert → seconds until then, None if it did not in time."""
    await fault.begin(running)
    try:
        waits = [asyncio.to_thread(wait_for_alert, prometheus, alert, limit_sec) for alert in fault.alerts]
        return dict(zip(fault.alerts, await asyncio.gather(*waits), strict=True))
    finally:
        if fault.end is not None:
            await fault.end(running)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs and prints; status 1 when an alert came too late or did not end."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks alerts", description="Faults and their alerts in real time."
    )
    parser.parse_args(arguments)
    print(describe())
    try:
        return asyncio.run(_run())
    except (CannotMeasure, StillwatchError) as error:
        print(f"benchmarks.alerts: {error}", file=sys.stderr)
        return 1


async def _run() -> int:
    clients = [client for client in cast.live(1) if not client.kind.attack]
    late = 0
    with folder_of_run() as folder:
        async with service(folder, clients, {"gateway": 2, "worker": 1, "admin": 1}) as running:
            (folder / "prometheus").mkdir()
            every = configured_interval_sec()
            with Prometheus(folder / "prometheus", running.targets, interval_sec=every) as prometheus:
                await asyncio.to_thread(prometheus.until_up, 60.0)
                async with playing(running.gateways, clients):
                    await asyncio.sleep(2 * every)
                    for fault in FAULTS:
                        for alert, seconds in (await raise_alerts(running, prometheus, fault, LIMIT_SEC)).items():
                            said = "not within two minutes" if seconds is None else f"{seconds:.0f} s"
                            print(f"{fault.name:<32} {alert:<28} {said}", flush=True)
                            late += seconds is None
                        if fault.end is not None and not await asyncio.to_thread(
                            wait_for_quiet, prometheus, fault.alerts, LIMIT_SEC
                        ):
                            print(f"{fault.name:<32} an alert did not end after the fault", flush=True)
                            late += 1
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
