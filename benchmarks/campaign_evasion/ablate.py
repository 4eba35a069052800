"""Evasions that the generator does not have, made on the traces of the keys: one channel gone, or all but one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from benchmarks.campaign_evasion.stage import Played
from detectors.campaign.channels import MARKED
from detectors.campaign.trace import MARK_DTYPE, SAMPLES, Kind, Trace
from detectors.fingerprint.hashing import digest
from detectors.pooled.rff import FEATURES

Change = Callable[[Trace], Trace]

KINDS: dict[str, tuple[Kind, ...]] = {channel.name: channel.marks for channel in MARKED}
"""Channels of shared marks → the marks they read."""

SHARED_BLOCKS = tuple(range(0x51000001, 0x51000004))
"""Blocks of reasoning that an operation brings back on all its keys, in the study."""


def without(kinds: Iterable[Kind]) -> Change:
    """Every mark of some kinds is the key's own: it is shared with nobody, so it is left out."""
    gone = [int(kind) for kind in kinds]

    def change(trace: Trace) -> Trace:
        marks = np.frombuffer(trace.marks, MARK_DTYPE)
        return msgspec.structs.replace(trace, marks=marks[~np.isin(marks["kind"], gone)].tobytes())

    return change


def only(channel: str) -> Change:
    """Nothing but what one channel of shared marks reads."""
    return without(set(Kind) - set(KINDS[channel]))


def replaying(trace: Trace) -> Trace:
    """It brings back the blocks of reasoning that the whole operation brings back."""
    blocks = np.array([(Kind.BLOCK, item, 255) for item in SHARED_BLOCKS], MARK_DTYPE)
    return msgspec.structs.replace(trace, marks=trace.marks + blocks.tobytes())


def elsewhere(pools: Sequence[bytes]) -> Change:
    """It asks about what some honest key asks about: its pool is that one's, its harvest ratios are its own.

    Args:
        pools: of honest keys; each key takes one of them by its id.
    """

    def change(trace: Trace) -> Trace:
        if not trace.pool:
            return trace
        other = pools[digest(trace.key_id) % len(pools)]
        return msgspec.structs.replace(trace, pool=other[:FEATURES] + trace.pool[FEATURES:])

    return change


def overlapping(trace: Trace) -> Trace:
    """Every fourth of its sampled contents is one of a few that all its keys ask: no partition, and no equal repeats."""
    dice = np.random.default_rng(digest(trace.key_id))
    own = dice.integers(1 << 23, 1 << 24, SAMPLES * 3 // 4)
    common = dice.integers(0, 40, SAMPLES - len(own))
    found = sorted({*own.tolist(), *common.tolist()})
    return msgspec.structs.replace(trace, contents=b"".join(item.to_bytes(3, "little") for item in found))


def changed(played: Played, *changes: Change) -> Played:
    """All traces of some keys, changed."""

    def each(traces: Iterable[Trace]) -> tuple[Trace, ...]:
        found = []
        for one in traces:
            for change in changes:
                one = change(one)
            found.append(one)
        return tuple(found)

    return msgspec.structs.replace(played, past=each(played.past), traces=each(played.traces))
