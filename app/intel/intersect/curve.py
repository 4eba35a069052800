"""Blinding and comparing, by openmined-psi: ECDH on P-256 with SHA-256 as its hash to the curve.

Of the structures that the library can send the answerer's set in, this takes the plain one. It is exact; Golomb sets and
Bloom filters are six times smaller and sometimes call a stranger common (the library's own bound on that is per run, not
per account), and their decoders would read numbers that the peer chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from app.errors import BadInput, ConfigError
from app.intel.intersect.bounds import SLICE

T = TypeVar("T")

Told = Callable[[int], None]
"""Called with the identities that were worked on since the last call."""

_NEEDS = "private matching needs the extra `intersect`: pip install 'stillwatch[intersect]'"


class Answered(NamedTuple):
    """What the answerer computes.

    Attributes:
        own: its set, blinded by it alone, in ascending order.
        twice: the asker's elements, blinded by both: in the asker's order where members are asked for, else ascending.
    """

    own: list[bytes]
    twice: list[bytes]


def library() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import private_set_intersection.python as found
    except ImportError:
        raise ConfigError(_NEEDS) from None
    return found


def new_key() -> bytes:
    """A blinding key of 32 bytes, by the library's own random numbers."""
    key: bytes = library().client.CreateWithNewKey(False).GetPrivateKeyBytes()
    return key


def blinded(key: bytes, tokens: Sequence[str], told: Told) -> list[bytes]:
    """Each token as a point only the key's owner can make, in the order of the tokens."""
    client = library().client.CreateFromKey(key, False)
    found: list[bytes] = []
    for some in _slices(tokens):
        found += client.CreateRequest(list(some)).encrypted_elements
        told(len(some))
    return found


def answered(elements: Sequence[bytes], tokens: Sequence[str], reveals: bool, told: Told) -> Answered:
    """Under a key that is made for this and forgotten.

    Args:
        elements: of the asker's offer.
        tokens: the answerer's own.
        reveals: whether the asker may learn which are common, and not only how many.
        told: progress, over elements and tokens together.

    Raises:
        BadInput: an element is no point of the curve.
    """
    psi = library()
    server = psi.server.CreateWithNewKey(reveals)
    own: list[bytes] = []
    for some in _slices(tokens):
        made = server.CreateSetupMessage(0.5, len(elements), list(some), psi.DataStructure.RAW)  # the plain one ignores 0.5
        own += made.raw.encrypted_elements
        told(len(some))
    twice: list[bytes] = []
    for few in _slices(elements):
        request = psi.Request(reveal_intersection=reveals, encrypted_elements=few)
        try:
            twice += server.ProcessRequest(request).encrypted_elements
        except RuntimeError:
            raise BadInput("offer: an element is no point of the curve") from None
        told(len(few))
    # The library sorts a slice; the order of all of them would still tell which slice a common one was in.
    return Answered(sorted(own), twice if reveals else sorted(twice))


def common(key: bytes, answer: Answered, told: Told) -> list[int]:
    """Places in `answer.twice` of what both sides have. Where the size alone was asked for they say nothing else.

    Raises:
        BadInput: an element is no point of the curve.
    """
    psi = library()
    client = psi.client.CreateFromKey(key, True)
    setup = psi.ServerSetup(raw=psi.ServerSetup.RawInfo(encrypted_elements=answer.own))
    found: list[int] = []
    # Slices here are larger: with each of them the library reads the whole of the other side's set again.
    for first in range(0, len(answer.twice), 8 * SLICE):
        few = answer.twice[first : first + 8 * SLICE]
        try:
            places = client.GetIntersection(setup, psi.Response(encrypted_elements=few))
        except RuntimeError:
            raise BadInput("answer: an element is no point of the curve") from None
        found += sorted(first + place for place in places)
        told(len(few))
    return found


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), SLICE):
        yield items[first : first + SLICE]
