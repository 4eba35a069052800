"""What is fixed for the life of a deployment, and whether the server can carry it. Checked at every start of a process."""

from __future__ import annotations

import logging
import re
from typing import Any

from redis.exceptions import ResponseError

from app.errors import ConfigError
from app.settings import Settings
from app.state.calls import Client, reachable
from app.state.factory import is_cluster
from app.state.keys import META

log = logging.getLogger(__name__)

SCHEMA = 1
"""Layout of everything in state; raised when a version cannot read what an older one wrote."""

MIN_VERSION = (6, 2)
"""Redis command set that this code uses; every Valkey has it."""


async def check(client: Client, settings: Settings) -> None:
    """Notes partitions and schema in an empty state; in one that was used before, compares them.

    Raises:
        ConfigError: the partition count or the schema differs, the server is too old, or it is a node of a Cluster that the
            settings do not name as one.
        StateUnavailable: the server is away.
    """
    await _check_server(client, settings)
    wanted = {"partitions": settings.state.partitions, "schema": SCHEMA}
    with reachable("state layout"):
        pipe = client.pipeline(transaction=False)  # each step stands for itself; whoever comes second finds the first's
        for field, number in wanted.items():
            pipe.hsetnx(META, field, number)
        pipe.hmget(META, list(wanted))
        *_, found = await pipe.execute()
    partitions, schema = (int(value) for value in found)
    if partitions != settings.state.partitions:
        raise ConfigError(
            f"state.partitions is {settings.state.partitions} but the state was made with {partitions}; "
            "it is fixed for life"
        )
    if schema != SCHEMA:
        raise ConfigError(f"state.redis_url: the state has layout {schema}, and this version reads layout {SCHEMA}")


async def _check_server(client: Client, settings: Settings) -> None:
    with reachable("state server"):
        try:
            info: dict[str, Any] = await client.info()
        except ResponseError:
            # Some managed servers allow no INFO; what does not fit then shows in the first command that fails.
            log.info("the state server does not tell its version")
            return
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers and numbers < MIN_VERSION:
        raise ConfigError(f"state.redis_url: the server speaks the commands of Redis {version[:9]}; 6.2 or later is needed")
    if info.get("cluster_enabled") and not is_cluster(settings.state.redis_url, settings.state):
        raise ConfigError(
            "state.redis_url: the server is a node of a Cluster; name several of its nodes, comma separated, "
            "or set state.cluster = true"
        )
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        log.warning(
            "the state server's maxmemory-policy is not noeviction: short of memory it forgets limits, verdicts and events"
        )
