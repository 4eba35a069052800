"""The warm-up of a replay: feature rows of the past, and the peer model that is fitted on them."""

from __future__ import annotations

from collections.abc import Sequence

from app.offline.states import StateTable
from detectors import model as models
from detectors.contract import Verdict
from detectors.features import FeatureRow, features


class History:
    """Collects feature rows at the moments at which keys are scored.

    The model will judge a key at exactly such moments, young and old, so the rows must show both. A key gives a row at its
    1st, 2nd, 4th, 8th … scoring and one at the end: a busy key is heard more often than a quiet one, but only a few times.
    """

    def __init__(self) -> None:
        self._rows: list[FeatureRow] = []
        self._orgs: list[str] = []
        self._scorings: dict[str, int] = {}

    def take(self, states: StateTable, verdicts: Sequence[Verdict], org_of: dict[str, str]) -> None:
        """Rows of the keys that a batch scored."""
        for verdict in verdicts:
            if verdict.entity_kind != "key":
                continue
            count = self._scorings[verdict.entity_id] = self._scorings.get(verdict.entity_id, 0) + 1
            if count & (count - 1) == 0:
                self._add(states, verdict.entity_id)

    def _add(self, states: StateTable, key_id: str) -> None:
        profile = states["key", key_id].profile
        self._rows.append(features(profile, profile.last_at_us))
