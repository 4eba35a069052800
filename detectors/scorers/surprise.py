"""How surprising each harvest feature of a row is among its peers: the input that the peer-group scorers share.

A feature's surprise is −ln of the share of peers that are at least as far on its suspicious side. Being odd on the harmless
side is no surprise at all, and neither is a feature that is absent.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def surprise(
    reference: Reference, values: NDArray[np.float64], present: NDArray[np.bool_], groups: Sequence[str]
) -> NDArray[np.float64] | None:
    """Surprises of one row in nats, shape (len(HARVEST),); None when none of its peer groups is known."""
    group = reference.place(groups)
    if group < 0:
        return None
    return -np.log(reference.tail(values, present, group)[COLUMNS])


def surprises(reference: Reference, matrix: FeatureMatrix) -> NDArray[np.float64]:
    """The same for rows that all have a known group, shape (rows, len(HARVEST))."""
    out = np.zeros((len(matrix), len(HARVEST)))
    for row in range(len(matrix)):
        found = surprise(reference, matrix.values[row], matrix.present[row], matrix.groups[row])
        if found is not None:
            out[row] = found
    return out
