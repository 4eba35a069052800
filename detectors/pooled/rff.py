"""Random Fourier features: a kernel mean that can be added up.

The maximum mean discrepancy (Gretton et al., JMLR 2012) between two sets is the distance of their mean embeddings in the
space of a kernel. Rahimi and Recht (NIPS 2007) approximate that space by cosines of random projections, so the mean of a
set is a vector of fixed length, and the mean of a union is the weighted mean: a key, an organisation, a campaign or a
network is tested without touching a text again.

The kernel is the mean of four Gaussians at {½, 1, 2, 4} times the median distance, as in arXiv 2606.05725. Distances
between unit vectors of unrelated texts lie near √2, whatever the corpus, so the median distance is a constant here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.fingerprint.embedding import DIMENSIONS

FEATURES = 64
"""Sixteen a bandwidth. A pool keeps one float for each at every scale, and there may be a million pools."""
MEDIAN_DISTANCE = 1.3
"""Of two unit vectors of one customer's traffic; unrelated ones are √2 apart. A bandwidth, no threshold."""

BANDWIDTHS = (0.5, 1.0, 2.0, 4.0)
_SEED = 0x5711

_random = np.random.default_rng(_SEED)
_widths = np.repeat(MEDIAN_DISTANCE * np.array(BANDWIDTHS), FEATURES // len(BANDWIDTHS))
FREQUENCIES: NDArray[np.float32] = (_random.standard_normal((DIMENSIONS, FEATURES)) / _widths).astype(np.float32)
PHASES: NDArray[np.float32] = _random.uniform(0.0, 2.0 * np.pi, FEATURES).astype(np.float32)
_SCALE = np.float32(np.sqrt(2.0 / FEATURES))


def features(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """φ of unit embeddings, shape (…, 64) → (…, FEATURES); φ(x)·φ(y) is about the kernel of x and y."""
    out: NDArray[np.float32] = _SCALE * np.cos(embeddings @ FREQUENCIES + PHASES)
    return out


def discrepancy(
    mean: NDArray[np.float32], count: NDArray[np.float64], other: NDArray[np.float32], other_count: float
) -> NDArray[np.float64]:
    """Unbiased squared MMD of pools against one, from means and counts.

    ‖φ‖² is 1 on average (its mean over phases), which is what the diagonal of each block is corrected by.

    Args:
        mean: float32 of shape (n, FEATURES); count: of shape (n,), exchanges behind each, at least 2.
        other: float32 of shape (FEATURES,); other_count: exchanges behind it, at least 2.
    """
    within = (np.einsum("nf,nf->n", mean, mean, dtype=np.float64) * count - 1.0) / (count - 1.0)
    other_within = (float(other @ other) * other_count - 1.0) / (other_count - 1.0)
    found: NDArray[np.float64] = within + other_within - 2.0 * (mean @ other).astype(np.float64)
    return found
