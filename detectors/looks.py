"""Looks at the whole fleet, at moments that event time decides: which features are frozen, and which keys stand out.

Once in so much event time (an interval, by default a day) the newest verdict of every key that was judged in it is one
ballot. From the ballots of one interval a look is made:

    drift      features in which settled customers moved all at once are frozen, see `detectors.drift`
    discovery  the keys that are called, of which at most a share q is expected to be honest, see `detectors.discovery`

A look counts from DELAY_US after its interval's end, so that several workers, who each have some of the ballots, and a
replay, which has all, judge every exchange under the same look. Ballots are small and hold no client text.

Votes on drift have judged keys of settled accounts. A key that is flagged silences its organisation, and whoever has a
contracted use gives none: neither says what is usual, as in the history (`detectors.model`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from detectors import discovery, drift
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix, Level, ScoreStatus, Status, Verdict
from detectors.drift import Look
from detectors.features import FeatureRow, stack
from detectors.model import Model

DAY_US = 86_400_000_000
DELAY_US = 3_600_000_000
"""From an interval's end until its look counts: as late as a worker may be and still judge as a replay would."""

SETTLE_US = 600_000_000
"""From an interval's end until its ballots are counted: exchanges that began before it may still end and be judged."""

LEAST_AGE_D = 7.0
"""Days an account must have existed for a vote; one of unknown age has it, as in a history (`app.offline.history`)."""

KEPT = 8
"""Looks remembered: so far back may an exchange lie that is judged late."""

SILENT, VOTES, FLAGGED = 0, 1, 2
"""What a ballot says about drift: nothing; its ranks; that its organisation is not to be heard."""

_AGE = INDEX["account_age_d"]
_WIDTH = len(CATALOGUE)


class Ballot(msgspec.Struct, array_like=True, frozen=True):
    """One judged key in one interval, as its newest verdict there has it.

    Attributes:
        org: organisation behind it, or the key itself.
        p_value: of the scorer that ranks; None where it abstained.
        voice: SILENT, VOTES or FLAGGED.
        ranks: bytes of `drift.ranks`; empty without a vote.
    """

    org: str
    p_value: float | None
    voice: int = SILENT
    ranks: bytes = b""


class Dated(msgspec.Struct, frozen=True):
    """What one look found.

    Attributes:
        number: of the interval, counted from the epoch of unix time.
        from_us: event time from which it counts.
        frozen: feature → looks in a row without a jump.
        too_many: more features jumped than may be frozen: the model's reference is old.
        voters: organisations with a vote on drift.
        judged: keys that were compared.
        called: how many of them stand out.
        bar: p-value up to which a key is called; 0 where none is.
    """

    number: int
    from_us: int
    frozen: dict[str, int] = {}
    too_many: bool = False
    voters: int = 0
    judged: int = 0
    called: int = 0
    bar: float = 0.0

    def calls(self, ballot: Ballot) -> bool:
        """Whether the key of a ballot of this interval is called."""
        return ballot.p_value is not None and ballot.p_value <= self.bar


class Looks(msgspec.Struct, frozen=True):
    """The newest looks of one model, oldest first.

    Attributes:
        every_us: length of an interval.
        q: expected share of honest keys among those called.
        past: the newest KEPT looks, oldest first.
    """

    every_us: int = DAY_US
    q: float = 0.05
    past: tuple[Dated, ...] = ()

    @property
    def newest(self) -> Dated | None:
        """The last look; None before the first."""
        return self.past[-1] if self.past else None

    def counted(self, at_us: int) -> int:
        """The newest interval whose ballots may be counted once an exchange of this time has come."""
        return (at_us - SETTLE_US) // self.every_us - 1

    def end_us(self, number: int) -> int:
        """Event time at which an interval ends."""
        return (number + 1) * self.every_us

    def at(self, at_us: int) -> Look:
        """What is frozen for an exchange of this time."""
        for one in reversed(self.past):
            if one.from_us <= at_us:
                return Look(one.frozen, one.too_many)
        return Look({})

    def shown(self, matrix: FeatureMatrix, at_us: Sequence[int]) -> FeatureMatrix:
        """The rows as scorers may see them.

        Args:
            matrix: one row per moment.
            at_us: event time of each.
        """
        if not any(one.frozen for one in self.past):
            return matrix
        return drift.without_each(matrix, [self.at(at) for at in at_us])

    def after(self, model: Model, number: int, ballots: Mapping[str, Ballot]) -> Looks:
        """These looks and the one at an interval that has ended.

        Args:
            model: that judged.
            number: of the interval; behind that of the newest look.
            ballots: of everybody who was judged in it, by key.
        """
        before = Look({}) if self.newest is None else Look(self.newest.frozen)
        heard = _heard(ballots)
        base = None if model.peers is None else model.peers.fleet
        if base is not None:
            votes = np.frombuffer(b"".join(one.ranks for one in heard), np.uint8).reshape(-1, _WIDTH)
            before = drift.look(before, drift.jumps(base, drift.counted(votes, [one.org for one in heard])))
        p_values = np.array([one.p_value for one in ballots.values() if one.p_value is not None])
        called = p_values[discovery.called(p_values, self.q)]
        found = Dated(
            number=number,
            from_us=self.end_us(number) + DELAY_US,
            frozen=before.frozen,
            too_many=before.too_many,
            voters=len({one.org for one in heard}),
            judged=len(p_values),
            called=len(called),
            bar=float(called.max()) if len(called) else 0.0,
        )
        return msgspec.structs.replace(self, past=(*self.past, found)[-KEPT:])


def ballots(
    model: Model, verdicts: Sequence[Verdict], rows: Sequence[FeatureRow], orgs: Mapping[str, str], every_us: int
) -> dict[tuple[int, str], Ballot]:
    """Ballots of a batch: of every key's newest verdict in each interval.

    Args:
        model: that judged.
        verdicts: as `Analysis.observe` returned them.
        rows: what each of them was formed on, with every feature, the frozen ones too.
        orgs: key id → its organisation; a key that is missing or has "" stands for itself.
        every_us: length of an interval.

    Returns:
        (number of the interval, key id) → ballot.
    """
    newest = {
        (verdict.at_us // every_us, verdict.entity_id): at
        for at, verdict in enumerate(verdicts)
        if verdict.entity_kind == "key" and verdict.status is Status.JUDGED
    }
    voting = [at for at in newest.values() if _votes(model, verdicts[at], rows[at])]
    ranked: dict[int, bytes] = {}
    if voting and model.peers is not None:
        ranks = drift.ranks(model.peers.reference, stack([rows[at] for at in voting]))
        ranked = {at: ranks[place].tobytes() for place, at in enumerate(voting)}
    found = {}
    for name, at in newest.items():
        verdict = verdicts[at]
        voice = FLAGGED if verdict.level >= Level.SUSPECT else VOTES if at in ranked else SILENT
        org = orgs.get(verdict.entity_id, "") or verdict.entity_id
        found[name] = Ballot(org, _p_value(model, verdict), voice, ranked.get(at, b""))
    return found


def encode(ballot: Ballot) -> bytes:
    """The ballot as msgpack, at about 150 bytes."""
    return _encoder.encode(ballot)


def decode(data: bytes) -> Ballot | None:
    """Inverse of `encode`; None where the bytes are no ballot of this release."""
    try:
        found = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    fits = len(found.ranks) == (_WIDTH if found.voice == VOTES else 0)
    return found if fits else None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Ballot)


def _votes(model: Model, verdict: Verdict, row: FeatureRow) -> bool:
    if model.peers is None or model.peers.fleet is None or verdict.level >= Level.SUSPECT or verdict.authorised:
        return False
    return not (row.present[_AGE] and row.values[_AGE] < LEAST_AGE_D)


def _p_value(model: Model, verdict: Verdict) -> float | None:
    """Of the ranking scorer; None for a contracted use, which is no discovery."""
    if verdict.authorised:
        return None
    for score in verdict.scores:
        if score.scorer == model.policy.ranks_by and score.status is ScoreStatus.SCORED:
            return 1.0 - float(score.value)
    return None


def _heard(ballots: Mapping[str, Ballot]) -> list[Ballot]:
    """Those with a vote, by key: in the same order whoever collected them."""
    silenced = {one.org for one in ballots.values() if one.voice == FLAGGED}
    return [one for _, one in sorted(ballots.items()) if one.voice == VOTES and one.org not in silenced]


def called(look: Dated, ballots: Iterable[tuple[str, Ballot]]) -> list[tuple[str, float]]:
    """(key id, p-value) of those that a look calls, the smallest first."""
    found = [(key_id, ballot.p_value) for key_id, ballot in ballots if look.calls(ballot)]
    return sorted(((key_id, p) for key_id, p in found if p is not None), key=lambda one: (one[1], one[0]))
