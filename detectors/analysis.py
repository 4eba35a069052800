"""The stages in a row, for a batch of events: what the live worker and replay both run.

When an entity is scored depends on its own exchanges alone — how many there were and when — so where a stream is cut into
batches changes neither a verdict nor a byte of state. A request that the service itself refused is remembered, but leads
to no verdict: nothing was taken with it, and what refuses it must not be prolonged by it.
"""

from __future__ import annotations

import zlib
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from detectors import verdict_codec
from detectors.campaign import trace
from detectors.campaign.trace import Trace
from detectors.catalogue import INDEX
from detectors.contract import Verdict
from detectors.event import Event
from detectors.features import FeatureRow, features, stack
from detectors.fingerprint import Fingerprint
from detectors.looks import Looks
from detectors.model import Model
from detectors.profile import BadProfile, Profile
from detectors.scorers.leak import FEATURE as LEAK
from detectors.verdict import Moment, Standing, judge

STATE_VERSION = 2

DEFLATE_LEVEL = 1
"""Most counters of most profiles are zero: the fastest level saves 40 % for 70 µs, the best hardly more."""

STATE_MAX_BYTES = 1 << 20
"""More than any state has; what unpacks to more is none."""

FIRST_SCORING = 5
"""Exchanges before the first scoring: below it every share is absent (`features.MIN_EXCHANGES`)."""

GROWTH = 10
"""Later an entity is scored again when it has grown by a tenth …"""

LEAST_STEP = 3
MOST_US = 30 * 60 * 1_000_000
"""… or by the first exchange half an hour after its last scoring."""


_LEAK = INDEX[LEAK]

REFUSED = "refused"
"""Outcome of a request that the service did not let pass."""


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    version: int
    profile: bytes
    exchanges: int
    due_exchanges: int
    scored_us: int
    standing: Standing
    verdict: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


@dataclass(slots=True)
class EntityState:
    """Everything that is kept of one key or organisation.

    Attributes:
        profile: what it did.
        verdict: the newest one; None before the first scoring.
        standing: memory of the levels.
        exchanges: how many were let pass.
        due_exchanges: count at which it is scored next.
        scored_us: event time of the last scoring; 0 before.
    """

    profile: Profile
    verdict: Verdict | None = None
    standing: Standing = field(default_factory=Standing)
    exchanges: int = 0
    due_exchanges: int = FIRST_SCORING
    scored_us: int = 0

    def is_due(self) -> bool:
        """Whether the exchange just counted is a scoring moment; if so, sets the next one."""
        late = self.scored_us > 0 and self.profile.last_at_us - self.scored_us >= MOST_US
        if self.exchanges < self.due_exchanges and not late:
            return False
        self.due_exchanges = self.exchanges + max(LEAST_STEP, self.exchanges // GROWTH)
        self.scored_us = self.profile.last_at_us
        return True

    def to_bytes(self) -> bytes:
        """Versioned msgpack, deflated; `from_bytes` gives a state that goes on exactly alike."""
        data = _encoder.encode(
            _Stored(
                version=STATE_VERSION,
                profile=self.profile.to_bytes(),
                exchanges=self.exchanges,
                due_exchanges=self.due_exchanges,
                scored_us=self.scored_us,
                standing=self.standing,
                verdict=b"" if self.verdict is None else verdict_codec.encode(self.verdict),
            )
        )
        return zlib.compress(data, DEFLATE_LEVEL)

    @classmethod
    def from_bytes(cls, data: bytes) -> EntityState:
        """Inverse of `to_bytes`.

        Raises:
            BadProfile: the bytes are no state of this version.
        """
        try:
            stored = _unpack(data)
            profile = Profile.from_bytes(stored.profile)
            name = (profile.entity_id, profile.kind)
            verdict = verdict_codec.decode(stored.verdict, *name) if stored.verdict else None
        except BadProfile:
            raise
        except (ValueError, LookupError, zlib.error) as error:
            raise BadProfile(f"state does not decode: {type(error).__name__}") from None
        return cls(
            profile=profile,
            verdict=verdict,
            standing=stored.standing,
            exchanges=stored.exchanges,
            due_exchanges=stored.due_exchanges,
            scored_us=stored.scored_us,
        )


def stored_verdict(data: bytes, entity_id: str, kind: str) -> Verdict | None:
    """The verdict in the bytes of a state, without the work of reading its profile; None before the first scoring.

    Raises:
        BadProfile: the bytes are no state of this version.
    """
    try:
        stored = _unpack(data)
        return verdict_codec.decode(stored.verdict, entity_id, kind) if stored.verdict else None
    except (ValueError, LookupError, zlib.error) as error:
        raise BadProfile(f"state does not decode: {type(error).__name__}") from None


def renamed(data: bytes, entity_id: str) -> bytes:
    """The bytes of a state, as that of an entity of another name.

    Raises:
        BadProfile: the bytes are no state of this version.
    """
    state = EntityState.from_bytes(data)
    state.profile.entity_id = entity_id
    if state.verdict is not None:
        state.verdict = replace(state.verdict, entity_id=entity_id)
    return state.to_bytes()


def _unpack(data: bytes) -> _Stored:
    inflate = zlib.decompressobj()
    unpacked = inflate.decompress(data, STATE_MAX_BYTES)
    if not inflate.eof:
        raise ValueError("a state is cut short, or larger than any state is")
    stored = _decoder.decode(unpacked)
    if stored.version != STATE_VERSION:
        raise BadProfile(f"state version is {stored.version}; this release reads {STATE_VERSION}")
    return stored


class Analysis:
    """Judges batches of events with one model. Holds no state of its own.

    Attributes:
        looks: at the whole fleet, see `detectors.looks`; whoever makes or reads them puts the newest here.
    """

    def __init__(self, model: Model, looks: Looks | None = None) -> None:
        self.model = model
        self.looks = looks or Looks()

    def observe(
        self,
        states: MutableMapping[tuple[str, str], EntityState],
        items: Sequence[tuple[Event, Fingerprint]],
        rows: list[FeatureRow] | None = None,
        traces: list[Trace] | None = None,
    ) -> list[Verdict]:
        """Count every exchange for its key and organisation, and judge those that are due.

        Args:
            states: ("key" or "org", entity id) → state; missing ones are made.
            items: exchanges in the order in which they are to count.
            rows: where given, gets what each verdict was formed on, in the order of the verdicts.
            traces: where given, gets the traces of keys that are cast at these exchanges, in their order.

        Returns:
            Verdicts in the order of the exchanges that led to them, the key's before the organisation's.
        """
        due: list[tuple[EntityState, Moment, FeatureRow]] = []
        casts: list[tuple[Trace, int | None]] = []  # and the place of its own verdict
        for event, fp in items:
            for kind, entity in (("key", event.key_id), ("org", event.org_id)):
                if not entity:
                    continue
                state = states.get((kind, entity))
                if state is None:
                    state = states[kind, entity] = EntityState(Profile.new(entity, kind))
                state.profile.update(event, fp)
                if event.outcome == REFUSED:
                    continue
                state.exchanges += 1
                scored = state.is_due()
                if scored:
                    due.append((state, *_moment(state.profile)))
                if traces is not None and kind == "key" and (scored or state.exchanges < FIRST_SCORING):
                    casts.append((trace.cast(state.profile, event, fp, state.exchanges), len(due) - 1 if scored else None))
        if not due:
            if traces is not None:
                traces += [made for made, _ in casts]
            return []
        matrix = self.looks.shown(stack([row for _, _, row in due]), [moment.at_us for _, moment, _ in due])
        by_scorer = [scorer.score(matrix) for scorer in self.model.scorers]
        verdicts = []
        for number, (state, moment, _) in enumerate(due):
            scores = [column[number] for column in by_scorer]
            held = state.verdict.reasons if state.verdict is not None else ()
            if not matrix.present[number, _LEAK]:  # too few responses, or a fleet that moved in it
                moment = replace(moment, leak=0.0)
            state.verdict = judge(self.model.policy, self.model.id, state.standing, moment, scores, held)
            verdicts.append(state.verdict)
        if traces is not None:
            traces += [made if at is None else trace.judged(made, verdicts[at]) for made, at in casts]
        if rows is not None:
            rows += [row for _, _, row in due]
        return verdicts


def _moment(profile: Profile) -> tuple[Moment, FeatureRow]:
    row = features(profile, profile.last_at_us)
    moment = Moment(
        entity_id=profile.entity_id,
        entity_kind=profile.kind,
        at_us=profile.last_at_us,
        valuable=profile.valuable_total,
        evidence=row.evidence,
        authorised=profile.authorised,
        leak=profile.account.evidence(),
    )
    return moment, row
