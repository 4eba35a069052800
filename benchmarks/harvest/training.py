"""The network's training: weighted logistic loss, one vote per customer and campaign, numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.harvest.exchanges import Exchanges
from detectors.fingerprint.harvest import SHAPE, WIDTH, Network

HIDDEN = 24
EPOCHS = 6
BATCH = 512
RATE = 3e-3
DECAY_SHAPE, DECAY_EMBEDDING = 1e-3, 3e-3
"""The corpora of a traffic generator are known by their topics, so what a text is about must earn its weight."""
SMOOTHING = 0.01
"""Of labels: keeps the log ratio within about ±4.6 where the classes do not overlap at all."""
SHARING = 0.6
"""A customer's weight is its exchanges to the power of 1 − SHARING, a kind's that of its customers to the same."""
SPREAD = 0.15
"""Added to each column's deviation, so that a rare flag does not become a large number."""
COMPONENT = 127.0 / 4.0
"""A component of an embedding that becomes 1."""


def weights(of: Exchanges) -> NDArray[np.float64]:
    """Of each exchange; each class sums to one half."""
    _, owner, counts = np.unique(of.owner, return_inverse=True, return_counts=True)
    out: NDArray[np.float64] = counts[owner] ** -SHARING
    _, kind = np.unique(of.kind, return_inverse=True)
    out = out / np.bincount(kind, out)[kind] ** SHARING
    for label in (False, True):
        out[of.attack == label] /= 2.0 * out[of.attack == label].sum()
    return out


def train(of: Exchanges, seed: int = 0, embedding: bool = True, noise: float = 0.0) -> Network:
    """A network fitted to exchanges by Adam with a cosine schedule; batches are drawn by weight.

    Args:
        of: what is learned from.
        seed: of the first weights and the batches.
        embedding: whether what a text is about is seen at all.
        noise: deviation of what is added to each component of an embedding at every step; 0.5 is as much as it varies by
            itself. Other corpora ask about other things.
    """
    rng = np.random.default_rng(seed)
    share = weights(of)
    shapes = len(SHAPE)
    middle, spread = np.zeros(WIDTH), np.full(WIDTH, COMPONENT if embedding else np.inf)
    middle[:shapes] = np.average(of.columns[:, :shapes], axis=0, weights=share)
    spread[:shapes] = np.sqrt(np.average((of.columns[:, :shapes] - middle[:shapes]) ** 2, axis=0, weights=share)) + SPREAD
    scaled = ((of.columns - middle) / spread).clip(-4.0, 4.0).astype(np.float32)
    decay = np.full((WIDTH, 1), DECAY_SHAPE)
    decay[shapes:] = DECAY_EMBEDDING
    values = [
        rng.standard_normal((WIDTH, HIDDEN)) / np.sqrt(WIDTH),
        np.zeros(HIDDEN),
        0.3 * rng.standard_normal(HIDDEN),
        np.zeros(1),
    ]
    means, squares = [np.zeros_like(value) for value in values], [np.zeros_like(value) for value in values]
    up_to = np.cumsum(share) / share.sum()
    steps = EPOCHS * len(of) // BATCH
    for step in range(1, steps + 1):
        drawn = np.minimum(np.searchsorted(up_to, rng.random(BATCH)), len(of) - 1)
        seen = scaled[drawn]
        seen[:, shapes:] += rng.normal(0.0, noise if embedding else 0.0, (BATCH, WIDTH - shapes))
        target = np.where(of.attack[drawn], 1.0 - SMOOTHING, SMOOTHING)
        first, first_bias, second, second_bias = values
        before = seen @ first + first_bias
        hidden = np.maximum(before, 0.0)
        wrong = (1.0 / (1.0 + np.exp(-(hidden @ second + second_bias))) - target) / BATCH
        back = np.outer(wrong, second) * (before > 0.0)
        slopes = (
            seen.T @ back + decay * first,
            back.sum(axis=0),
            hidden.T @ wrong + DECAY_SHAPE * second,
            np.array([wrong.sum()]),
        )
        rate = RATE * 0.5 * (1.0 + np.cos(np.pi * step / steps))
        for value, slope, mean, square in zip(values, slopes, means, squares, strict=True):
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope**2 - square)
            value -= rate * (mean / (1.0 - 0.9**step)) / (np.sqrt(square / (1.0 - 0.999**step)) + 1e-8)
    first, first_bias, second, second_bias = values
    return Network(
        (first / spread[:, None]).astype(np.float32),
        (first_bias - (middle / spread) @ first).astype(np.float32),
        second.astype(np.float32),
        float(second_bias[0]),
    )
