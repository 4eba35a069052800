"""The warm-up of a replay: feature rows of the past, and the peer model that is fitted on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from xxhash import xxh3_64_intdigest

from app.errors import BadInput
from app.offline.labels import KeyLabels
from app.offline.states import StateTable
from detectors import model as models
from detectors.analysis import EntityState
from detectors.catalogue import INDEX
from detectors.contract import Level, Verdict
from detectors.features import FeatureRow, features
from detectors.scorers.boosted import Boosted
from detectors.verdict import Standing

MAX_ROWS = 100_000
"""Rows kept, at about 1 KB each; above it those of every second key are dropped, chosen by the hash of its id."""


_AGE = INDEX["account_age_d"]


@dataclass(frozen=True, slots=True)
class Guards:
    """What a history is not learned from, because whoever wants to move the norm would send it.

    Attributes:
        least_age_d: days an account must have existed at the moment of a row; 0: any. Accounts of unknown age are kept.
        flagged: organisations one of whose keys was flagged (SUSPECT or above) at any moment give nothing to what is usual.
    """

    least_age_d: float = 0.0
    flagged: bool = False


GUARDED = Guards(least_age_d=7.0, flagged=True)
"""Of the commands that make models to be promoted: harvesting concentrates on accounts of days."""


class TooLittleHistory(BadInput):
    """The history is too small to fit a peer model on.

    Attributes:
        reason: how much there is and how much is needed, as the beginning of a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: let the warm-up end later, or judge with a saved model")
        self.reason = reason


class History:
    """Collects feature rows at the moments at which keys are scored.

    The model will judge a key at exactly such moments, young and old, so the rows must show both. A key gives a row at its
    1st, 2nd, 4th, 8th … scoring and one at the end: a busy key is heard more often than a quiet one, but only a few times.
    How much an organisation counts that has many keys, or many rows, is the model's matter: it has one vote.

    Args:
        owner_of: key id → organisation, or the key id itself where it belongs to none.
        max_rows: most rows that are kept.
        labels: keys that people have found abusive give no rows; see `app.offline.labels`.
        guards: what else gives none.

    Attributes:
        young: keys that gave no row at some moment because their account was too young.
        flagged: keys that were flagged, if the guards ask for it.
    """

    def __init__(
        self,
        owner_of: Callable[[str], str],
        max_rows: int = MAX_ROWS,
        labels: KeyLabels | None = None,
        guards: Guards | None = None,
    ) -> None:
        self._owner_of = owner_of
        self._max_rows = max_rows
        self._labels = labels or KeyLabels()
        self._guards = guards or Guards()
        self.young: set[str] = set()
        self.flagged: set[str] = set()
        self._rows: list[tuple[str, FeatureRow]] = []
        self._scorings: dict[str, int] = {}
        self._taken_at: dict[str, int] = {}  # exchanges of a key when its last row was taken
        self._below = 1 << 64  # keys whose hash lies below are sampled

    def take(self, states: StateTable, verdicts: Sequence[Verdict]) -> None:
        """Rows of the keys that an exchange led to score; `states` are those right after it."""
        for verdict in verdicts:
            key_id = verdict.entity_id
            if verdict.entity_kind != "key" or not self._sampled(key_id) or key_id in self._labels.abusive:
                continue
            if self._guards.flagged and verdict.level >= Level.SUSPECT:
                self.flagged.add(key_id)
            count = self._scorings[key_id] = self._scorings.get(key_id, 0) + 1
            if count & (count - 1) == 0:
                self._add(key_id, states["key", key_id])

    def fit(self, states: StateTable, seed: int, trees: Boosted | None = None) -> models.Model:
        """The peer model of this history.

        Args:
            states: as the last exchange left them.
            seed: of the fit.
            trees: a provider's own; None: those that are shipped.

        Raises:
            TooLittleHistory: too few organisations have enough exchanges.
        """
        for key_id in sorted(self._scorings):
            if key_id in self._scorings:  # adding may have thinned the sample
                state = states["key", key_id]
                if state.exchanges > self._taken_at.get(key_id, 0):
                    self._add(key_id, state)
                states.trim()
        # By key, each key's in its order: the same exchanges give the same model however their keys were interleaved.
        rows = sorted(self._rows, key=itemgetter(0))
        owners = [self._owner_of(key_id) for key_id, _ in rows]
        try:
            honest = {self._owner_of(key_id) for key_id, _ in rows if key_id in self._labels.benign}
            flagged = {self._owner_of(key_id) for key_id in self.flagged}
            newest = {at for at, (key_id, _) in enumerate(rows) if at + 1 == len(rows) or rows[at + 1][0] != key_id}
            return models.fit([row for _, row in rows], owners, seed, honest, flagged=flagged, trees=trees, newest=newest)
        except models.TooLittleHistory as error:
            raise TooLittleHistory(str(error)) from None

    def forget_verdicts(self, states: StateTable) -> None:
        """Every entity begins clear again under the new model; its profile and the rhythm of its scorings stay."""
        for name in list(states):
            state = states[name]
            state.verdict, state.standing = None, Standing()
            states.trim()

    def _add(self, key_id: str, state: EntityState) -> None:
        self._taken_at[key_id] = state.exchanges
        if state.profile.authorised:
            return  # what a contract allows, such as making training data, is no measure for those without one
        row = features(state.profile, state.profile.last_at_us)
        if row.present[_AGE] and row.values[_AGE] < self._guards.least_age_d:
            self.young.add(key_id)
            return
        self._rows.append((key_id, row))
        while len(self._rows) > self._max_rows:
            self._below //= 2
            self._rows = [(name, row) for name, row in self._rows if self._sampled(name)]
            self._scorings = {name: count for name, count in self._scorings.items() if self._sampled(name)}

    def _sampled(self, key_id: str) -> bool:
        return xxh3_64_intdigest(key_id.encode()) < self._below
