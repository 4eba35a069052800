"""Flag records: what a verdict rested on at the moment it rose, so that it can be explained after the model has changed.

A record holds numbers and our own sentences, never client text. The worker writes it in the commit that writes the verdict;
it is a function of the events, the model and the policy, so replaying them makes the same bytes. A reference leads
from what a customer quotes to the key and its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys


class FlagScore(msgspec.Struct, frozen=True, omit_defaults=True):
    """One scorer's part. Of a scorer that did not score only the status means something.

    Attributes:
        value: in [0, 1]; as it was, not as it would be with another model.
        thresholds: what the model's policy made of the score: watch, suspect, suspect_if_rare, confirmed.
    """

    scorer: str
    version: str
    status: str
    value: float = 0.0
    thresholds: dict[str, float] = {}


class FlagReason(msgspec.Struct, frozen=True):
    """One contribution, as it was told then; see `detectors.contract.Reason`."""

    feature: str
    value: float
    percentile: float | None
    direction: str
    weight: float
    text: str


class FlagMeasure(msgspec.Struct, frozen=True):
    """What the response policy asked for about the level, and the words it stands on.

    Attributes:
        action: observe, throttle, cap, step_up or suspend.
        factor: share of its budgets that a throttled key keeps.
        requests_per_min: ceiling for a throttled key whose plan has none.
        ttl_sec: how long it holds after the last verdict that renews it.
        mode: shadow or enforce, as the policy had it.
        policy_id: digest of the response policy.
        ground: the clause of the contract that the provider names.
        appeal_url: where the customer may object; "" where none is configured.
    """

    action: str
    factor: float
    requests_per_min: float | None
    ttl_sec: int
    mode: str
    policy_id: str
    ground: str = ""
    appeal_url: str = ""


class FlagRecord(msgspec.Struct, frozen=True):
    """Why one key was flagged once. Times are unix µs of the events.

    Attributes:
        ref: reference of the action, as the customer sees it.
        since_us: when the level began; the same for every record of one reference.
        was: level before; equal to `level` where only the action became stricter.
        evidence: answered exchanges of the last seven days, decayed.
        leaked: unique valuable answers since the first verdict above clear.
        scores: of every scorer of the model.
        reasons: the top contributions, strongest first.
        features: name → value of every feature that was defined.
        groups: peer groups, most specific first.
        peer_group: the one that percentiles are of; None without a fitted model.
        model_id: digest of the model that judged.
        catalogue: version of the features' meanings.
    """

    ref: str
    key_id: str
    at_us: int
    since_us: int
    was: str
    level: str
    score: float
    evidence: int
    leaked: int
    authorised: bool
    measure: FlagMeasure
    scores: tuple[FlagScore, ...]
    reasons: tuple[FlagReason, ...]
    features: dict[str, float]
    groups: tuple[str, ...]
    peer_group: str | None
    model_id: str
    catalogue: str


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FlagRecord).decode


class FlagReader:
    """Reads what the workers wrote. Every method raises StateUnavailable when the server is away.

    Records outlive the index of keys that were seen, and an account may have moved its key, so every partition is asked,
    in one pipeline.
    """

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._all = tuple(PartitionKeys(number) for number in range(partitions))

    async def of_key(self, key_id: str) -> list[FlagRecord]:
        """The key's records, newest first; of an older release's only those that this one can read."""
        answers = await self._ask("lrange", [(names.flags(key_id), 0, -1) for names in self._all])
        found = [record for answer in answers for data in answer if (record := read_flag(data)) is not None]
        return sorted(found, key=lambda record: -record.at_us)

    async def owner(self, ref: str) -> str | None:
        """Id of the key that a worker's reference belongs to."""
        answers = await self._ask("get", [(names.reference(ref),) for names in self._all])
        return next((answer.decode() for answer in answers if answer is not None), None)

    async def by_reference(self, ref: str) -> FlagRecord | None:
        """The newest record of a reference: where its action became stricter, the one that says so."""
        key_id = await self.owner(ref)
        if key_id is None:
            return None
        return next((record for record in await self.of_key(key_id) if record.ref == ref), None)

    async def _ask(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        with reachable("flag records"):
            pipe = self._client.pipeline(transaction=False)
            for each in arguments:
                getattr(pipe, command)(*each)
            return list(await pipe.execute())


def read_flag(data: bytes) -> FlagRecord | None:
    """What is stored → record; None where another release wrote it otherwise."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return None
