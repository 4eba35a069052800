"""Profile: what is remembered about one key or organisation. Bounded, mergeable, and a pure function of its exchanges.

Counters and top-k sketches decay forward (see `sketch.decay`), so nothing happens between exchanges and an exchange that
arrives late enters with the weight its own time gives it. What the order of exchanges does decide — gaps, near-duplicates,
first sights — is decided by the order in which `update` is called, and by nothing else: batches leave no trace.

Merging two profiles is exact (up to the rounding of float addition) for counters, hours, cells, topics and first and last
times; within the stated error for top-k (N / k) and distinct counts (`sketch.distinct`); and a recency-ordered sample for
the windows.

    layout      sizes of the sketches
    state       what is remembered, and how one exchange changes it
    reading     what an answered exchange changes in the sketches
    provenance  reasoning that comes back: was it given to this entity
    joining     two profiles in one
    codec       bytes
"""

from detectors.profile.codec import PROFILE_VERSION, BadProfile, Stored
from detectors.profile.layout import DISTINCTS, REPEATS, SIGNATURES, TOPS, WINDOWS
from detectors.profile.state import Profile

__all__ = [
    "DISTINCTS",
    "PROFILE_VERSION",
    "REPEATS",
    "SIGNATURES",
    "TOPS",
    "WINDOWS",
    "BadProfile",
    "Profile",
    "Stored",
]
