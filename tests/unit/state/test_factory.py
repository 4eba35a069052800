"""Addresses of the state server, and what a client made from one is allowed to wait."""

from __future__ import annotations

import pytest

from app.errors import ConfigError
from app.settings import StateSettings, load
from app.state.factory import MAX_CONNECTIONS, RETRIES, background_client, is_cluster, parse_address, parse_addresses

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


def test_nodes_of_a_cluster_share_what_the_first_one_says() -> None:
    """Later nodes have its scheme, credentials and options; a whole address has its own; one address may be a Cluster's."""
    found = parse_addresses("rediss://u:p%40w@a:1?ssl_cert_reqs=none,b:2,rediss://u:p%40w@c:3?ssl_cert_reqs=none")
    assert [(node["host"], node["port"], node["username"], node["password"]) for node in found] == [
        ("a", 1, "u", "p@w"),
        ("b", 2, "u", "p@w"),
        ("c", 3, "u", "p@w"),
    ]
    assert {node["ssl_cert_reqs"] for node in found} == {"none"}
    assert len(parse_addresses("redis://only:7", cluster=True)) == 1


@pytest.mark.parametrize("url", ["redis://a:1/3", "unix:///run/hunter2"])
def test_one_address_of_a_cluster_has_no_database_and_no_socket(url: str) -> None:
    """Both would be an address of something else."""
    with pytest.raises(ConfigError, match=r"^state\.redis_url must name the nodes of a Cluster") as caught:
        parse_addresses(url, cluster=True)
    assert "hunter2" not in str(caught.value)


def test_what_is_a_cluster_is_said() -> None:
    """Several nodes are one, a single one where the settings say so; without an address nothing can be one."""
    assert is_cluster("redis://a,b", StateSettings())
    assert not is_cluster("redis://a", StateSettings())
    assert is_cluster("redis://a", StateSettings(redis_url="redis://a", cluster=True))
    with pytest.raises(ConfigError, match=r"state\.cluster needs state\.redis_url"):
        load(environ={"STILLWATCH_STATE__CLUSTER": "true"})
