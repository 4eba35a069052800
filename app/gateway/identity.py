"""Who is calling: keyed hashes of the credential and the address, and the account they belong to.

The credential itself is compared with nothing and stored nowhere but in a bounded in-process memory of recent ones. What
leaves this module is BLAKE2b-128 under the deployment's pepper, one domain per kind, so that an address can never collide
with a key, and nobody without the pepper can test a guess.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Any, Protocol

from app.enforcement.wire_errors import UNAUTHENTICATED, Refuse
from app.gateway.guard import Head
from app.gateway.networks import Networks
from app.settings import IdentitySettings

_CREDENTIALS_REMEMBERED = 20_000
_ADDRESSES_REMEMBERED = 50_000
_MAX_CREDENTIAL_BYTES = 4096


class Account(Protocol):
    """What identity reads of an account record; `app.state.accounts.Account` is one."""

    @property
    def org_id(self) -> str: ...  # noqa: D102
    @property
    def plan(self) -> str: ...  # noqa: D102
    @property
    def created_us(self) -> int | None: ...  # noqa: D102
    @property
    def payment_id(self) -> str: ...  # noqa: D102
    @property
    def authorised(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def country(self) -> str: ...  # noqa: D102


class Accounts(Protocol):
    """Directory of accounts; a lookup is a dictionary get."""

    def get(self, key_id: str) -> Account | None:
        """The account of a key, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller as the rest of the service knows it."""

    key_id: str
    org_id: str = ""
    plan: str = "default"
    key_created_us: int | None = None
    payment_id: str = ""
    authorised: tuple[str, ...] = ()
    country: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request came from. The address itself is not kept."""

    ip_prefix_id: str = ""
    asn_class: str = ""
    country: str = ""


NOWHERE = Place()


class Hasher:
    """Keyed hashes, 32 hex characters, one domain per kind of value."""

    def __init__(self, pepper: str) -> None:
        # BLAKE2b takes at most 64 bytes of key; a longer pepper is hashed down rather than cut.
        secret = pepper.encode()
        self._secret = secret if len(secret) <= 64 else hashlib.blake2b(secret).digest()

    def digest(self, kind: bytes, value: bytes) -> str:
        """Hash of `value` in the domain `kind` (at most 16 bytes)."""
        return hashlib.blake2b(value, digest_size=16, key=self._secret, person=kind).hexdigest()

    def key(self, credential: str | bytes) -> str:
        """Key id of a credential."""
        return self.digest(b"key", credential if isinstance(credential, bytes) else credential.encode())

    def payment(self, token: str) -> str:
        """Payment id of a payment token."""
        return self.digest(b"payment", token.encode())

    def ip_prefix(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        """Hash of the /24 of an IPv4 address or the /48 of an IPv6 address."""
        return self.digest(b"ip", address.packed[:3] if address.version == 4 else address.packed[:6])


class Overlap(Protocol):
    """Old ids of keys while the pepper changes; `app.gateway.rotation.Rotation` is one."""

    def present(self, secret: bytes, key_id: str) -> str:
        """The id under which the key is known now: its old one until everything known of it was taken over."""
        ...

    def old(self, secret: bytes) -> str:
        """The id under the previous pepper."""
        ...


class Identifier:
    """Head → Identity and Place. Holds bounded memories only; safe to share between requests."""

    def __init__(
        self,
        settings: IdentitySettings,
        accounts: Accounts | None,
        networks: Networks | None = None,
        overlap: Overlap | None = None,
    ) -> None:
        self._overlap = overlap
        self.hasher = Hasher(settings.pepper.get_secret_value())
        self._accounts = accounts
        self._networks = networks
        self._deny_unknown = settings.unknown_keys == "deny"
        self._default_plan = settings.default_plan
        self._anonymous = self.hasher.digest(b"anonymous", b"")
        self._key_ids: dict[bytes, str] = {}
        self._strangers: dict[str, Identity] = {}
        self._places: dict[str, Place] = {}

    def identify(self, head: Head, dialect: str) -> Identity:
        """The caller behind a request.

        Where two credentials were sent, the one that the dialect's API reads counts, and only that one is forwarded:
        else a client could be limited under one key and served under another.

        Raises:
            Refuse: the policy is `deny` and the credential is missing or in no account.
        """
        secret = head.trusted_key
        if not secret:
            if head.authorization and head.api_key:
                head.drop(b"authorization" if dialect == "anthropic" else b"x-api-key")
            secret = _bearer(head.authorization) if head.authorization else head.api_key
        key_id = self._key_ids.get(secret) or self._key_id(secret)
        account = self._accounts.get(key_id) if self._accounts is not None else None
        if self._overlap is not None and secret:
            if account is None and self._accounts is not None:
                account = self._accounts.get(self._overlap.old(secret))
            key_id = self._overlap.present(secret, key_id)
        if account is not None:
            return Identity(
                key_id,
                account.org_id,
                account.plan or self._default_plan,
                account.created_us,
                account.payment_id,
                account.authorised,
                account.country,
            )
        if self._deny_unknown:
            if key_id == self._anonymous:
                raise Refuse(UNAUTHENTICATED, "You did not provide an API key.", "no_credential")
            raise Refuse(UNAUTHENTICATED, "Incorrect API key provided.", "unknown_key")
        stranger = self._strangers.get(key_id)
        if stranger is None:
            _bound(self._strangers, _CREDENTIALS_REMEMBERED)
            stranger = self._strangers[key_id] = Identity(key_id, plan=self._default_plan)
        return stranger

    def place(self, ip: str) -> Place:
        """Network facts of an address; NOWHERE for something that is no address (a Unix socket)."""
        found = self._places.get(ip)
        if found is None:
            try:
                address = ipaddress.ip_address(ip.partition("%")[0])
            except ValueError:
                return NOWHERE
            if address.version == 6 and address.ipv4_mapped:
                address = address.ipv4_mapped
            asn_class, country = self._networks.lookup(address) if self._networks else ("", "")
            _bound(self._places, _ADDRESSES_REMEMBERED)
            found = self._places[ip] = Place(self.hasher.ip_prefix(address), asn_class, country)
        return found

    def _key_id(self, secret: bytes) -> str:
        if not secret:
            return self._anonymous
        if len(secret) > _MAX_CREDENTIAL_BYTES:
            raise Refuse(UNAUTHENTICATED, "The credential is too long.", "credential_size")
        key_id = self.hasher.key(secret)
        _bound(self._key_ids, _CREDENTIALS_REMEMBERED)
        self._key_ids[secret] = key_id
        return key_id


def _bearer(value: bytes) -> bytes:
    """Token of an Authorization header; another scheme than Bearer is taken whole, as it still names a caller."""
    if value[:7] == b"Bearer ":
        return value[7:].strip()
    parts = value.split(None, 1)  # upstreams differ in the white space they take; the key must not
    return parts[1].strip() if len(parts) == 2 and parts[0].lower() == b"bearer" else value.strip()


def _bound(memory: dict[Any, Any], size: int) -> None:
    """Make room by dropping the oldest entry: an attacker who rotates credentials costs a hash, never memory."""
    if len(memory) >= size:
        del memory[next(iter(memory))]
