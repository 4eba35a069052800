"""Offers and answers as files, and how a peer's are read: their length is known before anything of them is believed.

    stillwatch-intersect-1 <seal> ⏎ <header, JSON> ⏎ <elements of 33 bytes each>

The seal is a keyed BLAKE2b (RFC 7693) over all that follows it, under a key of the trust group's epoch: it shows that a
member made the file and that nothing was lost on the way; not which member, for all of them have the key. The elements are
no protobuf: there is nothing in them to parse.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from app.errors import BadInput
from app.intel.intersect.bounds import ELEMENT_BYTES, LEAST, MOST_ANSWERER, MOST_ASKER
from detectors.watermark.keys import KeyRing, MasterSecret

MAGIC = b"stillwatch-intersect-1 "
_HEADER_BYTES = 1024
_SEAL_DIGITS = 64

MAX_BYTES = len(MAGIC) + _SEAL_DIGITS + _HEADER_BYTES + 2 + ELEMENT_BYTES * (MOST_ASKER + MOST_ANSWERER)
"""Of the largest file there is, an answer."""

Kind = Literal["offer", "answer"]
RUN = r"^[0-9a-f]{32}$"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before the elements.

    Attributes:
        kind: offer: `asker` elements follow; answer: the answerer's own, then the asker's again.
        run: id that the asker drew; both offers of a run have the same.
        group: trust group.
        epoch: of the group's key.
        reveals: members are asked for, or told; else their number.
        asker: elements of the asker.
        answerer: elements of the answerer; 0 in an offer.
        commitment: SHA-256 over the asker's elements in ascending order, hexadecimal: the same set, the same commitment.
    """

    kind: Kind
    run: Annotated[str, msgspec.Meta(pattern=RUN)]
    group: Annotated[str, msgspec.Meta(max_length=64)]
    epoch: Annotated[str, msgspec.Meta(max_length=64)]
    reveals: bool
    asker: Annotated[int, msgspec.Meta(ge=LEAST, le=MOST_ASKER)]
    answerer: Annotated[int, msgspec.Meta(ge=0, le=MOST_ANSWERER)]
    commitment: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


_read = msgspec.json.Decoder(Header).decode


def commitment(elements: Sequence[bytes]) -> str:
    """Of a set of the asker's elements."""
    return hashlib.sha256(b"".join(sorted(elements))).hexdigest()


def sealed(header: Header, elements: Sequence[bytes], secret: MasterSecret) -> bytes:
    """The file."""
    body = msgspec.json.encode(header) + b"\n" + b"".join(elements)
    return MAGIC + _seal(body, secret) + b"\n" + body


def claimed(data: bytes, kind: Kind) -> Header:
    """What a peer's file says of itself, which anybody may have written: to find the keys that it is opened with.

    Raises:
        BadInput: it is no such file.
    """
    first, _, body = data.partition(b"\n")
    line, _, _ = body.partition(b"\n")
    if not first.startswith(MAGIC) or len(data) > MAX_BYTES or len(line) > _HEADER_BYTES:
        raise BadInput(f"{kind}: is no file of `stillwatch intel intersect`")
    try:
        header = _read(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadInput(f"{kind}: its header is not as this release writes it, or breaks a bound") from None
    if header.kind != kind:
        raise BadInput(f"{kind}: is an {header.kind}")
    return header


def opened(data: bytes, kind: Kind, group: str, ring: KeyRing) -> tuple[Header, list[bytes]]:
    """A peer's file.

    Args:
        data: of the file, at most MAX_BYTES.
        kind: what it must be.
        group: trust group that it must be of.
        ring: the group's keys.

    Raises:
        BadInput: it is something else, was cut, changed or made under another key, or breaks a rule; says which.
    """
    header = claimed(data, kind)
    first, _, body = data.partition(b"\n")
    payload = body.partition(b"\n")[2]
    if header.group != group:
        raise BadInput(f"{kind}: is of another trust group than {group}")
    if header.epoch not in ring.epochs:
        raise BadInput(f"{kind}: the key of {group} for its epoch is not in intel.keys_dir")
    if not hmac.compare_digest(first[len(MAGIC) :], _seal(body, ring.of(header.epoch))):
        raise BadInput(
            f"{kind}: its seal does not fit: it was cut or changed on the way, or the other side has another key"
        )
    if len(payload) != ELEMENT_BYTES * (header.asker + header.answerer):
        raise BadInput(f"{kind}: has another length than its header says")
    elements = [payload[at : at + ELEMENT_BYTES] for at in range(0, len(payload), ELEMENT_BYTES)]
    _check(header, elements)
    return header, elements


def _check(header: Header, elements: list[bytes]) -> None:
    """What an honest side's elements always are."""
    own, asked = elements[: header.answerer], elements[header.answerer :]
    # An element that came many times would come back as many times, and be known by that in an answer without an order.
    if len(set(asked)) != len(asked):
        raise BadInput(f"{header.kind}: an element is in it twice")
    if header.kind == "offer":
        if header.answerer:
            raise BadInput("offer: its header is not as this release writes it, or breaks a bound")
        if commitment(asked) != header.commitment:
            raise BadInput("offer: its elements are not those it commits itself to")
    elif header.answerer < LEAST:
        raise BadInput(f"answer: is about fewer than {LEAST} identities")
    elif any(one >= two for one, two in itertools.pairwise(own)):
        raise BadInput("answer: its elements are not in ascending order")


def _seal(body: bytes, secret: MasterSecret) -> bytes:
    key = secret.derive("sharing/intersect/seal/1")
    return hashlib.blake2b(body, key=key, digest_size=_SEAL_DIGITS // 2).hexdigest().encode()
