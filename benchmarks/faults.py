"""What becomes of requests, limits and events when state is hurt: a table in Markdown.

    python -m benchmarks faults [--only frozen killed …] [--seconds 6] [--rate 60]

Real gateway processes, a real state server or Cluster, a TCP proxy between them (`app.simulate.fault_proxy`). The exit
status is 1 when a promise was broken: an error of ours, a blocked key that passed, an event neither there nor counted.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.simulate.fault_proxy import Flow
from app.simulate.state_servers import ServerGone, until
from app.state.cluster import slot_of
from benchmarks.fault_lab import Lab, Result, Scenario
from benchmarks.machine import describe

MAX_OVERSHOOT = 1.2
MAX_RECOVERY_SEC = 5.0


async def _freeze(lab: Lab) -> None:
    lab.state.signal(signal.SIGSTOP)


async def _thaw(lab: Lab) -> None:
    lab.state.signal(signal.SIGCONT)


async def _kill(lab: Lab) -> None:
    lab.state.signal(signal.SIGKILL)


async def _restart(lab: Lab) -> None:
    await asyncio.to_thread(lab.state.start)


async def _slow(lab: Lab) -> None:
    lab.network.to_client = Flow(delay_sec=1.0)


async def _drop(lab: Lab) -> None:
    lab.network.to_server, lab.network.to_client = Flow(drop=True), Flow(drop=True)


async def _half_open(lab: Lab) -> None:
    lab.network.refuse = True
    lab.network.half_open()


async def _reset(lab: Lab) -> None:
    await lab.network.reset()


async def _slice(lab: Lab) -> None:
    lab.network.to_server, lab.network.to_client = Flow(slice_bytes=7), Flow(slice_bytes=1)


async def _corrupt(lab: Lab) -> None:
    lab.network.to_client = Flow(corrupt=0.2)


async def _heal(lab: Lab) -> None:
    await lab.network.heal()


async def _nothing(lab: Lab) -> None:
    """The fault is one that is made again and again, or heals by itself."""


async def _read_only(lab: Lab) -> None:
    lab.state.ask("REPLICAOF", "127.0.0.1", 1)


async def _writable(lab: Lab) -> None:
    lab.state.ask("REPLICAOF", "NO", "ONE")


async def _too_few_replicas(lab: Lab) -> None:
    lab.state.ask("CONFIG", "SET", "min-replicas-to-write", 1)


async def _any_replicas(lab: Lab) -> None:
    lab.state.ask("CONFIG", "SET", "min-replicas-to-write", 0)


async def _fill(lab: Lab) -> None:
    lab.state.ask("CONFIG", "SET", "maxmemory", 1)


async def _make_room(lab: Lab) -> None:
    lab.state.ask("CONFIG", "SET", "maxmemory", 0)


def _node(lab: Lab) -> int:
    """Place of the master that is lost; it has a third of the partitions."""
    assert lab.cluster is not None
    return lab.cluster.masters.index(lab.cluster.master_of(slot_of(0)))


async def _lose_master(lab: Lab) -> None:
    assert lab.cluster is not None
    lab.cluster.masters[_node(lab)].signal(signal.SIGKILL)


async def _replica_takes_over(lab: Lab) -> None:
    assert lab.cluster is not None
    replica = lab.cluster.replicas[_node(lab)]
    await asyncio.to_thread(
        until, lambda: "role:master" in replica.ask("INFO", "replication"), 15.0, "a replica takes over"
    )


async def _master_comes_back(lab: Lab) -> None:
    assert lab.cluster is not None
    await asyncio.to_thread(lab.cluster.masters[_node(lab)].start)


SCENARIOS = (
    Scenario("frozen", "state frozen (SIGSTOP)", _freeze, _thaw),
    Scenario("killed", "state killed (SIGKILL), started again", _kill, _restart),
    Scenario("slow", "every answer 1 s late", _slow, _heal),
    Scenario("dropped", "network swallows both directions", _drop, _heal),
    Scenario("half-open", "peer gone without a word, connections refused", _half_open, _heal),
    Scenario("reset", "connections reset ten times a second", _reset, _heal, during=_reset),
    Scenario("sliced", "answers in pieces of one byte", _slice, _heal),
    Scenario("corrupt", "one bit wrong in every fifth answer", _corrupt, _heal),
    Scenario("read-only", "state is a replica that lost its master", _read_only, _writable),
    Scenario("no-replicas", "fewer replicas than min-replicas-to-write", _too_few_replicas, _any_replicas),
    Scenario("full", "memory full, noeviction", _fill, _make_room),
    Scenario("failover", "Cluster loses a master, its replica takes over", _lose_master, _replica_takes_over, "replicated"),
    Scenario("node-back", "Cluster loses a master, which comes back", _lose_master, _master_comes_back, "cluster"),
)
NAMES = tuple(scenario.name for scenario in SCENARIOS)


async def measure(scenario: Scenario, *, rate: float, before_sec: float, during_sec: float) -> Result:
    """One scenario on processes of its own."""
    with tempfile.TemporaryDirectory(prefix="stillwatch-faults-") as folder:
        lab = Lab(Path(folder), scenario.kind)
        try:
            async with lab:
                await lab.begin(rate)
                await asyncio.sleep(before_sec)
                result = await lab.suffer(scenario, during_sec)
                await lab.end(result)
        finally:
            lab.close()
    return result


def broken(result: Result) -> list[str]:
    """The promises that a result breaks."""
    found = []
    if result.ours:
        found.append(f"{result.ours} errors of ours")
    if result.leaked:
        found.append(f"{result.leaked} requests passed that must not")
    if result.overshoot > MAX_OVERSHOOT:
        found.append(f"{result.overshoot:.2f} of what the limit lets pass did")
    if result.recovery_sec > MAX_RECOVERY_SEC:
        found.append(f"recovery took {result.recovery_sec:.1f} s")
    if not result.accounted:
        found.append(
            f"of {result.events} events {result.logged} are there, {result.double} twice, {result.dropped} counted"
        )
    return found


HEAD = (
    "| Fault | Requests | Decided without state | Errors of ours | Decisions above 60 ms | Blocked that passed "
    "| Limit | Recovery | Events sent = logged + dropped |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
)


def line(text: str, result: Result) -> str:
    """A row of the table."""
    doubled = f", {result.double} twice" if result.double else ""
    return (
        f"| {text} | {result.asked:,} | {result.degraded:,} | {result.ours} | {result.slow} of {result.decisions:,} "
        f"| {result.leaked} | {result.overshoot:.2f} × | {result.recovery_sec:.1f} s "
        f"| {result.events:,} = {result.logged:,} + {result.dropped:,}{doubled} |"
    )


def main(arguments: Sequence[str]) -> int:
    """Measures and prints."""
    from benchmarks import cancel

    parser = argparse.ArgumentParser(prog="python -m benchmarks faults", description="What faults of state do.")
    parser.add_argument("--only", nargs="+", choices=(*NAMES, "cancel"), default=(*NAMES, "cancel"), help="faults")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each lasts (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=60.0, help="requests per second of each gateway (default: %(default)s)"
    )
    parser.add_argument("--calls", type=int, default=100_000, help="of the cancellations (default: %(default)s)")
    args = parser.parse_args(arguments)
    print(f"{describe()}\n\n{HEAD}", flush=True)
    faults = []
    for scenario in SCENARIOS:
        if scenario.name not in args.only:
            continue
        try:
            measuring = measure(scenario, rate=args.rate, before_sec=2.0, during_sec=args.seconds)
            result = asyncio.run(measuring)
        except ServerGone as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
        print(line(scenario.text, result), flush=True)
        faults += [f"{scenario.name}: {fault}" for fault in broken(result)]
    if "cancel" in args.only:
        text, found = asyncio.run(cancel.measure(args.calls))
        print(f"\n{text}")
        faults += found
    for fault in faults:
        print(f"broken: {fault}", file=sys.stderr)
    return 1 if faults else 0
