"""A bias towards a keyed list: the green candidates' logits are raised before the token is chosen.

Every candidate is green with probability gamma, each by its own keyed number (independent lists, as in SBW, arXiv
2609.03844, in place of the permuted ones of Kirchenbauer et al. 2301.10226), so a candidate costs the same wherever it
stands in the vocabulary. The list depends on the codeword's symbol like the numbers of Gumbel sampling do. It works at
temperature zero and is learned by students more readily; it changes the distribution, so a provider opts in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.prf import uniforms
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marked


def green(profile: MarkProfile, offsets: NDArray[np.uint64], by: Marked) -> NDArray[np.bool_]:
    """Which candidates are on the list; shape (n,)."""
    return np.asarray(uniforms(by.seed, by.symbol, offsets) < profile.gamma)


def biased(
    logits: NDArray[np.floating], profile: MarkProfile, offsets: NDArray[np.uint64], by: Marked
) -> NDArray[np.floating]:
    """The candidates' logits with `delta` added to the green ones; a new array of the same shape and type."""
    made: NDArray[np.floating] = logits + green(profile, offsets, by).astype(logits.dtype) * logits.dtype.type(
        profile.delta
    )
    return made
