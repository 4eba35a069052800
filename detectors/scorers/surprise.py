"""How surprising each harvest feature of a row is among its peers: the input that the peer-group scorers share.

A feature's surprise is −ln of the share of peers that are at least as far on its suspicious side. Being odd on the harmless
side is no surprise at all, and neither is a feature that is absent.
"""

from __future__ import annotations

from weakref import ref

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import INDEX
from detectors.contract import FeatureMatrix
from detectors.reference import Reference

HARVEST = (
    # Value taken per exchange, not in total: totals and volumes flag large customers, not campaigns.
    "valuable_share", "output_tokens_mean", "output_input_ratio",
    # A machine that asks new things of one form.
    "single_turn_ratio", "user_top_share", "slot_novelty", "near_duplicate_rate", "multiplicity_peak",
    "interarrival_regularity",
    # What it asks for.
    "elicitation_share", "elicitation_constancy", "answer_supplied_share", "task_generation_share", "rewrite_share",
    "answer_tag_share", "logit_bias_diversity", "probe_refusals",
    # Campaigns concentrate on accounts of days (Anthropic, August 2026).
    "account_age_d",
)  # fmt: skip
"""Left out: volumes and life-long totals; circadian flatness, which 11–23 % of honest bulk clients show; network and client
diversity, which resellers share with universities; what has no suspicious side."""

COLUMNS: NDArray[np.int64] = np.array([INDEX[name] for name in HARVEST], np.int64)


class _Newest:
    """The newest answer, which the peer scorers share; the matrix is not kept alive by it."""

    held: tuple[Reference, ref[FeatureMatrix], NDArray[np.float64]] | None = None


def surprises(reference: Reference, matrix: FeatureMatrix) -> NDArray[np.float64]:
    """Surprises in nats, shape (rows, len(HARVEST)); a row none of whose peer groups is known is all NaN. Not to be written
    to."""
    newest = _Newest.held
    if newest is not None and newest[0] is reference and newest[1]() is matrix:
        return newest[2]
    out = np.full((len(matrix), len(HARVEST)), np.nan)
    places = reference.places(matrix.groups)
    known = np.flatnonzero(places >= 0)
    values, present = matrix.values[np.ix_(known, COLUMNS)], matrix.present[np.ix_(known, COLUMNS)]
    out[known] = reference.surprises(values, present, places[known], COLUMNS)
    _Newest.held = reference, ref(matrix), out
    return out
