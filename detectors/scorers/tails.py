"""Sum of surprises: how many harvest features lie far out on their suspicious side, among peers, at once.

Input: FeatureMatrix, catalogue 2; the features of `surprise.HARVEST`.
Output: Score in [0, 1], 1 − conformal p-value among the peers of the history. Abstains (warming_up) below 5 answered
    exchanges, and (not_applicable) where no peer group of the entity is known.
Raises: nothing. Cost: under 2 µs per row in bulk; 46 KB of quantiles per peer group, none per entity.
Source: ECOD (Li et al., TKDE 2022) with empirical tails. We differ: one tail per feature, the one on which harvesting lies,
    instead of the larger of both; tails within the peer group; one vote per organisation; calibration instead of a raw sum.
Blind to: a harvest that looks like a product on every axis (many turns, cover traffic, old accounts); what only many keys
    together show.
False alarms: aggregators, unregistered evaluation harnesses, the first users of a new kind of product.
Evasion: each feature can be moved at the cost stated in its catalogue entry; the sum needs most of them moved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.calibrate import Conformal
from detectors.reference import Reference
from detectors.scorers.masks import summed
from detectors.scorers.peer import PeerScorer
from detectors.scorers.surprise import HARVEST

NAME = "tails"
VERSION = "2"


def statistic(surprises: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of every row's surprises, feature after feature."""
    return summed(surprises)


def make(reference: Reference, conformal: Conformal) -> PeerScorer:
    """The fitted scorer."""
    return PeerScorer(NAME, VERSION, reference, conformal, statistic, monotone_in=HARVEST)
