"""Pooled mean test: what an entity asks about lies elsewhere than its peers' exchanges, at the clearest of three scales.

Input: FeatureMatrix.pool: means of random Fourier features of the last 100, 400 and 1,600 exchanges.
Output: Score in [0, 1], 1 − conformal p-value among the peers of the history. Abstains (warming_up) below 5 answered
    exchanges, and (not_applicable) below 8 exchanges with text or without a history.
Raises: nothing. Cost: about 2 µs per row in batches; 0.3 KB per peer group and 17 KB in all.
Source: arXiv 2606.05725 (MMD with random Fourier features, Rahimi and Recht, NIPS 2007). We differ: the reference is the
    peer group; a difference counts in units of what peers differ by; the null is the peers' own statistic at a like number
    of exchanges.
Blind to: a harvest as broad as its peers' traffic; a small share of harvest. It is one test among several.
False alarms: a product about something that no peer asks about.
Evasion: ask about what peers ask about, or mix it with cover traffic: power falls with the square of the share.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.pools import Pools, PoolScorer

NAME = "pooled"
VERSION = "1"


def make(pools: Pools | None = None, known: Percentiles | None = None) -> PoolScorer:
    """The fitted scorer; without a history it judges nobody."""
    return PoolScorer(NAME, VERSION, 0, (("topic_spread", 1.0),), pools, known)
