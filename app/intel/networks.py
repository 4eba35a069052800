"""Networks and autonomous systems that were shared → marks of keys that call from them.

A key's trace holds a keyed hash of the /24 or /48 that it calls from, and no address (`app.gateway.identity`). So a
shared network is hashed here as the gateway hashes addresses. An autonomous system is looked up in the operator's own
address plan.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from app.errors import BadInput
from app.gateway.identity import Hasher
from app.gateway.networks import NetworkLine
from detectors.campaign.trace import Kind
from detectors.fingerprint.hashing import digest
from detectors.sharing.indicator import Indicator

PREFIX_BITS = {4: 24, 6: 48}

MOST_PREFIXES = 4096
"""Of one indicator: a wider network names a good part of everybody's customers, and is not looked for."""

_LOW32 = 0xFFFFFFFF
_decode = msgspec.json.Decoder(NetworkLine).decode


def marks_of_networks(networks: Iterable[str], hasher: Hasher) -> list[int]:
    """The marks of keys in these networks; none where they are wider than MOST_PREFIXES together, or no networks.

    A network that is narrower than the gateway's hash stands for the whole /24 or /48 around it.
    """
    found: dict[int, None] = {}
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        bits = PREFIX_BITS[network.version]
        if network.prefixlen > bits:
            network = network.supernet(new_prefix=bits)
        if len(found) + (1 << (bits - network.prefixlen)) > MOST_PREFIXES:
            return []
        for part in network.subnets(new_prefix=bits):
            found[Kind.NETWORK << 32 | digest(hasher.ip_prefix(part.network_address)) & _LOW32] = None
    return list(found)


def networks_of_systems(path: Path | None) -> dict[str, list[str]]:
    """Autonomous system, as AS64500 → its networks in the operator's address plan; empty without one.

    Raises:
        BadInput: the file cannot be read. Its lines were checked at the gateway's start; one that is wrong is passed over.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    if path is None:
        return found
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadInput(f"networks file {path}: {error.strerror or 'cannot be read'}") from None
    for line in lines:
        try:
            row = _decode(line)
        except (msgspec.DecodeError, ValueError):
            continue
        number = str(row.asn or "").upper().removeprefix("AS")
        if number.isdigit():
            found[f"AS{int(number)}"].append(row.prefix)
    return dict(found)


class Places:
    """What plain indicators of networks are looked for with.

    Args:
        hasher: with the deployment's pepper, as the gateway has it; None: no network is looked for.
        systems: autonomous system → its networks.
    """

    def __init__(self, hasher: Hasher | None = None, systems: Mapping[str, list[str]] | None = None) -> None:
        self._hasher = hasher
        self._systems = systems or {}

    def marks(self, indicator: Indicator) -> list[int]:
        """Marks of keys that a plain indicator names; empty where it cannot be looked for here."""
        if self._hasher is None:
            return []
        if indicator.kind == "network":
            return marks_of_networks(indicator.tokens, self._hasher)
        if indicator.kind == "asn":
            networks = [network for number in indicator.tokens for network in self._systems.get(number, ())]
            return marks_of_networks(networks, self._hasher)
        return []
