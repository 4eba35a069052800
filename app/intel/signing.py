"""Signed feeds: a bundle's exact bytes in a JSON Web Signature by Ed25519, with who, when, until when and which in order.

The form is RFC 7515's flattened JSON serialisation: `{"payload": …, "protected": …, "signature": …}`, each base64url.
What is signed is the text of `protected` and `payload` as it stands in the file, so nothing is ever serialised again to be
checked, and any library for JOSE verifies it. `alg` is EdDSA (RFC 8037). Without `payload`, and the bundle beside it, it is
the detached form of RFC 7515, appendix F.

Within `protected`: `kid`, the key's fingerprint; `jwk`, the public key, which proves nothing by itself; `iat` and `exp`,
unix seconds; `seq`, a number that grows with every feed of a key, by which an old feed that is sent again is noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.errors import BadInput, ConfigError
from app.watermark.sources import private_text

TYPE = "stillwatch-feed+jws"
CONTENT = "application/stix+json;version=2.1"

MAX_HEADER_BYTES = 4096
MAX_SEQ = 2**53 - 1
"""What every JSON reader takes as a whole number."""

AHEAD_SEC = 86_400
"""How far a signer's clock may be ahead of ours; a later feed would hide those that come after it."""

PLACES = {
    "older": "a later feed of this key was taken before: it is an old one",
    "other": "another feed with the same seq was taken before",
    "full": "no more members' feeds can be noted",
}
"""What `app.state.intel_signers.Signers.claim` found → why a feed is not taken."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_MEMBER = rb'\s*"(payload|protected|signature)"\s*:\s*"([A-Za-z0-9_-]*+)"\s*'
_BEGIN = re.compile(rb'\s*\{\s*"(?:payload|protected|signatures?|header)"\s*:')
_WHOLE = re.compile(rb"\s*\{" + _MEMBER + rb"," + _MEMBER + rb"," + _MEMBER + rb"\}\s*")
_NOT_URL = bytes.maketrans(b"-_", b"+/")


class PublicKey:
    """An Ed25519 key that verifies.

    Args:
        raw: 32 bytes.

    Raises:
        BadInput: they are no key.
        ConfigError: the extra `share` is not installed.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            self._key = _ed25519().Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise BadInput("public key: must be an Ed25519 key of 32 bytes") from None
        self.raw = raw

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the 32 bytes, 64 hexadecimal digits."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def pem(self) -> str:
        """SubjectPublicKeyInfo in PEM."""
        serial = _serialization()
        return str(self._key.public_bytes(serial.Encoding.PEM, serial.PublicFormat.SubjectPublicKeyInfo).decode("ascii"))

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether it is this key's signature of these bytes."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """An Ed25519 key that signs; made by `made` and `read_private`."""

    def __init__(self, key: Any) -> None:
        serial = _serialization()
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes(serial.Encoding.Raw, serial.PublicFormat.Raw))

    @classmethod
    def made(cls) -> SigningKey:
        """A new one."""
        return cls(_ed25519().Ed25519PrivateKey.generate())

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return bytes(self._key.sign(data))

    def write(self, path: Path) -> None:
        """As PKCS #8 in PEM, to a new file that only its owner may read.

        Raises:
            BadInput: the file is there already, or cannot be written.
        """
        serial = _serialization()
        pem = self._key.private_bytes(serial.Encoding.PEM, serial.PrivateFormat.PKCS8, serial.NoEncryption())
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            more = "; a key is never overwritten" if isinstance(error, FileExistsError) else ""
            raise BadInput(f"file {path}: {error.strerror or 'cannot be written'}{more}") from None
        with os.fdopen(file, "wb") as out:
            out.write(pem)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed feed as it came; nothing of it counts before `verified`.

    Attributes:
        payload: the exact bytes that were signed.
        kid: fingerprint that it names.
        embedded: public key that it brings along; None without one.
        issued_sec: unix seconds.
        expires_sec: unix seconds.
        seq: its place among the feeds of the key.
        digest: SHA-256 of all that was signed, hexadecimal.
    """

    payload: bytes
    kid: str
    embedded: bytes | None
    issued_sec: int
    expires_sec: int
    seq: int
    digest: str
    _input: bytes
    _signature: bytes


def read_private(path: Path, place: str = "intel.signing_key_file") -> SigningKey:
    """A private key from its file.

    Raises:
        ConfigError: others than its owner may read it, it is no Ed25519 key in PEM, or the extra `share` is not installed.
    """
    text = private_text(path, place)
    try:
        key = _serialization().load_pem_private_key(text.encode(), password=None)
    except Exception as error:  # of many kinds; none of their words may come out, they could quote the file
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{place}: must be a private key in PEM without a passphrase") from None
    if not isinstance(key, _ed25519().Ed25519PrivateKey):
        raise ConfigError(f"{place}: must be an Ed25519 key")
    return SigningKey(key)


def read_public(text: str) -> PublicKey:
    """A public key in PEM.

    Raises:
        BadInput: it is none.
        ConfigError: the extra `share` is not installed.
    """
    serial = _serialization()
    try:
        key = serial.load_pem_public_key(text.encode())
    except Exception as error:
        if isinstance(error, ConfigError):
            raise
        raise BadInput("public key: must be an Ed25519 public key in PEM") from None
    if not isinstance(key, _ed25519().Ed25519PublicKey):
        raise BadInput("public key: must be an Ed25519 public key in PEM")
    return PublicKey(key.public_bytes(serial.Encoding.Raw, serial.PublicFormat.Raw))


def is_fingerprint(text: str) -> bool:
    """Whether it has the form of a fingerprint."""
    return _FINGERPRINT.fullmatch(text) is not None


def signed(payload: bytes, key: SigningKey, issued_us: int, valid_sec: int, seq: int | None = None) -> bytes:
    """A feed.

    Args:
        payload: a bundle.
        key: signs.
        issued_us: now, unix µs.
        valid_sec: for how long it may be taken.
        seq: its place among the feeds of the key; None for the microseconds of `issued_us`, which grow by themselves.
    """
    header = {
        "alg": "EdDSA",
        "typ": TYPE,
        "cty": CONTENT,
        "kid": key.public.fingerprint,
        "jwk": {"kty": "OKP", "crv": "Ed25519", "x": _encoded(key.public.raw).decode()},
        "iat": issued_us // 1_000_000,
        "exp": issued_us // 1_000_000 + valid_sec,
        "seq": issued_us if seq is None else seq,
    }
    protected, body = _encoded(orjson.dumps(header)), _encoded(payload)
    signature = _encoded(key.sign(protected + b"." + body))
    return b'{"protected":"%s","payload":"%s","signature":"%s"}\n' % (protected, body, signature)


def is_signed(document: bytes) -> bool:
    """Whether a document begins as a signed feed does."""
    return _BEGIN.match(document) is not None


def opened(document: bytes) -> Signed:
    """A signed feed in its parts.

    Raises:
        BadInput: it is none, or of a form that is not taken.
    """
    found = _WHOLE.fullmatch(document)
    parts = {found[number]: found[number + 1] for number in (1, 3, 5)} if found else {}
    if len(parts) != 3:
        raise BadInput("signature: must be a flattened JWS of payload, protected and signature, whole and in base64url")
    if len(parts[b"protected"]) > MAX_HEADER_BYTES:
        raise BadInput(f"signature: protected must have at most {MAX_HEADER_BYTES:,} characters")
    header = _header(_decoded(parts[b"protected"], "protected"))
    signing_input = parts[b"protected"] + b"." + parts[b"payload"]
    return Signed(
        payload=_decoded(parts[b"payload"], "payload"),
        kid=header["kid"],
        embedded=_embedded(header.get("jwk")),
        issued_sec=header["iat"],
        expires_sec=header["exp"],
        seq=header["seq"],
        digest=hashlib.sha256(signing_input).hexdigest(),
        _input=signing_input,
        _signature=_decoded(parts[b"signature"], "signature"),
    )


def verified(found: Signed, key: PublicKey, now_us: int) -> bytes:
    """The payload of a feed that this key has signed and that may be taken now.

    Raises:
        BadInput: it is another key's, was changed on its way, is not valid yet or no more.
    """
    if found.kid != key.fingerprint:
        raise BadInput("signature: is by another key than the one that was asked for")
    if not key.verifies(found._signature, found._input):
        raise BadInput("signature: does not fit: the feed was changed, or cut, since it was signed")
    now_sec = now_us // 1_000_000
    if found.issued_sec > now_sec + AHEAD_SEC or found.seq > (now_sec + AHEAD_SEC) * 1_000_000:
        raise BadInput("signature: iat or seq is more than a day ahead")
    if found.expires_sec <= now_sec:
        raise BadInput("signature: exp has passed: it is an old feed")
    return found.payload


def key_of(found: Signed) -> PublicKey:
    """The key that a feed brings along and names by its fingerprint. Whose it is must be known from elsewhere.

    Raises:
        BadInput: it brings none, or another.
    """
    if found.embedded is None:
        raise BadInput("signature: the feed does not bring its public key: give it with --key")
    key = PublicKey(found.embedded)
    if key.fingerprint != found.kid:
        raise BadInput("signature: jwk is not the key that kid names")
    return key


def _header(data: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(data)
    except orjson.JSONDecodeError:
        header = None
    if not isinstance(header, dict):
        raise BadInput("signature: protected must be a JSON object")
    if header.get("alg") not in ("EdDSA", "Ed25519"):
        raise BadInput("signature: alg must be EdDSA")
    if "crit" in header or "b64" in header:
        raise BadInput("signature: crit and b64 are not taken")
    kid = header.get("kid")
    if not isinstance(kid, str) or not _FINGERPRINT.fullmatch(kid):
        raise BadInput("signature: kid must be the key's fingerprint, 64 hexadecimal digits")
    for name in ("iat", "exp", "seq"):
        if type(header.get(name)) is not int or not 0 < header[name] <= MAX_SEQ:
            raise BadInput(f"signature: {name} must be a whole number")
    return header


def _embedded(jwk: Any) -> bytes | None:
    if not isinstance(jwk, dict) or jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        return None
    text = jwk.get("x")
    return _decoded(text.encode("ascii", "replace"), "jwk") if isinstance(text, str) and len(text) <= 64 else None


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: bytes, name: str) -> bytes:
    try:
        return binascii.a2b_base64(text.translate(_NOT_URL) + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise BadInput(f"signature: {name} must be base64url without padding") from None


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise _missing() from None
    return ed25519


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise _missing() from None
    return serialization


def _missing() -> ConfigError:
    return ConfigError("signatures need the extra 'share': pip install 'stillwatch[share]'")
