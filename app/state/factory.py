"""The one place that builds clients of the state server.

redis-py's own defaults wait 59 s on a frozen server (5 s, eleven attempts) and fail at once when the pool is empty, so
every timeout, retry and pool size is set here. RESP2 is spoken: it is as fast, and every proxy knows it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis.asyncio as aioredis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff, NoBackoff

from app.errors import ConfigError
from app.settings import Settings

URL_OPTIONS = frozenset(
    ("db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
)
"""What the query of an address may set. Timeouts, retries and pool sizes are ours: an address must not undo them."""

MAX_CONNECTIONS = 64
"""Connections of one client; loops, batches and operators' requests of one process need fewer."""

DECISION_POOL_WAIT_SEC = 0.02
"""Longest wait of a decision for a free connection; longer would eat the time of the call itself."""

BACKGROUND_RETRIES = 3
"""Attempts after the first, with full jitter between 0 and at most RETRY_CAP_SEC, for calls nobody waits for."""

RETRY_CAP_SEC = 0.25


def background_client(url: str, settings: Settings) -> aioredis.Redis:
    """A client for everything but decisions: timeouts of `state.background_timeout_ms`, a few jittered retries.

    A retried call may run twice on the server, so what is sent must bear that (fenced, or the same when repeated).

    Raises:
        ConfigError: `url` is no address of a state server; the message names the setting and quotes nothing of the address.
    """
    seconds = settings.state.background_timeout_ms / 1000
    retry = Retry(FullJitterBackoff(cap=RETRY_CAP_SEC), BACKGROUND_RETRIES)
    return _client(url, timeout_sec=seconds, wait_sec=seconds, retry=retry)


def decision_client(url: str, settings: Settings) -> aioredis.Redis:
    """A client for the one call a request waits for: `state.decision_timeout_ms`, no retry.

    Raises:
        ConfigError: as `background_client`.
    """
    seconds = settings.state.decision_timeout_ms / 1000
    return _client(url, timeout_sec=seconds, wait_sec=DECISION_POOL_WAIT_SEC, retry=Retry(NoBackoff(), 0))


def _client(url: str, *, timeout_sec: float, wait_sec: float, retry: Retry) -> aioredis.Redis:
    options = parse_address(url)
    pool = aioredis.BlockingConnectionPool(
        max_connections=MAX_CONNECTIONS,
        timeout=wait_sec,
        socket_timeout=timeout_sec,
        socket_connect_timeout=timeout_sec,
        retry=retry,
        protocol=2,
        **options,
    )
    return aioredis.Redis.from_pool(pool)


def parse_address(url: str) -> dict[str, Any]:
    """Address → arguments of a connection pool.

    Raises:
        ConfigError: as `background_client`.
    """
    try:
        parts = urlsplit(url)
        options: dict[str, Any] = dict(parse_url(url))
        unknown = sorted({name for name, _ in parse_qsl(parts.query)} - URL_OPTIONS)
        usable = bool(parts.path if parts.scheme == "unix" else parts.hostname)
        number = parts.path.strip("/")
        plain = parts.scheme == "unix" or not number or number.isdecimal()
    except ValueError:
        usable = False
    if not usable or not plain:
        raise ConfigError(
            "state.redis_url must be redis://host:port/db, rediss://host:port/db or unix:///path/to/socket?db=0"
        )
    if unknown:
        # The name of an option is not secret, but what a slip of the pen made of a password might look like one.
        allowed = ", ".join(sorted(URL_OPTIONS))
        raise ConfigError(f"state.redis_url has an option that is not one of {allowed}")
    return options
