"""Marks of keys → tokens that only members of a trust group can compare, and only within an epoch.

A mark is 32 bits of hash of what a key does constantly, alike at every provider that runs this release: it says nothing to
who does not know the text, but whoever guesses the text can confirm the guess. So a mark leaves only as a keyed hash
(BLAKE2b, 96 bits, RFC 7693) under a key that the group's members share for an epoch. Outsiders can compare nothing. A
member can: it could make the tokens of all 2^32 marks of a kind in a day; it then knows hashes, not texts. An identity is
hashed under a key of its own; any member can test a guessed address against it. Both are said in `docs/intel.md`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable

from detectors.campaign.trace import Kind as MarkKind
from detectors.sharing.indicator import Kind
from detectors.watermark.keys import MasterSecret

SCHEME = "stillwatch-marks-1"

KIND_OF: dict[int, Kind] = {
    MarkKind.SYSTEM: "template",
    MarkKind.HEAD: "template",
    MarkKind.TAIL: "template",
    MarkKind.GRAM: "template",
    MarkKind.CONTRACT: "contract",
    MarkKind.SETUP: "settings",
}
"""What a mark tells another provider. Payments, networks and blocks of reasoning are hashes of what is nobody else's
business, or that nobody else can have; they are never shared."""


class GroupKey:
    """The key of one trust group in one epoch.

    Args:
        secret: shared by the members, of at least 32 bytes.
    """

    def __init__(self, secret: MasterSecret) -> None:
        self._marks = hashlib.blake2b(key=secret.derive(f"sharing/{SCHEME}"), digest_size=12)
        self._identities = secret.derive("sharing/identity/1")

    def token(self, mark: int) -> str:
        """Of a mark, which is its kind above 32 bits of hash: 24 hexadecimal digits."""
        digest = self._marks.copy()
        digest.update(mark.to_bytes(8, "little"))
        return digest.hexdigest()

    def tokens(self, marks: Iterable[int]) -> dict[str, int]:
        """Token → mark, of the marks that may be shared at all."""
        return {self.token(mark): mark for mark in marks if mark >> 32 in KIND_OF}

    def identity(self, address: str) -> str:
        """Of an account's address, in whatever case and form it was written: 24 hexadecimal digits."""
        folded = unicodedata.normalize("NFKC", address).strip().casefold()
        return hashlib.blake2b(folded.encode(), key=self._identities, digest_size=12).hexdigest()
