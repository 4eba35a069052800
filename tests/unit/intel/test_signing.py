"""Signed feeds: what is signed, what is noticed, and that others can verify it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

from app.errors import BadInput, ConfigError
from app.intel import signing
from app.intel.signing import SigningKey

NOW = 1_800_000_000_000_000
BUNDLE = b'{"type": "bundle",   "objects": [{"a": 1.50}]}\n'
KEY = SigningKey.made()


def _signed(**more: Any) -> bytes:
    given: dict[str, Any] = {"payload": BUNDLE, "key": KEY, "issued_us": NOW, "valid_sec": 3600}
    return signing.signed(**(given | more))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_signed_verified() -> None:
    """What was signed comes back byte by byte, with its number and times, under the fingerprint of the key."""
    found = signing.opened(_signed())
    assert signing.verified(found, KEY.public, NOW) == BUNDLE
    assert (found.kid, found.seq) == (KEY.public.fingerprint, NOW)
    assert (found.issued_sec, found.expires_sec) == (NOW // 10**6, NOW // 10**6 + 3600)
    assert signing.key_of(found).raw == KEY.public.raw


def test_jws_by_the_book() -> None:
    """A reader that knows RFC 7515 and RFC 8037 alone verifies it, whole and detached."""
    document = json.loads(_signed())
    assert set(document) == {"payload", "protected", "signature"}
    header = json.loads(_bytes(document["protected"]))
    assert (header["alg"], header["jwk"]["kty"], header["jwk"]["crv"]) == ("EdDSA", "OKP", "Ed25519")
    loaded = load_pem_public_key(KEY.public.pem.encode())
    assert isinstance(loaded, Ed25519PublicKey)
    detached = base64.urlsafe_b64encode(BUNDLE).rstrip(b"=").decode()  # as appendix F puts the payload back
    assert detached == document["payload"]
    signing_input = f"{document['protected']}.{detached}".encode("ascii")
    loaded.verify(_bytes(document["signature"]), signing_input)
    with pytest.raises(InvalidSignature):
        loaded.verify(_bytes(document["signature"]), signing_input + b"A")
    assert loaded.public_bytes_raw() == _bytes(header["jwk"]["x"])


def test_rfc_8037_example() -> None:
    """The signature of RFC 8037, appendix A.4, is what our key makes of the same input."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = _bytes("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(secret))
    signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")
    said = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    assert base64.urlsafe_b64encode(signature).rstrip(b"=").decode() == said


@pytest.mark.parametrize("part", ["payload", "protected", "signature"])
def test_flipped_byte_noticed(part: str) -> None:
    """One character changed anywhere is refused."""
    document = json.loads(_signed())
    text = document[part]
    document[part] = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    with pytest.raises(BadInput, match=r"^signature: "):
        signing.verified(signing.opened(json.dumps(document).encode()), KEY.public, NOW)


def test_wrong_key() -> None:
    """Another key's feed is refused, and so is one that names our key and was signed by another."""
    other = SigningKey.made()
    with pytest.raises(BadInput, match="another key"):
        signing.verified(signing.opened(_signed(key=other)), KEY.public, NOW)
    forged = json.loads(_signed(key=other))
    forged["protected"] = json.loads(_signed())["protected"]
    with pytest.raises(BadInput, match="does not fit"):
        signing.verified(signing.opened(json.dumps(forged).encode()), KEY.public, NOW)
    with pytest.raises(BadInput, match="jwk is not the key"):
        signing.key_of(signing.opened(_header(jwk={"kty": "OKP", "crv": "Ed25519", "x": "A" * 43})))


@pytest.mark.parametrize(
    ("more", "at_us", "rule"),
    [
        ({}, NOW + 3600 * 10**6, "exp has passed"),
        ({"issued_us": NOW + 90_000 * 10**6}, NOW, "ahead"),
        ({"seq": NOW + 90_000 * 10**6}, NOW, "ahead"),
    ],
)
def test_times_hold(more: dict[str, Any], at_us: int, rule: str) -> None:
    """An expired feed, a future one and one whose number would hide all later ones are refused."""
    with pytest.raises(BadInput, match=rule):
        signing.verified(signing.opened(_signed(**more)), KEY.public, at_us)


def _header(**change: Any) -> bytes:
    document = json.loads(_signed())
    header = {**json.loads(_bytes(document["protected"])), **change}
    header = {name: value for name, value in header.items() if value is not None}
    protected = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return json.dumps({**document, "protected": protected}).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": None},
        {"crit": ["exp"]},
        {"b64": False},
        {"kid": "abc"},
        {"iat": "1"},
        {"exp": 1e300},
        {"seq": 2**53},
        {"seq": True},
        {"seq": None},
        {"more": "x" * 4096},
    ],
)
def test_headers_refused(change: dict[str, Any]) -> None:
    """Another algorithm, headers that must be understood, missing and impossible numbers are refused."""
    with pytest.raises(BadInput, match=r"^signature: "):
        signing.opened(_header(**change))


@pytest.mark.parametrize("left", [1, 50, -1, -3, -40])
def test_cut_refused(left: int) -> None:
    """A file that was cut, at its beginning or its end, is refused."""
    with pytest.raises(BadInput, match=r"^signature: "):
        signing.opened(_signed().strip()[:left])


@pytest.mark.parametrize(
    "document",
    [
        b'{"payload":"e30","payload":"e30","protected":"e30","signature":""}',
        b'{"payload":"e30","protected":"e30","protected":"e30"}',
        b'{"payload":"e30=","protected":"e30","signature":""}',
        b'{"payload":"e30","signatures":[{"protected":"e30","signature":""}]}',
        b'{"payload":"e30","protected":"e30","signature":"","header":{}}',
    ],
)
def test_other_forms_refused(document: bytes) -> None:
    """Names that come twice, padding, the general form and unprotected headers are not taken."""
    assert signing.is_signed(document)
    with pytest.raises(BadInput, match=r"^signature: "):
        signing.opened(document)


def test_private_file(tmp_path: Path) -> None:
    """A key is written for its owner alone, never over another file, and read back only while nobody else may."""
    file = tmp_path / "key.pem"
    KEY.write(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert signing.read_private(file).public.raw == KEY.public.raw
    with pytest.raises(BadInput, match="never overwritten"):
        SigningKey.made().write(file)
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput):
        KEY.write(link)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="0644"):
        signing.read_private(file)


def _rsa() -> bytes:
    return generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content", [b"CANARY-SECRET", b"-----BEGIN PRIVATE KEY-----\nQ0FOQVJZ\n-----END PRIVATE KEY-----\n"]
)
def test_errors_show_nothing(tmp_path: Path, content: bytes) -> None:
    """What a broken key file holds is in no error."""
    file = tmp_path / "key.pem"
    file.touch(0o600)
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^intel\.signing_key_file: must be a private key in PEM") as caught:
        signing.read_private(file)
    assert "CANARY" not in str(caught.value)
    assert "Q0FOQVJZ" not in str(caught.value)
    with pytest.raises(BadInput, match=r"^public key: ") as refused:
        signing.read_public(content.decode())
    assert "CANARY" not in str(refused.value)


def test_other_kinds_of_keys(tmp_path: Path) -> None:
    """An RSA key is no Ed25519 key, and a missing file is named as one."""
    file = tmp_path / "key.pem"
    file.touch(0o600)
    file.write_bytes(_rsa())
    with pytest.raises(ConfigError, match="Ed25519"):
        signing.read_private(file)
    os.unlink(file)
    with pytest.raises(ConfigError, match="No such file"):
        signing.read_private(file)
