"""The one place that builds redis-py clients; the decision path has a connection of its own (`app.state.link`).

redis-py's own defaults wait 59 s on a frozen server (5 s, eleven attempts) and fail at once when the pool is empty, so
every timeout, retry and pool size is set here. RESP2 is spoken: it is as fast, and every proxy knows it.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

import redis.asyncio as aioredis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import ConnectionError

from app.errors import ConfigError
from app.settings import Settings, StateSettings
from app.state.cluster_client import ClusterClient

URL_OPTIONS = frozenset(
    ("db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
)
"""What the query of an address may set. Timeouts, retries and pool sizes are ours: an address must not undo them."""

MAX_CONNECTIONS = 64
"""Connections of one client; loops, batches and operators' requests of one process need fewer. Those above it wait."""

RETRIES = 3
"""Attempts after the first where a connection breaks, with a pause of 0 to at most RETRY_CAP_SEC (full jitter)."""

RETRY_CAP_SEC = 0.25

_RULE = "state.redis_url must be redis://host:port/db, rediss://host:port/db or unix:///path/to/socket?db=0"
_NODES_RULE = (
    "state.redis_url must name the nodes of a Cluster as redis://user:password@host:port,host:port,…, all with the same "
    "credentials, without a socket and without a database"
)


def background_client(url: str, settings: Settings) -> aioredis.Redis:
    """A client for everything but decisions: timeouts of `state.background_timeout_ms`, a few jittered retries.

    A retried call may run twice on the server, so what is sent must bear that (fenced, or the same when repeated).

    Raises:
        ConfigError: `url` is no address of a state server; the message names the setting and quotes nothing of the address.
    """
    seconds = settings.state.background_timeout_ms / 1000
    # A server that let the time pass once is not asked again: whoever waits has waited long enough.
    retry = Retry(FullJitterBackoff(cap=RETRY_CAP_SEC), RETRIES, supported_errors=(ConnectionError,))
    if is_cluster(url, settings.state):
        nodes = parse_addresses(url, cluster=True)
        return cast(aioredis.Redis, ClusterClient(nodes, seconds, MAX_CONNECTIONS, retry))
    pool = aioredis.BlockingConnectionPool(
        max_connections=MAX_CONNECTIONS,
        timeout=seconds,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=retry,
        protocol=2,
        **parse_address(url),
    )
    return aioredis.Redis.from_pool(pool)


def parse_addresses(url: str, *, cluster: bool = False) -> list[dict[str, Any]]:
    """Address of a server, or of several nodes of a Cluster → as `parse_address`, one for each.

    Nodes after the first may be named as host:port alone, and have the scheme, credentials and options of the first.

    Raises:
        ConfigError: as `background_client`.
    """
    first, *others = url.split(",")
    found = [parse_address(first)]
    for other in others:
        if "://" in other:
            found.append(parse_address(other))
            continue
        parts, _ = _parse(f"redis://{other}")
        if parts is None or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
            raise ConfigError(_NODES_RULE)
        found.append({**found[0], "host": parts.hostname, "port": parts.port or 6379})
    if (cluster or others) and any("path" in address or address.get("db") for address in found):
        raise ConfigError(_NODES_RULE)
    return found


def is_cluster(url: str, settings: StateSettings) -> bool:
    """Whether the address is a Cluster's.

    It is said by the settings, and not found out: a client of one server cannot become one of a Cluster later, and
    a process may start while no server is there to ask. `app.state.meta` refuses a server that is not what was said.
    """
    return settings.cluster or "," in url


def parse_address(url: str) -> dict[str, Any]:
    """Address → arguments of a connection pool.

    Raises:
        ConfigError: as `background_client`.
    """
    parts, options = _parse(url)
    place = parts.path if parts and parts.scheme == "unix" else parts and parts.hostname
    if not parts or not place:
        raise ConfigError(_RULE)
    database = "" if parts.scheme == "unix" else parts.path.strip("/")
    if database and not database.isdecimal():
        raise ConfigError(_RULE)
    if {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - URL_OPTIONS:
        # Which one is not said: after a slip of the pen it may be a piece of a password.
        raise ConfigError(f"state.redis_url may have these options only: {', '.join(sorted(URL_OPTIONS))}")
    return options


def _parse(url: str) -> tuple[SplitResult | None, dict[str, Any]]:
    try:
        return urlsplit(url), dict(parse_url(url))
    except ValueError:
        return None, {}
