"""Our model, and the first one, on the feature rows of a run: fitted on the warm-up's, judging the others in their order.

The first model had the two peer scorers and the rules that do not need to know where reasoning came from; it knew
nothing that was learned elsewhere, of pools, or of leaks. Here it reads today's features, which are more than it had.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from benchmarks.baselines.verdicts import Said
from benchmarks.training.rows import LabelledRows
from detectors import model as models
from detectors.contract import STATUSES, FeatureMatrix, Score
from detectors.features import FeatureRow
from detectors.model import Model
from detectors.policy import Policy
from detectors.scorers import foreign_reasoning
from detectors.verdict import Moment, Standing, judge

SEED = 0
_MICRO = 1_000_000
_POWERS = [1 << bit for bit in range(20)]


def fitted(rows: LabelledRows) -> Model:
    """The model of the warm-up: what a replay fits, but for rows between two scoring moments."""
    facts = rows.facts.with_row_index("row").filter(pl.col("warm") & ~pl.col("authorised"))
    newest = pl.col("scoring") == pl.col("scoring").max().over("key")
    facts = facts.filter(newest | pl.col("scoring").is_in(_POWERS))
    matrix = rows.matrix.take(facts["row"].to_numpy().astype(np.intp))
    return models.fit([_row(matrix, at) for at in range(len(matrix))], facts["org"].to_list(), SEED)


def first_policy(policy: Policy) -> Policy:
    """The policy of the first model, with what calibration made of its rules."""
    rules = {name: rule for name, rule in policy.rules.items() if name != foreign_reasoning.NAME}
    return msgspec.structs.replace(policy, ranks_by="", calibrated={}, rules=rules)


def contracts(path: Path) -> dict[str, tuple[str, ...]]:
    """Key → uses that its contract allows, of an accounts.jsonl."""
    accounts = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {account["key"]: tuple(account["authorised"]) for account in accounts if account.get("authorised")}


def said(model: Model, policy: Policy, rows: LabelledRows, uses: dict[str, tuple[str, ...]]) -> dict[str, Said]:
    """Key → the highest score of its verdicts after the warm-up and when it first reached SUSPECT."""
    at = np.flatnonzero(~rows.facts["warm"].to_numpy())
    matrix = rows.matrix.take(at)
    known = {*policy.peer_scorers, *policy.calibrated, *policy.rules}
    scorers = [scorer for scorer in model.scorers if scorer.name in known]
    columns = [scorer.columns(matrix) for scorer in scorers]
    standing: dict[str, Standing] = {}
    best: dict[str, float] = {}
    facts = rows.facts[at].select("key", "at_us").rows()
    for row, (key, at_us) in enumerate(facts):
        scores = [
            Score(scorer.name, scorer.version, STATUSES[column.status[row]], float(column.value[row]))
            for scorer, column in zip(scorers, columns, strict=True)
        ]
        moment = Moment(key, "key", at_us, 0, int(matrix.evidence[row]), uses.get(key, ()))
        verdict = judge(policy, "", standing.setdefault(key, Standing()), moment, scores)
        best[key] = max(best.get(key, 0.0), verdict.score)
    return {
        key: Said(score, None if (flagged := standing[key].flagged_us) is None else flagged / _MICRO)
        for key, score in best.items()
    }


def _row(matrix: FeatureMatrix, at: int) -> FeatureRow:
    return FeatureRow(matrix.values[at], matrix.present[at], int(matrix.evidence[at]), matrix.groups[at], matrix.pool[at])
