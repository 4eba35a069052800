"""Trace: what the linker knows of one key. At most a kilobyte, made from the key's profile, without any text.

Three things are in it. *Marks* are hashes of what the key does constantly and others may do too: its wordings, contracts,
settings, payment, network. Keys that share rare ones are candidates for a link. *Sums* are what a group is tested on as one
entity: counters, pool and account add up. *Samples* are the smallest hashes of what it asked: those of two keys show how
much they have in common.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from math import ceil

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.contract import ScoreStatus, Status, Verdict
from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint.hashing import digest
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import WIDTH
from detectors.profile import Profile
from detectors.scorers import boosted
from detectors.sketch.decay import DAY_US, WEEK
from detectors.tally import INDEX

TRACE_MAX_BYTES = 1024

MOST_MARKS = 44
LEAST_SHARE = 0.08
"""Share of a key's exchanges from which an element is a habit of it; a campaign that hides a tenth among cover has it."""

SAMPLES = 16
"""Contents sampled of a key. Two keys that share one content in ten of a pool agree in about one or two of sixteen."""

_MARK = struct.Struct("<BIB")
MARK_DTYPE = np.dtype([("kind", "u1"), ("item", "<u4"), ("share", "u1")])
"""A mark as it lies in a trace: kind, 32 bits of hash, share of the key's exchanges in 255ths."""

_GENERATED = INDEX["generated"]
_SUM_BYTES = 3
_LOW32 = 0xFFFFFFFF


class Kind(IntEnum):
    """What a mark is of."""

    SYSTEM = 1  # system prompt
    HEAD = 2  # first words of the request
    TAIL = 3  # its last words
    GRAM = 4  # a run of words near either end
    CONTRACT = 5  # form asked of the answer
    SETUP = 6  # client, model and sampling settings together
    PAYMENT = 7
    NETWORK = 8
    BLOCK = 9  # a block of reasoning that was not given to this key


class Trace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One key as of one exchange.

    Attributes:
        key_id: keyed hash of the key.
        org: its organisation, or the key itself where it belongs to none.
        at_us: event time of the newest exchange it knows of; grows from trace to trace of a key.
        first_us: of its first exchange.
        created_us: when its account was made; 0 when unknown.
        plan: of its newest exchange.
        authorised: its contract allows some use that looks like harvesting.
        level: of its own newest verdict.
        exchanges: how many it sent; refused ones count too.
        score: 1 − p-value of the scorer that ranks; −1.0 where it was not scored.
        valuable: different valuable responses it has taken.
        sums: counters of the week at `at_us`, in the order of `tally.COUNTERS`, see `packed`.
        pool: means of random Fourier features (signed bytes) and of the harvest bins (bytes); empty before any.
        pooled: exchanges behind the pool.
        account: sum of the suspicions of its valuable responses, and how many there were, see `leak`.
        marks: see `marks_of`.
        contents: the smallest SAMPLES hashes of its newest contents, 24 bits each, ascending.
        hours: the last week's active clock hours, newest lowest, and the newest hour since 1970.
        template: runs of its heaviest induced template.
        pivot: share of the last day's exchanges that went to models it had not used before.
    """

    key_id: str
    org: str
    at_us: int
    first_us: int = 0
    created_us: int = 0
    plan: str = ""
    authorised: bool = False
    level: int = 0
    exchanges: int = 0
    score: float = -1.0
    valuable: int = 0
    sums: bytes = b""
    pool: bytes = b""
    pooled: float = 0.0
    account: tuple[float, float] = (0.0, 0.0)
    marks: bytes = b""
    contents: bytes = b""
    hours: bytes = b""
    template: tuple[bytes, ...] = ()
    pivot: float = 0.0


def cast(profile: Profile, event: Event, fp: Fingerprint, exchanges: int) -> Trace:
    """The trace of a key after an exchange.

    Args:
        profile: of the key, the exchange included.
        event, fp: the exchange.
        exchanges: how many were let pass.
    """
    now_us = profile.last_at_us
    sums = (profile.week * WEEK.fade(now_us, profile.landmarks[2])).astype("<f4")
    heaviest = max(profile.templates.induced(), key=lambda template: template.weight, default=None)
    made = Trace(
        key_id=profile.entity_id,
        org=event.org_id or profile.entity_id,
        at_us=now_us,
        first_us=profile.first_at_us,
        created_us=profile.created_us,
        plan=profile.plan,
        authorised=bool(profile.authorised),
        exchanges=exchanges,
        valuable=profile.valuable_total,
        sums=packed(sums),
        pool=_pool(profile),
        pooled=profile.pool.counts[1],
        account=(profile.account.taken, profile.account.responses),
        marks=_marks(profile, event, fp),
        contents=b"".join(item.to_bytes(3, "little") for item in sorted(profile.windows["contents"].items)[:SAMPLES]),
        hours=profile.hours.bits.to_bytes(21, "little") + profile.hours.newest.to_bytes(4, "little"),
        template=() if heaviest is None else heaviest.runs,
        pivot=profile.models.share_since(now_us - DAY_US) if now_us - profile.first_at_us >= 2 * DAY_US else 0.0,
    )
    return _fitted(made)


def packed(sums: NDArray[np.float32]) -> bytes:
    """Floats of 32 bits by their upper three bytes: to one part in 65,000, which a spread from sums of squares needs."""
    return bytes(np.ascontiguousarray(sums, "<f4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes())


def unpacked(data: bytes) -> NDArray[np.float32]:
    """Inverse of `packed`, up to what it dropped; float32 of shape (n,)."""
    whole = np.zeros((len(data) // _SUM_BYTES, 4), np.uint8)
    whole[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, _SUM_BYTES)
    found: NDArray[np.float32] = whole.reshape(-1).view("<f4")
    return found


def judged(trace: Trace, verdict: Verdict) -> Trace:
    """The trace with what the verdict of the same exchange says."""
    score = -1.0
    for one in verdict.scores:
        if one.scorer == boosted.NAME and one.status is ScoreStatus.SCORED and verdict.status is Status.JUDGED:
            score = float(one.value)
    return msgspec.structs.replace(trace, level=int(verdict.level), score=score)


def marks_of(trace: Trace) -> Iterator[tuple[int, float]]:
    """(mark, share of the key's exchanges that carry it), a mark being its kind above 32 bits of hash."""
    for kind, item, share in _MARK.iter_unpack(trace.marks):
        yield kind << 32 | item, share / 255.0


def wordings(fp: Fingerprint) -> Iterator[tuple[Kind, int]]:
    """(kind, 32 bits of hash) of what one exchange has of system prompt, head, tail and contract: counted one by one."""
    for kind, item in ((Kind.SYSTEM, fp.system), (Kind.HEAD, fp.head), (Kind.TAIL, fp.tail), (Kind.CONTRACT, fp.contract)):
        if item:
            yield kind, item & _LOW32


def grams(fp: Fingerprint) -> tuple[int, ...]:
    """Items of the runs of words of one exchange; counted where one of the key's last few exchanges has the same."""
    return struct.unpack(f"<{len(fp.grams) // 4}I", fp.grams)


def setup(event: Event, parameters: int) -> int:
    """Item of the newest exchange's client and model with sampling settings that the key uses."""
    return digest(f"{event.client_digest} {event.model} {parameters}") & _LOW32


def standing(event: Event) -> Iterator[tuple[Kind, int]]:
    """(kind, item) of the payment and the network of the newest exchange, which say all of the key."""
    if event.payment_id:
        yield Kind.PAYMENT, digest(event.payment_id) & _LOW32
    if event.ip_prefix_id:
        yield Kind.NETWORK, digest(event.ip_prefix_id) & _LOW32


def quantised(share: float) -> float:
    """A share as a trace keeps it: in whole 255ths, one at least."""
    return max(1, round(255 * share)) / 255.0


def with_marks(trace: Trace, marks: Iterable[int], share: float) -> Trace:
    """The trace with these marks in at least such a share; for comparing, since it may be larger than one that is kept."""
    found = {kind << 32 | item: quantum for kind, item, quantum in _MARK.iter_unpack(trace.marks)}
    least = max(1, ceil(255 * share))
    for mark in marks:
        found[mark] = max(least, found.get(mark, 0))
    packed = b"".join(_MARK.pack(mark >> 32, mark & _LOW32, quantum) for mark, quantum in sorted(found.items()))
    return msgspec.structs.replace(trace, marks=packed)


def encode(trace: Trace) -> bytes:
    """At most TRACE_MAX_BYTES."""
    return _encoder.encode(trace)


def decode(data: bytes) -> Trace | None:
    """Inverse of `encode`; None where the bytes are no trace of this release."""
    try:
        found = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    fits = (
        len(found.marks) % _MARK.size == 0
        and len(found.sums) == _SUM_BYTES * len(INDEX)
        and len(found.pool) in {0, WIDTH}
        and len(found.contents) % 3 == 0
        and _KINDS.issuperset(found.marks[:: _MARK.size])
    )
    return found if fits else None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Trace)
_KINDS = frozenset(map(int, Kind))


def _fitted(trace: Trace) -> Trace:
    """The trace, without its template and lightest marks where a plan's long name leaves no room for them."""
    over = len(_encoder.encode(trace)) - TRACE_MAX_BYTES
    if over <= 0:
        return trace
    trace = msgspec.structs.replace(trace, template=())
    over = len(_encoder.encode(trace)) - TRACE_MAX_BYTES
    if over <= 0:
        return trace
    marks = sorted(_MARK.iter_unpack(trace.marks), key=lambda one: (-_worth(one[0], one[2]), one[:2]))
    kept = sorted(marks[: max(0, len(marks) + -over // _MARK.size)])
    return msgspec.structs.replace(trace, marks=b"".join(_MARK.pack(*one) for one in kept))


def _pool(profile: Profile) -> bytes:
    if not profile.pool.counts[1]:
        return b""
    mean = profile.pool.means[1]
    # Each feature is a cosine times √(2 / FEATURES).
    waves = np.rint(mean[:FEATURES] * (127.0 / np.sqrt(2.0 / FEATURES))).astype(np.int8)
    bins = np.rint(mean[FEATURES:] * 255.0).astype(np.uint8)
    return bytes(waves.tobytes() + bins.tobytes())


def _marks(profile: Profile, event: Event, fp: Fingerprint) -> bytes:
    """The heaviest marks, at most MOST_MARKS; of the newest exchange too while there are few."""
    found: dict[tuple[int, int], float] = {}
    whole = max(1.0, float(profile.week[_GENERATED]))
    weight = profile.week_weight(profile.last_at_us)
    for kind, name in (
        (Kind.SYSTEM, "system"),
        (Kind.HEAD, "head"),
        (Kind.TAIL, "tail"),
        (Kind.GRAM, "grams"),
        (Kind.CONTRACT, "contract"),
    ):
        top = profile.tops[name]
        for item in top.entries:
            share = min(1.0, top.floor(item) / whole)
            if share >= LEAST_SHARE:
                found[kind, item] = share
    if event.route in WRITING and weight >= LEAST_SHARE * whole:
        for gram in grams(fp):
            found.setdefault((Kind.GRAM, gram), min(1.0, weight / whole))
    settings = profile.tops["parameters"]
    for item in settings.entries:
        share = min(1.0, settings.floor(item) / whole)
        if share >= LEAST_SHARE:
            found[Kind.SETUP, setup(event, item)] = share
    for block in profile.windows["foreign"].items:
        found[Kind.BLOCK, block] = 1.0
    for kind, item in standing(event):
        found[kind, item] = 1.0
    heaviest = sorted(found.items(), key=lambda one: (-_worth(one[0][0], one[1]), one[0]))[:MOST_MARKS]
    return b"".join(_MARK.pack(kind, item, max(1, round(255 * share))) for (kind, item), share in sorted(heaviest))


def _worth(kind: int, share: float) -> float:
    return share if kind == Kind.GRAM else 1.0 + share


WRITING = frozenset({"chat", "responses", "completions", "messages"})
"""Routes whose requests have words near their ends."""
