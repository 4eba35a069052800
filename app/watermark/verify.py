"""One text against one key that was suspected before the text was looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.watermark.chances import odds
from detectors.watermark.conditional import ConditionalNull
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import Seen
from detectors.watermark.single import test

SHOWN = -3.0
"""Logarithm of the p-value from which a mark is said to show: of one text and one key, one chance in a thousand."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What the text says about the key.

    Attributes:
        tokens: of the text.
        ngrams: scored, each once.
        model_ngrams: of them, on the channel that all keys share.
        log10_model: the p-value of that channel alone: is it our model's at all.
        log10_together: of that channel and the key's own symbols together, the exact tail of their sum: the text has
            nothing to do with our model or this key.
        log10_key: of the key's symbols against the other symbols at the same positions, given the text: only this one
            tells this key from another of ours.
    """

    tokens: int
    ngrams: int
    model_ngrams: int
    log10_model: float
    log10_together: float
    log10_key: float

    @property
    def through_key(self) -> bool:
        """The key's mark shows."""
        return self.log10_key <= SHOWN

    @property
    def log10_ours(self) -> float:
        """Of the two tests whether it is our model's, twice the smaller p-value."""
        return min(0.0, min(self.log10_model, self.log10_together) + math.log10(2.0))

    @property
    def ours(self) -> bool:
        """The model's mark shows."""
        return self.log10_ours <= SHOWN

    def said(self, tenant: str) -> str:
        """What it means, in sentences."""
        if not self.ngrams:
            return "The text is too short to say anything: it holds no whole n-gram."
        not_proof = "That is no proof that its owner trained a model on it, or published it."
        if self.through_key:
            return (
                f"The text carries the mark of {tenant}: one that did not pass through this key would fit it so well with "
                f"a probability of at most {odds(self.log10_key)}. {not_proof}"
            )
        if self.ours:
            return (
                f"The text carries our model's mark (chance: at most {odds(self.log10_ours)}), but not that of {tenant}, "
                "which it fits no better than other keys do by chance."
            )
        return (
            f"No mark shows: neither {tenant}'s nor the model's. A text that is short, predictable, rewritten, or was made "
            "without randomness shows none though it is ours."
        )


def verify(profile: MarkProfile, secret: MasterSecret, tenant: str, group: str, tokens: NDArray[np.uint32]) -> Verified:
    """Test it.

    Args:
        profile: the marks looked for.
        secret: of its epoch.
        tenant: whose mark.
        group: of the tenant, empty for none; then the first half of the codeword alone tells whose the text is.
        tokens: of the text: uint32 of shape (n,).
    """
    word = issued(secret, tenant, profile.positions, profile.symbols, group)
    evidence = Evidence.of(Prf(secret, profile), profile, [tokens], Seen(1 << max(16, (4 * len(tokens)).bit_length())))
    own = np.arange(profile.positions // 2 if group else profile.positions)
    null = ConditionalNull(evidence.pooled()[own])
    model = test(evidence, None)
    return Verified(
        tokens=len(tokens),
        ngrams=len(evidence.seeds),
        model_ngrams=model.ngrams,
        log10_model=model.log10_p,
        log10_together=test(evidence, word).log10_p,
        log10_key=float(null.log_tail(null.scores(word[None, own]))[0]) / math.log(10.0),
    )
