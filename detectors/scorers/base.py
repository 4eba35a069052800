"""What scorers share: which rows they may judge, and how a reason reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import STATUS_CODE, STATUSES, FeatureMatrix, Reason, Score, ScoreColumn, Scorer, ScoreStatus


class Percentiles(Protocol):
    """Where a value lies among comparable entities; a fitted `reference.Reference` is one."""

    def percentile(self, column: int, value: float, groups: Sequence[str]) -> float | None:
        """Share of the peer group with a lower value, 0–100; None without peers."""
        ...


class _Newest:
    """The newest matrix and which of its rows are finite: every scorer asks, and the matrix is not kept alive by it."""

    held: tuple[ref[FeatureMatrix], NDArray[np.bool_]] | None = None


def _finite(matrix: FeatureMatrix) -> NDArray[np.bool_]:
    newest = _Newest.held
    if newest is not None and newest[0]() is matrix:
        return newest[1]
    found: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(matrix.values), axis=1)
    _Newest.held = ref(matrix), found
    return found


def statuses(matrix: FeatureMatrix, least_evidence: int) -> NDArray[np.int8]:
    """Codes of every row's status before a scorer looks at it, int8 of shape (n,).

    Args:
        matrix: the rows.
        least_evidence: answered exchanges below which a row is WARMING_UP.
    """
    out = np.where(matrix.evidence < least_evidence, STATUS_CODE[ScoreStatus.WARMING_UP], 0).astype(np.int8)
    out[~_finite(matrix)] = STATUS_CODE[ScoreStatus.FAILED]
    return out


def column_of(status: NDArray[np.int8], value: NDArray[np.float64]) -> ScoreColumn:
    """The column of a scorer: NaN where it does not apply, among the rows that `statuses` lets it judge."""
    blank = np.isnan(value)
    status = np.where((status == 0) & blank, STATUS_CODE[ScoreStatus.NOT_APPLICABLE], status).astype(np.int8)
    return ScoreColumn(status, np.where(status == 0, value, 0.0))


def scores_of(scorer: Scorer, matrix: FeatureMatrix) -> list[Score]:
    """One score per row: of `columns`, with `reasons` where the value is worth telling about."""
    column = scorer.columns(matrix)
    found = []
    for row, (code, value) in enumerate(zip(column.status.tolist(), column.value.tolist(), strict=True)):
        told = code == 0 and value >= scorer.worth_telling
        reasons = scorer.reasons(matrix, row) if told else ()
        found.append(Score(scorer.name, scorer.version, STATUSES[code], value, reasons))
    return found


def reason(column: int, value: float, percentile: float | None, direction: str, weight: float) -> Reason:
    """A reason with its sentence."""
    name = CATALOGUE[column].name
    return Reason(name, value, percentile, direction, weight, sentence(name, value, percentile, direction))


def sentence(feature: str, value: float, percentile: float | None, direction: str) -> str:
    """ "The share of … is 0.97; 99 % of comparable keys are lower." Made of the catalogue's words and of numbers alone."""
    entry = CATALOGUE[INDEX[feature]]
    meaning = entry.meaning.split(";")[0].split(":")[0]
    bare = entry.unit in _BARE_UNITS or meaning.startswith("number of")
    said = f"The {meaning} is {_number(value)}{'' if bare else f' {entry.unit}'}"
    if percentile is None:
        return f"{said}, which is {direction}; no comparable keys are known."
    side, share = ("lower", percentile) if direction == "high" else ("not lower", 100.0 - percentile)
    if share == 100.0:
        return f"{said}; no comparable key is as high." if direction == "high" else f"{said}; no comparable key is lower."
    return f"{said}; {_percent(share)} % of comparable keys are {side}."


_BARE_UNITS = frozenset({"share", "ratio", "exponent", "distance"})


def _number(value: float) -> str:
    if value >= 1e15 or 0.0 < value < 0.01:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _percent(share: float) -> str:
    # 99.97 must not read as 100: that would claim that nobody is alike.
    return f"{share:.1f}".rstrip("0").rstrip(".") if share in (0.0, 100.0) or 0.05 <= share <= 99.94 else f"{share:.2f}"


def top_reasons(
    shares: NDArray[np.float64],
    columns: NDArray[np.int64],
    matrix: FeatureMatrix,
    row: int,
    percentiles: Percentiles,
    least_share: float = 0.05,
    most: int = 5,
) -> tuple[Reason, ...]:
    """The features that explain most of a score.

    Args:
        shares: what each of `columns` contributes, ≥ 0, summing to at most 1.
        columns: catalogue columns.
    """
    found = []
    for at in np.argsort(-shares, kind="stable")[:most]:
        if shares[at] < least_share:
            break
        column = int(columns[at])
        value = float(matrix.values[row, column])
        direction = "low" if CATALOGUE[column].suspicious == "low" else "high"
        place = percentiles.percentile(column, value, matrix.groups[row])
        found.append(reason(column, value, place, direction, float(shares[at])))
    return tuple(found)
