"""The control plane over a bad network, and on a Cluster that loses the master of its slot."""

from __future__ import annotations

import asyncio
import binascii
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.enforcement.control import Control
from app.errors import StateUnavailable
from app.settings import load
from app.simulate.fault_proxy import FaultProxy
from app.simulate.state_servers import LocalCluster, StateServerProcess
from app.state.control import ControlStore
from app.state.factory import background_client
from app.state.keys import CONTROL, PartitionKeys
from app.state.orders import Order, Orders

KEY = "0123456789abcdef" * 2
HEALED_SEC = 5.0
"""How long after a fault has ended everything follows again, at most."""


def _order() -> Order:
    now_us = time.time_ns() // 1000
    return Order(ref="sw-test", action="suspend", since_us=now_us, until_us=now_us + 3_600_000_000, by="ann")


@asynccontextmanager
async def _control(url: str, folder: Path) -> AsyncIterator[tuple[Control, Any]]:
    settings = load(None, {}, {"state.data_dir": folder, "state.redis_url": url, "state.background_timeout_ms": 500})
    client = background_client(url, settings)
    control = Control(settings, client)
    await control.start()
    try:
        yield control, client
    finally:
        await control.stop()
        await client.aclose()


@pytest.mark.parametrize("fault", ["swallowed", "held back", "refused", "late by 1 s"])
async def test_the_copy_outlives_the_network(
    server: StateServerProcess, proxy: FaultProxy, tmp_path: Path, until: Any, fault: str
) -> None:
    """The file switches within a second, order and switch stay as they were, and soon after healing changes come again."""
    direct = background_client(server.url, load(None, {}, {}))
    store = ControlStore(direct)
    async with _control(f"redis://127.0.0.1:{proxy.port}/0", tmp_path) as (control, _):
        await Orders(direct).place(KEY, {1}, _order(), {})
        await store.set_kill("actions", "x", "ann")
        await until(lambda: control.kill == "actions" and control.order(KEY) is not None)
        if fault == "swallowed":
            proxy.to_client.drop = True
        elif fault == "held back":
            proxy.to_client.frozen = True
        elif fault == "refused":
            proxy.refuse = True
            await proxy.reset()
        else:
            proxy.to_client.delay_sec = 1.0
        (tmp_path / "KILL").write_text("all")
        assert await until(lambda: control.kill == "all") < 1.0
        (tmp_path / "KILL").unlink()
        assert await until(lambda: control.kill == "actions") < 1.0
        await until(lambda: (control.age_sec or 0) > 1.5)
        await store.set_kill("", "x", "ann")
        assert control.order(KEY) is not None
        assert control.kill == "actions"
        await proxy.heal()
        assert await until(lambda: control.kill == "") < HEALED_SEC
    await direct.aclose()


async def test_a_cluster_that_loses_the_master_of_the_control_slot(
    hurt_cluster: LocalCluster, tmp_path: Path, until: Any
) -> None:
    """Orders stand in partitions of every master; with that one gone the copy holds, and its replica is followed then."""
    async with _control(hurt_cluster.url, tmp_path) as (control, client):
        store, orders = ControlStore(client), Orders(client)
        places = set(range(16))
        await orders.place(KEY, places, _order(), {})
        await until(lambda: control.order(KEY) is not None)
        await until(hurt_cluster.replicated)
        slot = binascii.crc_hqx(b"ctl", 0) % 16_384  # of the hash tag in CONTROL
        assert CONTROL.startswith("sw:{ctl}")
        hurt_cluster.master_of(slot).signal(signal.SIGKILL)
        (tmp_path / "KILL").write_text("")
        assert await until(lambda: control.kill == "actions") < 1.0
        assert control.order(KEY) is not None
        (tmp_path / "KILL").unlink()
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.set_kill("all", "x", "ann")
                    break
                except StateUnavailable:
                    await asyncio.sleep(0.1)
        assert await until(lambda: control.kill == "all") < HEALED_SEC
        assert await orders.end(KEY, places, {})
        await until(lambda: control.order(KEY) is None)
        for number in places:
            assert not await client.exists(PartitionKeys(number).verdict(KEY))
