"""Address plan: which class of network and which country an address belongs to, from a file the operator gives."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import orjson

from app.errors import BadInput

CLASSES = frozenset(("cloud", "business", "education", "residential", "mobile", "vpn"))


class Networks:
    """Longest-prefix lookup over a JSONL file of ``{"prefix", "asn", "class", "country"}``."""

    def __init__(self) -> None:
        # version → prefix length → network as integer → (class, country); a lookup masks the address once per length.
        self._tables: dict[int, dict[int, dict[int, tuple[str, str]]]] = {4: {}, 6: {}}

    @classmethod
    def load(cls, path: Path) -> Networks:
        """Read the file.

        Raises:
            BadInput: the file cannot be read, or a line breaks a rule; the message names the line.
        """
        networks = cls()
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise BadInput(f"networks file {path}: {error.strerror or 'cannot be read'}") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = orjson.loads(line)
                    networks.add(row["prefix"], str(row.get("class", "")), str(row.get("country", "")))
                except (orjson.JSONDecodeError, ValueError, TypeError, KeyError, AttributeError):
                    raise BadInput(
                        f"networks file {path}, line {number}: needs an object with a prefix in CIDR form"
                    ) from None
        return networks

    def add(self, prefix: str, asn_class: str, country: str) -> None:
        """Add one prefix in CIDR form; an unknown class counts as none.

        Raises:
            ValueError: `prefix` is no network.
        """
        network = ipaddress.ip_network(prefix, strict=False)
        table = self._tables[network.version].setdefault(network.prefixlen, {})
        table[int(network.network_address)] = (asn_class if asn_class in CLASSES else "", country[:2].upper())
        lengths = self._tables[network.version]
        self._tables[network.version] = dict(sorted(lengths.items(), reverse=True))

    def lookup(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[str, str]:
        """(class, country) of the longest prefix that holds `address`; empty strings when none does."""
        bits, number = address.max_prefixlen, int(address)
        for length, table in self._tables[address.version].items():
            found = table.get(number >> (bits - length) << (bits - length))
            if found is not None:
                return found
        return ("", "")
