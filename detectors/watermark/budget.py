"""How much evidence a token is expected to carry, known before anybody looks for it.

With p the probability of the chosen token, its keyed number is Beta(1/p, 1), so its score −ln(1 − u) has the expectation
of a harmonic number, H(1/p) = ψ(1/p + 1) + γ, where an innocent key has 1. What a token is expected to add is therefore
Σ p H(1/p) − 1: nothing where the next token is certain, about 0.58 at one bit of entropy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma


def expected_excess(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected score above an innocent's, in nats, per token.

    Args:
        probabilities: float64 of shape (…, candidates), each row adding up to one; a zero counts for nothing.

    Returns:
        float64 of shape (…,), not negative.
    """
    safe = np.maximum(probabilities, 1e-300)
    return np.asarray((probabilities * (digamma(1.0 / safe + 1.0) + np.euler_gamma)).sum(axis=-1) - 1.0)


def expected_square(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected square of a token's score, for its variance; shapes as for `expected_excess`."""
    safe = np.maximum(probabilities, 1e-300)
    mean = digamma(1.0 / safe + 1.0) + np.euler_gamma
    variance = np.pi**2 / 6.0 - polygamma(1, 1.0 / safe + 1.0)
    return np.asarray((probabilities * (mean * mean + variance)).sum(axis=-1))
