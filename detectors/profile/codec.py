"""A profile as bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detectors.fingerprint.script import CLASSES
from detectors.leak import Accountant
from detectors.pooled.rows import WIDTH
from detectors.profile.layout import DISTINCTS, GRAM_MEMORY, REPEATS, SIGNATURES, TOPS, WINDOWS
from detectors.sketch import sparse
from detectors.sketch.beat import Beat
from detectors.sketch.blocks import Blocks
from detectors.sketch.cells import CellMap
from detectors.sketch.chains import Chains
from detectors.sketch.clockface import HourRing
from detectors.sketch.distinct import Distinct
from detectors.sketch.models import ModelTable
from detectors.sketch.pool import Pool
from detectors.sketch.recent import RecentSet, SimilarWindow
from detectors.sketch.repeats import Repeats
from detectors.sketch.templates import Templates
from detectors.sketch.topics import Topics
from detectors.sketch.topk import SpaceSaving
from detectors.tally import COUNTERS

if TYPE_CHECKING:
    from detectors.profile.state import Profile

PROFILE_VERSION = 2
"""Raised with every change of what bytes mean; a profile of another version is not read, and its entity begins anew."""


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """The serialised form: msgpack array, numbers little-endian."""

    version: int
    entity_id: str
    kind: str
    plan: str
    created_us: int
    authorised: tuple[str, ...]
    first_at_us: int
    last_at_us: int
    landmarks: tuple[int, int, int]
    scalars: bytes
    day: bytes
    week: bytes
    languages: bytes
    tops: tuple[bytes, ...]
    distincts: tuple[bytes, ...]
    windows: tuple[bytes, ...]
    repeats: bytes
    similar: bytes
    hours: bytes
    cells: bytes
    topics: bytes
    models: bytes
    chains: bytes
    beat: bytes
    blocks: bytes
    last_grams: tuple[bytes, ...]
    pool: bytes
    account: bytes
    templates: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stored)
_SCALARS = struct.Struct("<ddq")


class BadProfile(ValueError):
    """Bytes that are no profile of this version."""


def encode(profile: Profile) -> bytes:
    """Profile → bytes."""
    return _encoder.encode(
        Stored(
            version=PROFILE_VERSION,
            entity_id=profile.entity_id,
            kind=profile.kind,
            plan=profile.plan,
            created_us=profile.created_us,
            authorised=profile.authorised,
            first_at_us=profile.first_at_us,
            last_at_us=profile.last_at_us,
            landmarks=profile.landmarks,
            scalars=_SCALARS.pack(profile.hour, profile.peak_hour, profile.first_hour),
            day=sparse.pack(profile.day),
            week=sparse.pack(profile.week),
            languages=sparse.pack(np.array(profile.languages)),
            tops=tuple(top.to_bytes() for top in profile.tops.values()),
            distincts=tuple(count.to_bytes() for count in profile.distincts.values()),
            windows=tuple(window.to_bytes() for window in profile.windows.values()),
            repeats=profile.repeats.to_bytes(),
            similar=profile.similar.to_bytes(),
            hours=profile.hours.to_bytes(),
            cells=profile.cells.to_bytes(),
            topics=profile.topics.to_bytes(),
            models=profile.models.to_bytes(),
            chains=profile.chains.to_bytes(),
            beat=profile.beat.to_bytes(),
            blocks=profile.blocks.to_bytes(),
            last_grams=tuple(profile.last_grams),
            pool=profile.pool.to_bytes(),
            account=profile.account.to_bytes(),
            templates=profile.templates.to_bytes(),
        )
    )


def decode(data: bytes) -> Stored:
    """Bytes → serialised form, of this version.

    Raises:
        BadProfile: the bytes are no profile, or one of another version.
    """
    try:
        stored = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadProfile(f"profile does not decode: {type(error).__name__}") from None
    if stored.version != PROFILE_VERSION:
        raise BadProfile(f"profile version is {stored.version}; this release reads {PROFILE_VERSION}")
    return stored


def fill(out: Profile, stored: Stored) -> None:
    """Fill an empty profile.

    Raises:
        BadProfile: a part is not of its form.
    """
    try:
        _fill(out, stored)
    except (ValueError, struct.error) as error:
        raise BadProfile(f"profile does not decode: {type(error).__name__}") from None


def _fill(out: Profile, stored: Stored) -> None:
    out.plan, out.created_us, out.authorised = stored.plan, stored.created_us, stored.authorised
    out.first_at_us, out.last_at_us, out.landmarks = stored.first_at_us, stored.last_at_us, stored.landmarks
    out.hour, out.peak_hour, out.first_hour = _SCALARS.unpack(stored.scalars)
    out.day, out.week = sparse.unpack(len(COUNTERS), stored.day), sparse.unpack(len(COUNTERS), stored.week)
    out.languages = sparse.unpack(len(CLASSES), stored.languages).tolist()
    out.tops = _named(TOPS, stored.tops, SpaceSaving)
    out.distincts = _named(DISTINCTS, stored.distincts, Distinct)
    out.windows = _named(WINDOWS, stored.windows, RecentSet)
    out.repeats = Repeats.from_bytes(REPEATS, stored.repeats)
    out.similar = SimilarWindow.from_bytes(SIGNATURES, stored.similar)
    out.hours = HourRing.from_bytes(stored.hours)
    out.cells = CellMap.from_bytes(stored.cells)
    out.topics = Topics.from_bytes(stored.topics)
    out.models = ModelTable.from_bytes(stored.models)
    out.chains = Chains.from_bytes(stored.chains)
    out.beat = Beat.from_bytes(stored.beat)
    out.blocks = Blocks.from_bytes(stored.blocks)
    out.pool = Pool.from_bytes(WIDTH, stored.pool)
    out.account = Accountant.from_bytes(stored.account)
    out.templates = Templates.from_bytes(stored.templates)
    out.last_grams = list(stored.last_grams)
    if len(out.last_grams) > GRAM_MEMORY or any(len(grams) % 4 for grams in out.last_grams):
        raise ValueError("remembered shingles have the wrong length")


def _named(sizes: dict[str, int], parts: tuple[bytes, ...], kind: Any) -> dict[str, Any]:
    return {name: kind.from_bytes(size, part) for (name, size), part in zip(sizes.items(), parts, strict=True)}
