"""Profile: what is remembered about one key or organisation. Bounded, mergeable, and a pure function of its exchanges.

Counters and top-k sketches decay forward (see `sketch.decay`), so nothing happens between exchanges and an exchange that
arrives late enters with the weight its own time gives it. What the order of exchanges does decide — gaps, near-duplicates,
first sights — is decided by the order in which `update` is called, and by nothing else: batches leave no trace.

Merging two profiles is exact (up to the rounding of float addition) for counters, hours, cells and first and last times;
within the stated error for top-k (N / k) and distinct counts (`sketch.distinct`); and a recency-ordered sample for the
windows.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec
import numpy as np

from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint.content import cell
from detectors.fingerprint.hashing import digest
from detectors.fingerprint.minhash import low_bytes
from detectors.fingerprint.record import ELICIT
from detectors.fingerprint.script import CLASSES
from detectors.leak import Accountant, suspicion
from detectors.pooled.rows import WIDTH, pool_row
from detectors.sketch.cells import CellMap
from detectors.sketch.clockface import HourRing
from detectors.sketch.decay import DAY, HOUR, HOUR_US, WEEK
from detectors.sketch.distinct import Distinct
from detectors.sketch.models import ModelTable
from detectors.sketch.pool import Pool
from detectors.sketch.recent import RecentSet, SimilarWindow
from detectors.sketch.repeats import Repeats
from detectors.sketch.topk import SpaceSaving
from detectors.tally import COUNTERS, INDEX, Seen, is_generated, is_valuable, tally

PROFILE_VERSION = 2

_LOW32 = 0xFFFFFFFF
_GENERATED = INDEX["generated"]

TOPS = {"system": 6, "head": 8, "tail": 8, "grams": 12, "contract": 6, "parameters": 8, "elicited": 12}
"""Top-k sketches and their sizes. An element that is constant in a key is met early and then counted exactly; the size
only bounds how well a minority template is seen beside k − 1 others."""

DISTINCTS = {"valuable": 128, "networks": 64, "clients": 64, "biases": 64}
WINDOWS = {"contents": 64, "refused": 32, "chains": 32}
REPEATS = 64
SIGNATURES = 32
GRAM_MEMORY = 4
"""A shingle is counted when it stood in one of the last four exchanges too: twelve new shingles per exchange would
otherwise push every constant one out of a small sketch. What makes up a share p of a key's exchanges is missed with
probability (1 − p)^4."""

CONSTANT_ELICITATIONS = 2.5
"""An elicitation is constant when one of its elements stood in at least this many recent ones: in about three or more."""

TEMPLATE_SHARE = 0.3
"""An exchange is "under a skeleton" when it carries an element that at least this share of the key's exchanges carries."""

NEAR_DUPLICATE = 0.7
"""Similarity in excess of the template's; the bound at which Self-Instruct drops its own near-duplicates."""


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
    models: bytes
    last_grams: tuple[bytes, ...]
    pool: bytes
    account: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stored)
_SCALARS = struct.Struct("<ddq")


class BadProfile(ValueError):
    """Bytes that are no profile of this version."""


class Profile:
    """Accumulator of one entity. Not thread-safe; `update` is the only thing that changes it.

    Attributes:
        entity_id: keyed hash of the key or organisation.
        kind: "key" or "org".
        plan: plan of the newest exchange that named one.
        created_us: when the account was made; 0 when unknown. For an organisation: its youngest key seen.
        authorised: uses its contract allows.
        first_at_us: time of the earliest exchange; 0 before any.
        last_at_us: time of the latest exchange.
    """

    def __init__(self, entity_id: str, kind: str) -> None:
        self.entity_id = entity_id
        self.kind = kind
        self.plan = ""
        self.created_us = 0
        self.authorised: tuple[str, ...] = ()
        self.first_at_us = 0
        self.last_at_us = 0
        self.landmarks = (0, 0, 0)  # of HOUR, DAY, WEEK
        self.hour = 0.0  # decayed requests
        self.peak_hour = 0.0  # highest decayed hourly count seen at any exchange
        self.first_hour = 0  # exchanges within an hour of the first
        self.day = np.zeros(len(COUNTERS))
        self.week = np.zeros(len(COUNTERS))
        self.languages = [0.0] * len(CLASSES)
        self.tops = {name: SpaceSaving(size) for name, size in TOPS.items()}
        self.distincts = {name: Distinct(size) for name, size in DISTINCTS.items()}
        self.windows = {name: RecentSet(size) for name, size in WINDOWS.items()}
        self.repeats = Repeats(REPEATS)
        self.similar = SimilarWindow(SIGNATURES)
        self.hours = HourRing()
        self.cells = CellMap()
        self.models = ModelTable()
        self.last_grams: list[bytes] = []
        self.pool = Pool(WIDTH)
        self.account = Accountant()

    @classmethod
    def new(cls, entity_id: str, kind: str) -> Profile:
        """An empty profile."""
        return cls(entity_id, kind)

    @property
    def valuable_total(self) -> int:
        """Estimated number of different valuable responses ever taken; never falls; standard error 7.4 % above 16."""
        return round(self.distincts["valuable"].estimate)

    @property
    def exchanges_7d(self) -> float:
        """Decayed 7-day count of answered exchanges, at the time of the last one."""
        return self.decayed("answered", self.last_at_us)

    def decayed(self, counter: str, now_us: int) -> float:
        """7-day value of a counter at a time."""
        return float(self.week[INDEX[counter]]) * WEEK.fade(now_us, self.landmarks[2])

    # ------------------------------------------------------------------ update

    def update(self, event: Event, fp: Fingerprint) -> None:
        """Count one exchange."""
        at = event.at_us
        self._describe(event)
        late = at < self.last_at_us
        # A retry of the SDK is the same request again; its gap is the SDK's back-off, not the customer's rhythm.
        seen = Seen(gap_us=at - self.last_at_us if self.first_at_us and not late and not event.retry_count else None)
        self.first_at_us = min(self.first_at_us or at, at)
        self.last_at_us = max(self.last_at_us, at)
        self._advance(at)
        weight = WEEK.weight(at, self.landmarks[2])

        self.hours.mark(at // HOUR_US)
        if at - self.first_at_us < HOUR_US:
            self.first_hour += 1
        self.hour += HOUR.weight(at, self.landmarks[0])
        self.peak_hour = max(self.peak_hour, self.hour * HOUR.fade(self.last_at_us, self.landmarks[0]))

        if is_generated(event):
            self._content(event, fp, seen, weight)
        if event.ip_prefix_id:
            self.distincts["networks"].add(digest(event.ip_prefix_id))
        if event.client_digest:
            self.distincts["clients"].add(event.client_digest)

        increments = np.array(tally(event, fp, seen), np.float64)
        self.day += increments * DAY.weight(at, self.landmarks[1])
        self.week += increments * weight

    def _describe(self, event: Event) -> None:
        if event.plan:
            self.plan = event.plan
        if event.key_created_us is not None:
            self.created_us = event.key_created_us if self.kind == "key" else max(self.created_us, event.key_created_us)
        if event.authorised != self.authorised:
            self.authorised = event.authorised

    def _advance(self, at_us: int) -> None:
        """Move every sum to the landmarks of a time; nothing to do in all but one of many thousand exchanges."""
        hour, day, week = HOUR.landmark(at_us), DAY.landmark(at_us), WEEK.landmark(at_us)
        if hour <= self.landmarks[0] and day <= self.landmarks[1] and week <= self.landmarks[2]:
            return
        old = self.landmarks
        new = (max(hour, old[0]), max(day, old[1]), max(week, old[2]))
        self.landmarks = new
        self.hour *= HOUR.shift(old[0], new[0])
        self.day *= DAY.shift(old[1], new[1])
        factor = WEEK.shift(old[2], new[2])
        if factor != 1.0:
            self.week *= factor
            self.languages = [value * factor for value in self.languages]
            for top in self.tops.values():
                top.scale(factor)
            self.repeats.scale(factor)
        self.models.scale(DAY.shift(old[1], new[1]))

    def _content(self, event: Event, fp: Fingerprint, seen: Seen, weight: float) -> None:
        elements = {"system": fp.system & _LOW32, "head": fp.head & _LOW32, "tail": fp.tail & _LOW32}
        constant = self._constant_grams(fp.grams)
        tops = self.tops
        enough = TEMPLATE_SHARE * float(self.week[_GENERATED])
        for name, item in elements.items():
            if item:
                top = tops[name]
                seen.templated = seen.templated or top.floor(item) >= enough > 0.0
                top.add(item, weight)
        for gram in constant:
            seen.templated = seen.templated or tops["grams"].floor(gram) >= enough > 0.0
            tops["grams"].add(gram, weight)
        if fp.contract:
            tops["contract"].add(fp.contract & _LOW32, weight)
        tops["parameters"].add(_parameters(event), weight)
        if fp.intents & ELICIT:
            # Salted by kind through different bits of the hashes: a head must not meet a tail of the same words.
            most = CONSTANT_ELICITATIONS * weight
            for item in (
                fp.system >> 32,
                (fp.head >> 16) & _LOW32,
                (fp.tail >> 24) & _LOW32,
                (fp.contract >> 8) & _LOW32,
                *constant,
            ):
                if item:
                    seen.constant_elicitation = seen.constant_elicitation or tops["elicited"].floor(item) >= most
                    tops["elicited"].add(item, weight)
        self.languages[fp.language] += weight
        self.models.add(event.model, event.at_us, DAY.weight(event.at_us, self.landmarks[1]))

        if event.retry_count:
            return
        request = (event.chain_digest or event.user_digest or fp.content) & _LOW32
        repeated = self.repeats.see(request, weight) > 1 if request else False
        if event.chain_digest:
            seen.continued = (
                (event.prefix_digest & _LOW32) in self.windows["chains"].items if event.prefix_digest else False
            )
            self.windows["chains"].see(event.chain_digest & _LOW32)
        if fp.embedding:
            self.pool.add(pool_row(fp.embedding, fp.harvest))
        if fp.tokens:
            seen.novel = not self.windows["contents"].see(fp.content & _LOW32)
            seen.fresh_cell = self.cells.visit(cell(fp.simhash), event.at_us)
        if fp.minhash and not repeated:
            signature = low_bytes(fp.minhash)
            seen.near_duplicate = self.similar.excess(signature) >= NEAR_DUPLICATE
            self.similar.push(signature)
        if event.refusal:
            skeleton = (fp.head ^ fp.tail ^ fp.system) & _LOW32
            seen.new_refused_skeleton = not self.windows["refused"].see(skeleton)
        if event.logit_bias_digest:
            self.distincts["biases"].add(event.logit_bias_digest)
        if is_valuable(event):
            self.distincts["valuable"].add(event.chain_digest or event.user_digest or fp.content or digest(event.event_id))
            if not repeated and fp.tokens:
                self.account.add(suspicion(fp.harvest))

    def _constant_grams(self, grams: bytes) -> tuple[int, ...]:
        """Shingles of this exchange that one of the last few also had."""
        mine = struct.unpack(f"<{len(grams) // 4}I", grams)
        known = b"".join(self.last_grams)
        recent = set(struct.unpack(f"<{len(known) // 4}I", known))
        if grams:
            self.last_grams = [*self.last_grams[1 - GRAM_MEMORY :], grams] if self.last_grams else [grams]
        return tuple(gram for gram in mine if gram in recent)

    # ------------------------------------------------------------------- merge

    def merge(self, other: Profile) -> Profile:
        """The profile of both entities' exchanges, under this one's name. Neither input changes."""
        out = Profile(self.entity_id, self.kind)
        if not other.first_at_us or not self.first_at_us:
            kept = Profile.from_bytes((self if self.first_at_us else other).to_bytes())
            kept.entity_id, kept.kind = self.entity_id, self.kind
            return kept
        a, b = Profile.from_bytes(self.to_bytes()), Profile.from_bytes(other.to_bytes())
        newest = max(a.last_at_us, b.last_at_us)
        a._advance(newest)
        b._advance(newest)
        # Ties are broken by what is taken over, so that the result does not depend on which of the two was asked.
        a_first = (a.last_at_us, a.plan, a.authorised, a.last_grams) >= (b.last_at_us, b.plan, b.authorised, b.last_grams)
        later, earlier = (a, b) if a_first else (b, a)
        out.plan = later.plan or earlier.plan
        out.created_us = max(a.created_us, b.created_us)
        out.authorised = later.authorised
        out.first_at_us, out.last_at_us = min(a.first_at_us, b.first_at_us), newest
        out.landmarks = a.landmarks
        out.hour = a.hour + b.hour
        out.peak_hour = max(a.peak_hour, b.peak_hour, out.hour * HOUR.fade(newest, out.landmarks[0]))
        close = abs(a.first_at_us - b.first_at_us) < HOUR_US
        out.first_hour = a.first_hour + b.first_hour if close else min((a, b), key=lambda p: p.first_at_us).first_hour
        out.day = a.day + b.day
        out.week = a.week + b.week
        out.languages = [x + y for x, y in zip(a.languages, b.languages, strict=True)]
        out.tops = {name: top.merged(b.tops[name]) for name, top in a.tops.items()}
        out.distincts = {name: count.merged(b.distincts[name]) for name, count in a.distincts.items()}
        out.windows = {name: window.merged(b.windows[name]) for name, window in a.windows.items()}
        out.repeats = a.repeats.merged(b.repeats, WEEK.weight(newest, out.landmarks[2]))
        out.similar = a.similar.merged(b.similar)
        out.hours = a.hours.merged(b.hours)
        out.cells = a.cells.merged(b.cells)
        out.models = a.models.merged(b.models)
        out.last_grams = later.last_grams
        out.pool = a.pool.merged(b.pool)
        out.account = a.account.merged(b.account)
        return out

    # ------------------------------------------------------------------- codec

    def to_bytes(self) -> bytes:
        """Versioned msgpack. `from_bytes(p.to_bytes()).to_bytes() == p.to_bytes()`, and both go on alike."""
        return _encoder.encode(
            Stored(
                version=PROFILE_VERSION,
                entity_id=self.entity_id,
                kind=self.kind,
                plan=self.plan,
                created_us=self.created_us,
                authorised=self.authorised,
                first_at_us=self.first_at_us,
                last_at_us=self.last_at_us,
                landmarks=self.landmarks,
                scalars=_SCALARS.pack(self.hour, self.peak_hour, self.first_hour),
                day=self.day.astype("<f8").tobytes(),
                week=self.week.astype("<f8").tobytes(),
                languages=struct.pack(f"<{len(CLASSES)}d", *self.languages),
                tops=tuple(top.to_bytes() for top in self.tops.values()),
                distincts=tuple(count.to_bytes() for count in self.distincts.values()),
                windows=tuple(window.to_bytes() for window in self.windows.values()),
                repeats=self.repeats.to_bytes(),
                similar=self.similar.to_bytes(),
                hours=self.hours.to_bytes(),
                cells=self.cells.to_bytes(),
                models=self.models.to_bytes(),
                last_grams=tuple(self.last_grams),
                pool=self.pool.to_bytes(),
                account=self.account.to_bytes(),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Inverse of `to_bytes`.

        Raises:
            BadProfile: the bytes are no profile, or one of another version.
        """
        try:
            stored = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadProfile(f"profile does not decode: {type(error).__name__}") from None
        if stored.version != PROFILE_VERSION:
            raise BadProfile(f"profile version is {stored.version}; this release reads {PROFILE_VERSION}")
        try:
            return cls._restored(stored)
        except (ValueError, struct.error) as error:
            raise BadProfile(f"profile does not decode: {type(error).__name__}") from None

    @classmethod
    def _restored(cls, stored: Stored) -> Profile:
        out = cls(stored.entity_id, stored.kind)
        out.plan, out.created_us, out.authorised = stored.plan, stored.created_us, stored.authorised
        out.first_at_us, out.last_at_us, out.landmarks = stored.first_at_us, stored.last_at_us, stored.landmarks
        out.hour, out.peak_hour, out.first_hour = _SCALARS.unpack(stored.scalars)
        out.day, out.week = _floats(stored.day), _floats(stored.week)
        out.languages = list(struct.unpack(f"<{len(CLASSES)}d", stored.languages))
        out.tops = _named(TOPS, stored.tops, SpaceSaving)
        out.distincts = _named(DISTINCTS, stored.distincts, Distinct)
        out.windows = _named(WINDOWS, stored.windows, RecentSet)
        out.repeats = Repeats.from_bytes(REPEATS, stored.repeats)
        out.similar = SimilarWindow.from_bytes(SIGNATURES, stored.similar)
        out.hours = HourRing.from_bytes(stored.hours)
        out.cells = CellMap.from_bytes(stored.cells)
        out.models = ModelTable.from_bytes(stored.models)
        out.pool = Pool.from_bytes(WIDTH, stored.pool)
        out.account = Accountant.from_bytes(stored.account)
        out.last_grams = list(stored.last_grams)
        if len(out.last_grams) > GRAM_MEMORY or any(len(grams) % 4 for grams in out.last_grams):
            raise ValueError("remembered shingles have the wrong length")
        return out


def _named(sizes: dict[str, int], parts: tuple[bytes, ...], kind: Any) -> dict[str, Any]:
    return {name: kind.from_bytes(size, part) for (name, size), part in zip(sizes.items(), parts, strict=True)}


def _floats(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if len(data) != 8 * len(COUNTERS):
        raise ValueError("counters have the wrong length")
    return np.frombuffer(data, "<f8").astype(np.float64)


def _parameters(event: Event) -> int:
    """Hash of the sampling settings; max_tokens by octave, since many clients compute it from the input."""
    octave = math.frexp(event.max_tokens)[1] if event.max_tokens else 0
    values = (
        event.temperature,
        event.top_p,
        event.n,
        octave,
        event.top_logprobs,
        event.response_format,
        event.reasoning_effort,
    )
    return digest(repr(values)) & _LOW32
