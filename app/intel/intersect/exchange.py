"""The steps of both sides: tokens → files, files → what is common. Nothing is read, written or recorded here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import msgspec

from app.errors import BadInput
from app.intel.intersect import curve
from app.intel.intersect.curve import Answered, Told
from app.intel.intersect.session import Session
from app.intel.intersect.wire import Header, commitment, sealed
from detectors.watermark.keys import MasterSecret

_OTHERS = "accounts: are others than those that the run began with"


def begun(
    tokens: Mapping[str, str], group: str, epoch: str, peer: str, secret: MasterSecret, told: Told
) -> tuple[Session, bytes]:
    """A new run of the asker, and its first offer, about the size.

    Args:
        tokens: of `identities.tokens`.
        group, epoch: of the key that the tokens were made with.
        peer: who is asked.
        secret: of the group in the epoch.
        told: progress, over the tokens.
    """
    key = curve.new_key()
    elements = curve.blinded(key, list(tokens), told)
    session = Session(uuid.uuid4().hex, group, epoch, peer, key.hex(), len(elements), commitment(elements))
    return session, _offer(session, elements, False, secret)


def asked(session: Session, tokens: Mapping[str, str], secret: MasterSecret, told: Told) -> bytes:
    """The second offer of a run, about the members of the very same set.

    Raises:
        BadInput: the size is not known yet, or the set is another one.
    """
    if session.size is None:
        raise BadInput(f"run {session.run}: read the answer about the size first: stillwatch intel intersect cardinality")
    elements = curve.blinded(bytes.fromhex(session.key), list(tokens), told)
    if commitment(elements) != session.commitment:
        raise BadInput(_OTHERS)
    return _offer(session, elements, True, secret)


def answer(header: Header, elements: Sequence[bytes], tokens: Mapping[str, str], secret: MasterSecret, told: Told) -> bytes:
    """The answer to an offer that was opened; of members or of the size alone, as the offer asks.

    Raises:
        BadInput: an element is no point of the curve.
    """
    made = curve.answered(elements, list(tokens), header.reveals, told)
    answering = msgspec.structs.replace(header, kind="answer", answerer=len(made.own))
    return sealed(answering, [*made.own, *made.twice], secret)


def size(session: Session, header: Header, elements: Sequence[bytes], told: Told) -> int:
    """How many are common, from the answer to the first offer.

    Raises:
        BadInput: it is the answer to something else.
    """
    return len(_common(session, header, elements, False, told))


def members(
    session: Session, header: Header, elements: Sequence[bytes], tokens: Mapping[str, str], told: Told
) -> dict[str, str]:
    """Which are common, from the answer to the second offer: token → account as the asker wrote it.

    Raises:
        BadInput: it is the answer to something else, or the set is another one, or of another size than was told first.
    """
    if commitment(curve.blinded(bytes.fromhex(session.key), list(tokens), told)) != session.commitment:
        raise BadInput(_OTHERS)
    places = _common(session, header, elements, True, told)
    if len(places) != session.size:
        raise BadInput(f"answer: has {len(places):,} in common, and the one about the size had {session.size}")
    ordered = list(tokens.items())
    return dict(ordered[place] for place in places)


def _offer(session: Session, elements: Sequence[bytes], reveals: bool, secret: MasterSecret) -> bytes:
    header = Header("offer", session.run, session.group, session.epoch, reveals, session.asker, 0, session.commitment)
    return sealed(header, elements, secret)


def _common(session: Session, header: Header, elements: Sequence[bytes], reveals: bool, told: Told) -> list[int]:
    if (header.run, header.commitment, header.asker, header.epoch) != (
        session.run,
        session.commitment,
        session.asker,
        session.epoch,
    ):
        raise BadInput("answer: is to another offer")
    if header.reveals != reveals:
        raise BadInput("answer: " + ("is about the size alone" if reveals else "tells members; read it with reveal"))
    found = Answered(list(elements[: header.answerer]), list(elements[header.answerer :]))
    return curve.common(bytes.fromhex(session.key), found, told)
