"""Isolation forest over surprises: combinations of suspicious features that no peer shows, even when none is extreme alone.

Input: FeatureMatrix, catalogue 2; the features of `surprise.HARVEST`.
Output: Score in [0, 1], 1 − conformal p-value among the peers of the history. Abstains (warming_up) below 5 answered
    exchanges, and (not_applicable) where no peer group of the entity is known.
Raises: nothing. Cost: under 2 µs per row in bulk; some 500 KB of trees, none per entity.
Source: Isolation Forest (Liu, Ting, Zhou 2008; scikit-learn). We differ: the input is one-sided surprise within the peer
    group, so that being odd on the harmless side isolates nothing; calibration instead of a contamination parameter.
Blind to: what resembles a rare but honest workload of the history; a campaign that looks ordinary key by key.
False alarms: aggregators, retrieval back-fills, agents with unusual tools.
Evasion: stay within the range of peers on most features.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from detectors.calibrate import Conformal
from detectors.reference import Reference
from detectors.scorers.forest import Forest
from detectors.scorers.peer import PeerScorer

NAME = "isolation"
VERSION = "2"


BULK = log(2.0)
"""Surprises up to that of the median peer are all the same: else the rarest row of all would be the one that surprises in
nothing, and an entity that is odd on the harmless side of everything would be isolated."""


def excess(surprises: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the forest sees of surprises."""
    return np.maximum(surprises - BULK, 0.0)


def make(reference: Reference, forest: Forest, conformal: Conformal) -> PeerScorer:
    """The fitted scorer."""
    return PeerScorer(NAME, VERSION, reference, conformal, lambda found: forest.isolations(excess(found)))
