"""A small HTTP client for simulated clients: the gateway's own upstream pool, pointed at the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import UpstreamUnavailable
from app.gateway.upstream import Connection, Upstream
from app.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Http:
    """Requests to one address over kept-alive connections.

    Args:
        url: base address.
        timeout_sec: longest silence of the server.
        connections: most at a time.
    """

    def __init__(self, url: str, timeout_sec: float = 30.0, connections: int = 64) -> None:
        self._pool = Upstream(
            GatewaySettings(upstream=url, upstream_read_timeout_sec=timeout_sec, upstream_max_connections=connections)
        )

    async def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send one request and read the whole answer.

        Raises:
            UpstreamUnavailable: the server cannot be reached, or broke off.
        """
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._pool.host_header.decode()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        connection = await self._pool.connect()
        answer = await self._exchange(connection, head, body)
        if answer is None and connection.reused and connection.fresh:
            # The server had closed an idle connection while the request was on its way.
            connection = await self._pool.connect(fresh=True)
            answer = await self._exchange(connection, head, body)
        if answer is None:
            raise UpstreamUnavailable(f"the answer broke off ({connection.failed})")
        return answer

    async def _exchange(self, connection: Connection, head: bytes, body: bytes) -> Response | None:
        parts: list[bytes] = []
        try:
            connection.send(head, body, no_body=False)
            while not connection.complete:
                if connection.failed:
                    return None
                await connection.wait()
                parts.append(connection.take())
            named = {name.decode("latin-1"): value.decode("latin-1") for name, value in connection.headers}
            return Response(connection.status, named, b"".join(parts))
        finally:
            if not connection.complete:
                connection.abandon()
            self._pool.release(connection)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()
