"""What a request's head must look like, and what of it is passed on.

One pass over the headers does it all: bounds, the one valid Host, the fields the gateway itself reads, and the header
block for the upstream without hop-by-hop fields and without anything a client could use to pose as infrastructure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from app.enforcement.wire_errors import BAD_REQUEST, ENCODING, HEADERS_TOO_LARGE, Refuse
from app.errors import ConfigError
from app.settings import GatewaySettings, IdentitySettings

_DROPPED = frozenset(
    # Hop by hop (RFC 9110 7.6.1), and what we set ourselves for the upstream.
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade "
    b"http2-settings expect host content-length accept-encoding".split()
)
_INTERNAL = (b"x-stillwatch-", b"x-gw-", b"x-internal-", b"x-original-", b"x-forwarded-")
_INTERNAL_EXACT = frozenset((b"forwarded", b"x-real-ip"))
_READ = {
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"accept": "accept",
    b"user-agent": "user_agent",
    b"content-type": "content_type",
}
_PASSED = frozenset(
    # What many clients send and no rule is about: the loop below goes on to the next header at once.
    b"accept-language cache-control pragma cookie origin referer idempotency-key openai-organization openai-project "
    b"openai-beta anthropic-version anthropic-beta x-stainless-lang x-stainless-package-version x-stainless-os "
    b"x-stainless-arch x-stainless-runtime x-stainless-runtime-version x-stainless-async x-stainless-retry-count "
    b"x-stainless-read-timeout x-stainless-timeout x-stainless-helper-method x-stainless-poll-helper".split()
)
_HOST = re.compile(rb"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$")
_HOSTS_REMEMBERED = 256


class Head:
    """What the gateway needs of a request's headers.

    Attributes:
        wire: header lines for the upstream, in the client's order, each ending in CRLF.
        ip: the client's address, from a trusted proxy's X-Forwarded-For where there is one.
        trusted_key: value of the configured key header, only when a trusted proxy sent it.
        content_length: as declared; -1 when the client did not say.
    """

    __slots__ = (
        "accept",
        "api_key",
        "authorization",
        "content_length",
        "content_type",
        "ip",
        "trusted_key",
        "user_agent",
        "wire",
    )

    def __init__(self) -> None:
        self.wire: list[bytes] = []
        self.ip = ""
        self.authorization = b""
        self.api_key = b""
        self.trusted_key = b""
        self.accept = b""
        self.user_agent = b""
        self.content_type = b""
        self.content_length = -1

    def drop(self, name: bytes) -> None:
        """Take a header out of what is forwarded, and out of the fields above if it is a credential."""
        self.wire = [line for line in self.wire if line.partition(b":")[0] != name]
        if name == b"authorization":
            self.authorization = b""
        elif name == b"x-api-key":
            self.api_key = b""


class Guard:
    """The rules, compiled once. Immutable but for a bounded memory of Host values already checked."""

    def __init__(self, gateway: GatewaySettings, identity: IdentitySettings) -> None:
        self._max_count = gateway.max_header_count
        self._max_bytes = gateway.max_header_bytes
        self._max_body = gateway.max_body_bytes
        self._any_host = "*" in gateway.allowed_hosts
        self._hosts = frozenset(host.lower().encode() for host in gateway.allowed_hosts)
        self._hosts_seen: set[bytes] = set()
        self._trusted_header = identity.trusted_key_header.lower().encode()
        self._passed = _PASSED - {self._trusted_header}
        try:
            self._proxies = tuple(ipaddress.ip_network(text) for text in identity.trusted_proxies)
        except ValueError:
            raise ConfigError("identity.trusted_proxies must be networks in CIDR form, like 10.0.0.0/8") from None
        if self._trusted_header and not self._proxies:
            raise ConfigError("identity.trusted_key_header needs identity.trusted_proxies, or any client could name a key")
        self._peers: dict[str, bool] = {}

    def read(self, scope: dict[str, Any]) -> Head:
        """Check and split the headers of an ASGI scope.

        Raises:
            Refuse: too many or too large headers, a Host that is missing, doubled, malformed or not served, a
                body that is compressed or declared too large, or a protocol upgrade.
        """
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if len(headers) > self._max_count:
            raise Refuse(HEADERS_TOO_LARGE, "The request has too many headers.", "header_count")
        client = scope.get("client")
        peer = client[0] if client else ""
        trusted = bool(self._proxies) and self._is_proxy(peer)
        head = Head()
        head.ip = peer
        wire = head.wire
        passed = self._passed
        host: bytes | None = None
        named: set[bytes] | None = None
        # The target is part of the head, too: no URL of an API needs more than its headers may.
        size = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
        for name, value in headers:
            size += len(name) + len(value) + 4
            if name in passed:
                wire.append(b"%b: %b\r\n" % (name, value))
                continue
            if name in _DROPPED:
                if name == b"host":
                    if host is not None:
                        raise Refuse(BAD_REQUEST, "The request must have exactly one Host header.", "host")
                    host = value
                elif name == b"content-length":
                    head.content_length = int(value) if value.isdigit() and len(value) < 19 else -1
                elif name == b"connection":
                    tokens = {token.strip().lower() for token in value.split(b",")}
                    named = tokens if named is None else named | tokens
                elif name == b"upgrade":
                    raise Refuse(BAD_REQUEST, "Protocol upgrades are not supported.", "upgrade")
                continue
            if name in _READ:
                if (name == b"authorization" and head.authorization) or (name == b"x-api-key" and head.api_key):
                    raise Refuse(BAD_REQUEST, "The request must carry one credential.", "credential_count")
                setattr(head, _READ[name], value)
            elif name[:2] == b"x-" or name == b"forwarded":
                if name == self._trusted_header:
                    if trusted:
                        head.trusted_key = value
                    continue
                if name.startswith(_INTERNAL) or name in _INTERNAL_EXACT:
                    if trusted and name == b"x-forwarded-for":
                        head.ip = self._forwarded(value, peer)
                    continue
            elif name == b"content-encoding":
                if value.strip().lower() not in (b"identity", b""):
                    raise Refuse(ENCODING, "Compressed request bodies are not accepted; send it plain.", "encoding")
                continue
            elif name == self._trusted_header:
                if trusted:
                    head.trusted_key = value
                continue
            wire.append(b"%b: %b\r\n" % (name, value))
        if size > self._max_bytes:
            raise Refuse(HEADERS_TOO_LARGE, "The request headers are too large.", "header_bytes")
        if host is None or host not in self._hosts_seen:
            self._check_host(host)
        if named is not None and named != {b"keep-alive"} and named != {b"close"}:
            head.wire = [line for line in wire if line.partition(b":")[0] not in named]
        return head

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            raise Refuse(BAD_REQUEST, "The request must have exactly one Host header.", "host")
        if not _HOST.match(host):
            raise Refuse(BAD_REQUEST, "The Host header is malformed.", "host")
        if not self._any_host:
            lower = host.lower()
            bare = re.sub(rb":\d+$", b"", lower)
            if lower not in self._hosts and bare not in self._hosts:
                raise Refuse(BAD_REQUEST, "This Host is not served here.", "host")
        if len(self._hosts_seen) >= _HOSTS_REMEMBERED:
            self._hosts_seen.clear()
        self._hosts_seen.add(host)

    def _is_proxy(self, address: str) -> bool:
        known = self._peers.get(address)
        if known is None:
            try:
                parsed = ipaddress.ip_address(address)
            except ValueError:
                return False
            known = any(parsed.version == network.version and parsed in network for network in self._proxies)
            if len(self._peers) >= _HOSTS_REMEMBERED:
                self._peers.clear()
            self._peers[address] = known
        return known

    def _forwarded(self, value: bytes, peer: str) -> str:
        """The last address in the chain that no trusted proxy has; what stands before it, a client may have made up."""
        for part in reversed(value.decode("latin-1").split(",")):
            address = part.strip()
            try:
                ipaddress.ip_address(address)
            except ValueError:
                break
            if not self._is_proxy(address):
                return address
            peer = address
        return peer
