"""Values that nobody may list as hostile, whoever reports them: the operator's own list, and a few that hold everywhere.

What is built in is small on purpose: networks that are nobody's in particular, networks so wide that every provider's
customers sit in them, the clouds from which most customers call, and the libraries that most customers use. An operator's
own staff, evaluation labs, shared NATs and partners belong into the file. Networks for documentation (RFC 5737, RFC
3849) are not built in: nobody calls from them, and examples use them.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

from msgspec import structs

from app.errors import ConfigError
from detectors.sharing.indicator import PLAIN, Indicator

MAX_BYTES = 4 * 1024 * 1024
MAX_LINES = 50_000

WIDEST_BITS = {4: 16, 6: 32}
"""A wider network is what a whole access provider has: it tells nobody apart."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SPECIAL = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "2001::/32", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
)
"""Private, shared, local, multicast and transition networks. Source: IANA special-purpose address registries (RFC 6890)."""

CLOUDS = ("AS8075", "AS13335", "AS14618", "AS15169", "AS16509", "AS396982")
"""Microsoft, Cloudflare, Amazon (two) and Google (two): servers of honest customers are there."""

_COMMON = """
openai openai-python openai-node openai-go openai-java anthropic anthropic-python anthropic-js anthropic-sdk-python
asyncopenai azureopenai asyncanthropic claude-cli litellm langchain langchainjs llamaindex ai ai-sdk vercel-ai
python python-requests python-httpx python-urllib aiohttp httpx requests urllib3 curl wget axios node node-fetch undici
bun deno okhttp java java-http-client apache-httpclient go go-http-client rust reqwest ruby faraday guzzlehttp mozilla
browser postmanruntime postman insomnia
"""
COMMON_CLIENTS = frozenset(_COMMON.split())
"""Names of clients that most software has, without what follows a slash or a space; as `app.gateway.client` knows them."""

_SYSTEM = re.compile(r"AS([1-9][0-9]{0,9})", re.IGNORECASE)
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+-]{1,79}")
_MISSPELT = re.compile(r"[0-9./]+|[0-9a-f.:]+/[0-9]+|AS[0-9]+", re.IGNORECASE)
"""What was meant to be a network or a number, and would be on the list as a client that nobody has."""

_RULE = "must be a network such as 192.0.2.0/24, an AS number such as AS64500, or the name of a client"


class WarningList:
    """What is on the list.

    Args:
        networks: of the operator, beside SPECIAL.
        systems: likewise, beside CLOUDS: AS and a number.
        clients: likewise, beside COMMON_CLIENTS.
    """

    def __init__(self, networks: Iterable[_Network] = (), systems: Iterable[str] = (), clients: Iterable[str] = ()) -> None:
        every = (*map(ipaddress.ip_network, SPECIAL), *networks)
        # By version and length: a look for each length that occurs, however long the list is.
        self._fronts: dict[tuple[int, int], set[int]] = {}
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        for network in every:
            self._fronts.setdefault((network.version, network.prefixlen), set()).add(_front(network, network.prefixlen))
            self._starts[network.version].append(int(network.network_address))
        for starts in self._starts.values():
            starts.sort()
        self._systems = {*CLOUDS, *(one.upper() for one in systems)}
        self._clients = frozenset(one.casefold() for one in clients)

    @classmethod
    def load(cls, path: Path | None) -> WarningList:
        """The list of a file, with what is built in; without a file that alone.

        A line holds one value; "#" begins a comment, and empty lines say nothing.

        Raises:
            ConfigError: it cannot be read, is too large, or a line breaks its rule; the message has the line's number.
        """
        if path is None:
            return cls()
        name = "intel.warning_list_file"
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            text = data.decode("ascii")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "must be plain text (ASCII)"
            raise ConfigError(f"{name}: {path}: {why}") from None
        lines = text.splitlines()
        if len(data) > MAX_BYTES or len(lines) > MAX_LINES:
            raise ConfigError(f"{name}: {path}: must have at most {MAX_LINES:,} lines and {MAX_BYTES >> 20} MiB")
        networks: list[_Network] = []
        systems: list[str] = []
        clients: list[str] = []
        for number, line in enumerate(lines, 1):
            value = line.partition("#")[0].strip()
            if not value:
                continue
            if found := _SYSTEM.fullmatch(value):
                systems.append(f"AS{found[1]}")
            elif network := _network_of(value):
                networks.append(network)
            elif _CLIENT.fullmatch(value) and not _MISSPELT.fullmatch(value):
                clients.append(value)
            else:
                raise ConfigError(f"{name}: {path}, line {number}: {_RULE}")
        return cls(networks, systems, clients)

    def covers(self, indicator: Indicator) -> bool:
        """Whether a plain indicator names any value that is on the list; behaviour and identities never are."""
        return bool(self.listed(indicator))

    def listed(self, indicator: Indicator) -> tuple[str, ...]:
        """The values of a plain indicator that are on the list."""
        if indicator.kind not in PLAIN:
            return ()
        look = {"network": self._network, "asn": self._system, "client": self._client}[indicator.kind]
        return tuple(value for value in indicator.tokens if look(value))

    def without(self, indicator: Indicator) -> Indicator | None:
        """The indicator without what is on the list; None where nothing is left of it."""
        listed = frozenset(self.listed(indicator))
        if not listed:
            return indicator
        left = tuple(value for value in indicator.tokens if value not in listed)
        return structs.replace(indicator, tokens=left) if left else None

    def _network(self, value: str) -> bool:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            return True  # none at all: nothing that may be looked for
        version, bits = network.version, network.prefixlen
        if bits < WIDEST_BITS[version]:
            return True
        starts = self._starts[version]
        first = bisect_left(starts, int(network.network_address))
        if first < len(starts) and starts[first] <= int(network.broadcast_address):
            return True  # one that is listed lies in it
        return any(
            bits >= listed and _front(network, listed) in fronts
            for (of, listed), fronts in self._fronts.items()
            if of == version
        )

    def _system(self, value: str) -> bool:
        return value.upper() in self._systems

    def _client(self, value: str) -> bool:
        name = value.casefold()
        return name in self._clients or re.split(r"[/ ]", name, maxsplit=1)[0] in COMMON_CLIENTS


def _network_of(value: str) -> _Network | None:
    """A network, or an address as one of itself; None where it is neither."""
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def _front(network: _Network, bits: int) -> int:
    """The first bits of a network's address."""
    return int(network.network_address) >> (network.max_prefixlen - bits)
