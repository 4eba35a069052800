"""Master secrets by epoch, and the codewords derived from them.

A tenant's codeword is a word of `positions` symbols below `symbols`. Who does not hold the secret cannot tell it from a
word drawn by lot: HMAC-SHA-512 (RFC 2104) of the tenant's name in counter mode. An innocent tenant's codeword is
therefore independent of every text, which is what attribution rests on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

LEAST_BYTES = 32
"""Of a master secret: the strength of the hashes that are keyed with it."""

_EPOCH = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_HEX = re.compile(r"[0-9a-fA-F]+")


class MasterSecret:
    """A secret that shows itself to nobody: not printed, not formatted, not pickled."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_BYTES:
            raise ValueError(f"secret: a master secret has at least {LEAST_BYTES} bytes; this one has {len(secret)}")
        self._secret = bytes(secret)

    @classmethod
    def parse(cls, text: str) -> MasterSecret:
        """Of hexadecimal digits, as `openssl rand -hex 32` prints them."""
        text = text.strip()
        if not _HEX.fullmatch(text) or len(text) % 2:
            raise ValueError("secret: a master secret is written in hexadecimal digits, two per byte")
        return cls(bytes.fromhex(text))

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose; keys of different purposes say nothing about each other."""
        return hashlib.blake2b(purpose.encode(), key=self._secret[:64], digest_size=32).digest()

    def fingerprint(self) -> str:
        """Sixteen digits that tell two secrets apart and reveal neither."""
        return self.derive("fingerprint").hex()[:16]

    def __repr__(self) -> str:
        return "MasterSecret(<hidden>)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master secret is not pickled")


class KeyRing:
    """The master secrets of all epochs whose marks are still looked for."""

    def __init__(self, secrets: Mapping[str, MasterSecret]) -> None:
        for epoch in secrets:
            if not _EPOCH.fullmatch(epoch):
                raise ValueError("epoch: 1-32 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
        self._secrets = dict(secrets)

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Of a JSON object: epoch → secret in hexadecimal digits. No error repeats a secret.

        Raises:
            ValueError: it is no such object; an epoch or a secret is not as it must be.
        """
        try:
            read = json.loads(text)
        except ValueError:
            raise ValueError('secrets: not JSON; it must be an object like {"2026q4": "<64 hexadecimal digits>"}') from None
        if not isinstance(read, dict) or not read:
            raise ValueError('secrets: must be an object like {"2026q4": "<64 hexadecimal digits>"}')
        made: dict[str, MasterSecret] = {}
        for number, (epoch, secret) in enumerate(read.items(), 1):
            if not isinstance(secret, str):
                raise ValueError(f"secrets: entry {number} is not a string of hexadecimal digits")
            try:
                made[epoch] = MasterSecret.parse(secret)
            except ValueError as error:
                raise ValueError(f"secrets: entry {number}: {error}") from None
        return cls(made)

    @property
    def epochs(self) -> tuple[str, ...]:
        """In the order they were given."""
        return tuple(self._secrets)

    def of(self, epoch: str) -> MasterSecret:
        """The secret of an epoch; ValueError without one."""
        try:
            return self._secrets[epoch]
        except KeyError:
            raise ValueError(f"epoch: no master secret for epoch {epoch!r}") from None

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._secrets)})"


def codewords(secret: MasterSecret, names: Iterable[str], positions: int, symbols: int) -> NDArray[np.uint8]:
    """One codeword per name.

    Args:
        secret: of the epoch.
        names: of tenants, as they are known to the provider.
        positions: symbols in a codeword.
        symbols: how many there are: a power of two, at most 256, so that every one is equally likely.

    Returns:
        uint8 of shape (names, positions), each below `symbols`.
    """
    bits = _bits(symbols)
    key = secret.derive("codeword/1")
    need = -(-positions * bits // 8)
    blocks = range(-(-need // 64))
    digest = hmac.digest
    raw = b"".join(
        b"".join(digest(key, bytes((block,)) + name.encode(), "sha512") for block in blocks)[:need] for name in names
    )
    packed = np.frombuffer(raw, np.uint8).reshape(-1, need)
    if bits == 4:
        pairs = np.empty((len(packed), 2 * need), np.uint8)
        pairs[:, 0::2] = packed >> 4
        pairs[:, 1::2] = packed & 15
        cut: NDArray[np.uint8] = np.ascontiguousarray(pairs[:, :positions])
        return cut
    if bits == 8:
        copied: NDArray[np.uint8] = packed.copy()
        return copied
    unpacked = np.unpackbits(packed, axis=1)[:, : positions * bits].reshape(len(packed), positions, bits)
    weights = 1 << np.arange(bits - 1, -1, -1)
    made: NDArray[np.uint8] = np.matmul(unpacked, weights).astype(np.uint8)
    return made


def issued(secret: MasterSecret, tenant: str, positions: int, symbols: int, group: str = "") -> NDArray[np.uint8]:
    """What a tenant's answers are marked with: its codeword, the second half of it its group's where it has one.

    Returns:
        uint8 of shape (positions,).
    """
    word: NDArray[np.uint8] = codewords(secret, (tenant,), positions, symbols)[0]
    if group:
        word[positions // 2 :] = group_codewords(secret, (group,), positions, symbols)[0, positions // 2 :]
    return word


def group_codewords(secret: MasterSecret, groups: Iterable[str], positions: int, symbols: int) -> NDArray[np.uint8]:
    """Codewords of groups; only the second half of each is ever used. Shape (groups, positions)."""
    return codewords(secret, (f"group\x00{group}" for group in groups), positions, symbols)


def to_wire(word: NDArray[np.uint8], symbols: int) -> str:
    """A codeword as it travels: one hexadecimal digit per symbol where there are at most 16, else two."""
    if symbols <= 16:
        return "".join(f"{symbol:x}" for symbol in word.tolist())
    return word.tobytes().hex()


def from_wire(text: str, positions: int, symbols: int) -> NDArray[np.uint8]:
    """A codeword from its wire form; ValueError if it is none of this many positions and symbols."""
    digits = 1 if symbols <= 16 else 2
    if len(text) != positions * digits or not _HEX.fullmatch(text):
        raise ValueError(f"wm_code: must be {positions * digits} hexadecimal digits")
    word = np.array([int(text[at : at + digits], 16) for at in range(0, len(text), digits)], np.uint8)
    if int(word.max(initial=0)) >= symbols:
        raise ValueError(f"wm_code: a symbol is below {symbols}")
    return word


def _bits(symbols: int) -> int:
    bits = symbols.bit_length() - 1
    if not 1 <= bits <= 8 or symbols != 1 << bits:
        raise ValueError("symbols: a power of two from 2 to 256")
    return bits
