"""Address plan: which class of network and which country an address belongs to, from a file the operator gives."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec

from app.errors import BadInput
from app.gateway import line_rules

CLASSES = ("cloud", "business", "education", "residential", "mobile", "vpn")


class NetworkLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"asn_class": "class"}):
    """One line. A field or class of another name is refused: what is mistyped would silently count as nothing.

    Attributes:
        prefix: addresses in CIDR form.
        asn: number or name of the network's operator; not used.
        asn_class: one of CLASSES, or empty.
        country: ISO 3166 code, or empty.
    """

    prefix: str
    asn: int | Annotated[str, msgspec.Meta(max_length=128)] | None = None
    asn_class: str = ""
    country: str = ""

    def __post_init__(self) -> None:
        if self.asn_class and self.asn_class not in CLASSES:
            raise ValueError(f"class must be one of {', '.join(CLASSES)}, or empty")
        if len(self.country) not in (0, 2):
            raise ValueError("country must be an ISO 3166 code of two letters, or empty")


_decoder = msgspec.json.Decoder(NetworkLine)


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
                    row = line_rules.parse(_decoder, line)
                    networks.add(row.prefix, row.asn_class, row.country)
                except BadInput as error:
                    raise BadInput(f"networks file {path}, line {number}: {error}") from None
                except ValueError:
                    raise BadInput(f"networks file {path}, line {number}: prefix must be in CIDR form") from None
        return networks

    def add(self, prefix: str, asn_class: str, country: str) -> None:
        """Add one prefix in CIDR form.

        Raises:
            ValueError: `prefix` is no network.
        """
        network = ipaddress.ip_network(prefix, strict=False)
        table = self._tables[network.version].setdefault(network.prefixlen, {})
        table[int(network.network_address)] = (asn_class, country.upper())
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
