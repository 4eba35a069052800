"""The newest trace of every key, and the columns that a pass reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.trace import MARK_DTYPE, Trace
from detectors.contract import Level
from detectors.fingerprint.hashing import digest
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import BIN_CENTRES, BINS, WIDTH
from detectors.sketch.decay import DAY_US

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SETTLED_US = 2 * DAY_US
"""Age of key and account from which a key says what is usual."""

KAPPA = 0.15
"""Of the calibrator κ·p^(κ−1), which turns a p-value into an e-value (Vovk and Wang, Annals of Statistics 2021)."""
RAREST_P = 1e-3

EARLY, EARLY_MOST = 0.25, 1.5
"""A key that is not scored yet has this part of its summed log density ratio for heat, and no more than so much: its few
exchanges are not independent of each other."""

WARM = -0.3
"""Heat from which a key that changed is a reason for a pass: a score of 0.84, or few exchanges that tell nothing."""

UNREAD = -0.5
"""Heat of a key that is not scored and wrote nothing: most such keys are honest."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The fleet at one pass: n keys in an order that depends on their ids alone, m marks.

    Attributes:
        traces: of each key.
        org: number of its organisation, int64 of shape (n,).
        heat: natural logarithm of an e-value against "this key is an honest customer", float64 of shape (n,).
        settled: whether it says what is usual, bool of shape (n,).
        marks: uint64 of shape (m,); owner: key of each, int64 of shape (m,).
    """

    traces: Sequence[Trace]
    org: Ints
    heat: Floats
    settled: NDArray[np.bool_]
    marks: NDArray[np.uint64]
    owner: Ints


class Fleet:
    """Newest traces by key; contracted uses are left out, they are nobody's campaign.

    Attributes:
        traces: key id → trace.
    """

    def __init__(self) -> None:
        self.traces: dict[str, Trace] = {}

    def take(self, traces: Iterable[Trace]) -> list[str]:
        """Puts in newer traces; returns the ids of keys that changed."""
        changed = []
        for trace in traces:
            known = self.traces.get(trace.key_id)
            if known is not None and (known.at_us, known.exchanges) > (trace.at_us, trace.exchanges):
                continue
            self.traces[trace.key_id] = trace
            changed.append(trace.key_id)
        return changed

    def forget(self, key_ids: Iterable[str]) -> None:
        """Takes keys out."""
        for key_id in key_ids:
            self.traces.pop(key_id, None)

    def columns(self, now_us: int) -> Columns:
        """What a pass at a time reads."""
        held = [trace for trace in self.traces.values() if not trace.authorised]
        order = np.argsort(np.fromiter((digest(trace.key_id) for trace in held), np.uint64, len(held)), kind="stable")
        traces = [held[at] for at in order.tolist()]
        numbers: dict[str, int] = {}
        org = np.fromiter((numbers.setdefault(trace.org, len(numbers)) for trace in traces), np.int64, len(traces))
        raw = np.frombuffer(b"".join(trace.marks for trace in traces), MARK_DTYPE)
        count = np.fromiter((len(trace.marks) for trace in traces), np.int64, len(traces)) // MARK_DTYPE.itemsize
        marks = raw["kind"].astype(np.uint64) << np.uint64(32) | raw["item"]
        begun = np.fromiter((max(trace.first_us, trace.created_us) for trace in traces), np.int64, len(traces))
        level = np.fromiter((trace.level for trace in traces), np.int64, len(traces))
        warmth = heat(traces)
        # Who looks like a harvester does not say what is usual, however old the account.
        settled = (now_us - begun >= SETTLED_US) & (level < int(Level.SUSPECT)) & (warmth < 0.0)
        return Columns(traces, org, warmth, settled, marks, np.repeat(np.arange(len(traces)), count))


def heat(traces: Sequence[Trace]) -> Floats:
    """Of each key: from its score where it has one, else from the little it has asked."""
    score = np.fromiter((trace.score for trace in traces), np.float64, len(traces))
    found: Floats = np.log(KAPPA) + (KAPPA - 1.0) * np.log(np.clip(1.0 - score, RAREST_P, 1.0))
    count = np.fromiter((trace.pooled for trace in traces), np.float32, len(traces))
    # The bins alone: the waves are most of a pool, and heat does not read them.
    raw = b"".join(trace.pool[FEATURES:] or bytes(BINS) for trace in traces)
    bins = np.frombuffer(raw, np.uint8).reshape(len(traces), BINS).astype(np.float32) / np.float32(255.0)
    asked = np.clip(EARLY * count * (bins @ BIN_CENTRES), -EARLY_MOST, EARLY_MOST)
    return np.where(score >= 0.0, found, np.where(count > 0.0, asked, UNREAD)).astype(np.float64)


def pools(traces: Sequence[Trace]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Exchanges behind each pool, of shape (n,), and means, of shape (n, WIDTH); zeros for a key without."""
    raw = b"".join(trace.pool or bytes(WIDTH) for trace in traces)
    data = np.frombuffer(raw, np.uint8).reshape(len(traces), WIDTH)
    waves = data[:, :FEATURES].view(np.int8).astype(np.float32) * np.float32(np.sqrt(2.0 / FEATURES) / 127.0)
    bins = data[:, FEATURES:].astype(np.float32) / np.float32(255.0)
    counts = np.fromiter((trace.pooled for trace in traces), np.float32, len(traces))
    return counts, np.hstack([waves, bins])
