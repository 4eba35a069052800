"""Mixture test: more of an entity's exchanges than of its peers' lie where harvesters are denser than honest customers.

Input: FeatureMatrix.pool: histograms of the harvest ratio of the last 100, 400 and 1,600 exchanges.
Output: Score in [0, 1], 1 − conformal p-value among the peers of the history. Abstains (warming_up) below 5 answered
    exchanges, and (not_applicable) below 8 exchanges with text or without a history.
Raises: nothing. Cost: about 2 µs per row in batches; 0.1 KB per peer group.
Source: likelihood ratio of a sparse mixture, and higher criticism (Donoho and Jin, Annals of Statistics 2004), over the
    bins of a shipped density ratio. We differ: the peers' histogram is the null; each peer's largest statistic calibrates.
    One side only: the ratio has a sign, and less harvest than peers is no sign of harvest.
Blind to: harvesting of a kind that the shipped ratio takes for honest; peers that all harvest.
False alarms: evaluation harnesses, auditors who ask for reasons, red teams: one by one their exchanges look like harvests.
Evasion: keep the share of harvest below what honest peers show, which costs the attacker as much cover traffic; split over
    keys, which pools of linked keys undo.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.pools import Pools, PoolScorer

NAME = "mixture"
VERSION = "1"

FEATURES = (("harvest_high_share", 0.5), ("harvest_peak_share", 0.3), ("harvest_mean", 0.2))


def make(pools: Pools | None = None, known: Percentiles | None = None) -> PoolScorer:
    """The fitted scorer; without a history it judges nobody."""
    return PoolScorer(NAME, VERSION, 1, FEATURES, pools, known)
