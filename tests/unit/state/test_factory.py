"""Addresses of the state server, and what a client made from one is allowed to wait."""

from __future__ import annotations

import pytest

from app.errors import ConfigError
from app.settings import load
from app.state.factory import MAX_CONNECTIONS, RETRIES, background_client, parse_address

GOOD = {
    "redis://h": {"host": "h"},
    "redis://h:1234/7": {"host": "h", "port": 1234, "db": 7},
    "rediss://user:p%40ss@h:1/": {"host": "h", "port": 1, "username": "user", "password": "p@ss"},
    "redis://[::1]:6379?db=2": {"host": "::1", "port": 6379, "db": 2},
    "unix:///tmp/a%20b.sock?db=1": {"path": "/tmp/a b.sock", "db": 1},
}

BAD = (
    "",
    "hunter2",
    "http://:hunter2@host",
    "redis://",
    "redis://:hunter2@",
    "redis://:hunter2@host:port",
    "redis://:hunter2@host:99999",
    "redis://:hunter2@host/name",
    "redis://:hunter2@host?db=x",
    "redis://:hunter2@[::1",
    "redis://:hunter2@host?socket_timeout=600",
    "redis://host?hunter2=1",
    "redis://host?hunter2",
    "unix://?password=hunter2",
)


@pytest.mark.parametrize("url", GOOD)
def test_good_addresses(url: str) -> None:
    """Host, port, database and credentials are read as redis-py reads them."""
    options = parse_address(url)
    options.pop("connection_class", None)
    assert options == GOOD[url]


@pytest.mark.parametrize("url", BAD)
def test_bad_addresses_are_refused_without_quoting_them(url: str) -> None:
    """A bad address is a ConfigError that names the setting and shows nothing of it, since it may hold a password."""
    with pytest.raises(ConfigError, match=r"^state\.redis_url (must be|may have)") as caught:
        background_client(url, load(environ={}))
    assert "hunter2" not in str(caught.value)


async def test_waits_are_bounded() -> None:
    """Timeouts come from the settings, retries and connections are few, and a full pool makes callers wait, not fail."""
    settings = load(environ={"STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS": "700"})
    client = background_client("redis://h", settings)
    pool = client.connection_pool
    assert pool.connection_kwargs["socket_timeout"] == pool.connection_kwargs["socket_connect_timeout"] == 0.7
    assert pool.connection_kwargs["retry"].get_retries() == RETRIES
    assert pool.max_connections == MAX_CONNECTIONS
    assert pool.timeout == 0.7
    await client.aclose()
