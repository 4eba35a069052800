"""The peers whose collections and feeds are read: a table for each in a TOML file; secrets and keys in files beside it."""

from __future__ import annotations

import base64
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import BadInput, ConfigError
from app.intel import signing
from app.intel.signing import PublicKey
from app.intel.taxii import http
from app.state.intel_groups import GROUP, MEMBER

MAX_PEERS = 50
MIN_INTERVAL_SEC = 5
"""A retraction takes effect within a minute, so an interval is at most that; more often than this only costs."""

MAX_INTERVAL_SEC = 86_400
_FIELDS = (
    *("name", "group", "kind", "url", "username", "secret_file", "ca_file", "public_key_file"),
    *("collections", "interval_sec"),
)
KINDS = ("taxii", "feed")
_MAX_KEY_BYTES = 4096
_USERNAME = re.compile(r"[!-9;-~]{1,128}", re.ASCII)  # all but the colon, which ends it
_COLLECTION = re.compile(r"[0-9A-Za-z_.-]{1,64}", re.ASCII)
_SECRET = re.compile(r"[ -~]{1,4096}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        name: who it is in the group: what it shares counts as reported by this member.
        group: trust group.
        url: of discovery, or of an API root; of a signed feed.
        secret_file: password or token, on the only line; "" only for a feed that anybody may read.
        username: for HTTP Basic; "" where the secret is a bearer token.
        ca_file: certificates by which the server is trusted; "" for the system's.
        collections: ids or aliases; none: every one that can be read.
        interval_sec: from the end of a poll to the next.
        kind: "taxii", or "feed" for a signed document at an address.
        public_key_file: the key that signs the feed, PEM; "" for TAXII.
    """

    name: str
    group: str
    url: str
    secret_file: str
    username: str = ""
    ca_file: str = ""
    collections: tuple[str, ...] = ()
    interval_sec: int = 30
    kind: str = "taxii"
    public_key_file: str = ""

    def authorization(self) -> str:
        """The Authorization header: Basic with a user name, else a bearer token.

        Raises:
            ConfigError: as `secret`.
        """
        secret = self.secret()
        if not self.username:
            return f"Bearer {secret}"
        return "Basic " + base64.b64encode(f"{self.username}:{secret}".encode()).decode()

    def public_key(self) -> PublicKey:
        """The key that signs the feed; read anew each time.

        Raises:
            ConfigError: it cannot be read, or is none.
        """
        try:
            with Path(self.public_key_file).open("rb") as file:
                return signing.read_public(file.read(_MAX_KEY_BYTES).decode("ascii", "replace"))
        except (OSError, BadInput):
            raise ConfigError(f"peer {self.name}: public_key_file must be a readable Ed25519 public key in PEM") from None

    def secret(self) -> str:
        """Read anew each time, so that it can be changed while everything runs.

        Raises:
            ConfigError: it cannot be read; what the file holds is never quoted.
        """
        try:
            text = Path(self.secret_file).read_text(encoding="ascii").rstrip("\r\n")
        except (OSError, ValueError):
            raise ConfigError(f"peer {self.name}: secret_file cannot be read, or is no text") from None
        if not _SECRET.fullmatch(text):
            raise ConfigError(f"peer {self.name}: secret_file must hold one line of plain letters, digits and signs")
        return text


def load(path: Path) -> tuple[Peer, ...]:
    """The peers of a file.

    Raises:
        ConfigError: it cannot be read, or a field breaks its rule; the message names the peer and the field.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = f"is no TOML{_line(error)}" if isinstance(error, tomllib.TOMLDecodeError) else "cannot be read"
        raise ConfigError(f"intel.peers_file: {why}") from None
    tables = document.get("peer", [])
    if set(document) - {"peer"} or not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ConfigError("intel.peers_file: must hold tables [[peer]] and nothing else")
    if len(tables) > MAX_PEERS:
        raise ConfigError(f"intel.peers_file: must have at most {MAX_PEERS} peers")
    peers = tuple(_peer(number, one, path.parent) for number, one in enumerate(tables, 1))
    if len({peer.name for peer in peers}) < len(peers):
        raise ConfigError("intel.peers_file: two peers have the same name")
    return peers


def _peer(number: int, table: dict[str, Any], folder: Path) -> Peer:
    def fault(field: str, rule: str) -> ConfigError:
        return ConfigError(f"intel.peers_file: peer {number}: {field} {rule}")

    for field in table:
        if field not in _FIELDS:
            raise ConfigError(f"intel.peers_file: peer {number}: has a field that is none of {', '.join(_FIELDS)}")
    kind = table.get("kind", "taxii")
    if kind not in KINDS:
        raise fault("kind", f"must be {' or '.join(KINDS)}")
    for field in ("name", "group", "url", "secret_file" if kind == "taxii" else "public_key_file"):
        if not isinstance(table.get(field), str) or not table[field]:
            raise fault(field, "must be given, as text")
    for field in ("username", "ca_file", "secret_file"):
        if not isinstance(table.get(field, ""), str):
            raise fault(field, "must be text")
    if not re.fullmatch(MEMBER, table["name"]):
        raise fault("name", "must be 1 to 64 lower-case letters, digits and '_', '.', '-'")
    if not re.fullmatch(GROUP, table["group"]):
        raise fault("group", "must be 1 to 32 lower-case letters, digits and '-'")
    ca_file = str(folder / table["ca_file"]) if table.get("ca_file") else ""
    try:
        http.parse_url(table["url"])
    except ValueError as error:
        raise fault("url", str(error)) from None
    try:
        http.tls_context(ca_file)
    except ValueError as error:
        raise fault("ca_file", str(error)) from None
    if table.get("username") and not _USERNAME.fullmatch(table["username"]):
        raise fault("username", "must be plain letters, digits and signs without ':'")
    other = "public_key_file" if kind == "taxii" else "collections"
    if other in table:
        raise fault(other, f"is not for a peer of kind {kind}")
    collections = table.get("collections", [])
    named = isinstance(collections, list) and all(
        isinstance(one, str) and _COLLECTION.fullmatch(one) for one in collections
    )
    if not named:
        raise fault("collections", "must be a list of ids or aliases")
    interval_sec = table.get("interval_sec", 30)
    if type(interval_sec) is not int or not MIN_INTERVAL_SEC <= interval_sec <= MAX_INTERVAL_SEC:
        raise fault("interval_sec", f"must be a whole number from {MIN_INTERVAL_SEC} to {MAX_INTERVAL_SEC}")
    peer = Peer(
        name=table["name"],
        group=table["group"],
        url=table["url"],
        secret_file=str(folder / table["secret_file"]) if table.get("secret_file") else "",
        username=table.get("username", ""),
        ca_file=ca_file,
        collections=tuple(collections),
        interval_sec=interval_sec,
        kind=kind,
        public_key_file=str(folder / table["public_key_file"]) if kind == "feed" else "",
    )
    if kind == "feed":
        try:
            peer.public_key()
        except ConfigError as error:
            raise fault("public_key_file", str(error).partition("public_key_file ")[2] or str(error)) from None
    return peer


def _line(error: tomllib.TOMLDecodeError) -> str:
    found = re.search(r"line (\d+)", str(error))  # the rest of the message may quote the file
    return f" (line {found[1]})" if found else ""
