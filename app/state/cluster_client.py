"""redis-py's client of a Cluster, for everything but decisions, made fit for a process that runs for months.

Its own ways of healing replace the nodes it was given by those it has learnt, so that a Cluster whose addresses have all
changed is never found again; they need the first master of the map, which may be the one that is lost; and while one call
rebuilds the map, others find none and fail with errors that are no errors of Redis. These are mended here; commands,
redirections and the retries of single commands are redis-py's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import redis.asyncio as aioredis
from redis._parsers import AsyncCommandsParser
from redis.asyncio.cluster import ClusterNode, ClusterPipeline
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.exceptions import ClusterDownError, ConnectionError, RedisClusterException, TimeoutError

from app.state.keys import PartitionKeys

RECREATE_SEC = 10.0
"""Errors that last so long mean that healing has failed: the client begins again with the nodes that it was given."""

PAUSE_SEC = 0.25
"""Longest pause before a pipeline is tried again."""

MAX_PIPELINES = 16
"""Pipelines at the same time. Their room is their own: one that is redirected gives single commands while it holds it."""

SPARE_CONNECTIONS = 8
"""To each node, above those for commands and pipelines: the map is asked for on connections of its own."""

_MANY_KEYS = {"MGET", "DEL", "EXISTS", "UNLINK"}

_TLS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}


class _Keys(AsyncCommandsParser):
    """Where the keys of our commands are. redis-py asks a node for that, which may be the one that is away."""

    async def initialize(self, node: ClusterNode | None = None) -> None:
        """Nothing has to be asked."""

    async def get_keys(self, *args: Any) -> tuple[Any, ...]:
        """The keys among a command's parts."""
        name = str(args[0]).upper()
        if name == "XREAD":
            streams = args[args.index(b"STREAMS") + 1 :]
            return streams[: len(streams) // 2]
        return args[1:] if name in _MANY_KEYS else args[1:2]


class ClusterClient(aioredis.RedisCluster):
    """As `redis.asyncio.Redis` for those who use it; see `app.state.calls.Client` for what works on both."""

    def __init__(self, nodes: Sequence[Mapping[str, Any]], timeout_sec: float, max_connections: int, retry: Retry) -> None:
        """Not connected yet.

        Args:
            nodes: as `app.state.factory.parse_addresses` gives them.
            timeout_sec: of each attempt of a command.
            max_connections: to each node; commands above that wait, where redis-py would refuse them.
            retry: attempts and pauses.
        """
        first = nodes[0]
        tls = {name: value for name, value in first.items() if name in _TLS}
        super().__init__(
            startup_nodes=[ClusterNode(node.get("host", "localhost"), node.get("port", 6379)) for node in nodes],
            username=first.get("username"),
            password=first.get("password"),
            max_connections=max_connections + MAX_PIPELINES + SPARE_CONNECTIONS,
            socket_timeout=timeout_sec,
            socket_connect_timeout=timeout_sec,
            retry=retry,
            protocol=2,
            ssl=first.get("connection_class") is SSLConnection,
            **tls,
        )
        self.commands_parser = _Keys()
        self._given = dict(self.nodes_manager.startup_nodes)
        self._failing_since: float | None = None
        self._room = asyncio.Semaphore(max_connections)
        self.pipelines = asyncio.Semaphore(MAX_PIPELINES)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """As redis-py's."""
        async with self._room, self.watched():
            return await super().execute_command(*args, **kwargs)

    async def by_node(self, partitions: Sequence[int]) -> list[list[int]]:
        """The partitions of each node, so that one that is away can be left out."""
        async with self.watched():
            await self.initialize()
            found: dict[str, list[int]] = {}
            for partition in partitions:
                node = self.get_node_from_key(PartitionKeys(partition).stream)
                found.setdefault(node.name if node is not None else "", []).append(partition)
        return list(found.values())

    async def ask_masters(self, *command: str) -> list[Any]:
        """What each master says to a command without keys, or the error that it said, or that kept it from saying it.

        A node is asked by itself: for one that is silent redis-py's own way closes the connections to all others, too.
        """
        async with self._room, self.watched():
            await self.initialize()
            masters = self.get_primaries()
            return await asyncio.gather(*(node.execute_command(*command) for node in masters), return_exceptions=True)

    async def attempts(self, work: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
        """Runs a pipeline; again where a connection broke.

        redis-py closes the connections to all nodes for that, under the feet of whoever uses them; the map is enough.
        """
        for left in range(self.retry.get_retries(), -1, -1):
            if self._initialize:
                await self.initialize()
            try:
                return await work()
            except (ConnectionError, TimeoutError, ClusterDownError) as error:
                self._initialize = True
                if not left or isinstance(error, TimeoutError):
                    raise
            await asyncio.sleep(random.uniform(0, PAUSE_SEC))
        raise AssertionError("unreachable")

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """Commands of any partitions, one round trip to each node; no transaction."""
        assert not transaction
        return _Pipeline(self)  # type: ignore[abstract]

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Counts how long calls have failed, and begins anew when that is too long."""
        try:
            yield
        except (AttributeError, KeyError):  # of a map that another call is just making
            self._failed()
            raise ConnectionError("the map of the Cluster is being made") from None
        except (ConnectionError, TimeoutError, ClusterDownError, RedisClusterException, OSError):
            if self._failed():
                await self._begin_anew()
            raise
        else:
            self._failing_since = None

    def _failed(self) -> bool:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        return now - self._failing_since > RECREATE_SEC

    async def _begin_anew(self) -> None:
        self._failing_since = None
        await self.aclose()
        self.nodes_manager.startup_nodes = {**self.nodes_manager.startup_nodes, **self._given}
        self._initialize = True


class _Pipeline(ClusterPipeline):
    """Watched as single commands are."""

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        """Runs what was gathered; replies in the order of the commands."""
        client = self.cluster_client
        assert isinstance(client, ClusterClient)
        strategy: Any = self._execution_strategy
        run = partial(
            strategy._execute, client, strategy._command_queue,
            raise_on_error=raise_on_error, allow_redirections=allow_redirections,
        )  # fmt: skip
        try:
            async with client.pipelines, client.watched():
                return await client.attempts(run)
        finally:
            await self.reset()  # type: ignore[no-untyped-call]
