"""What is known about many keys at once, in a few round trips: where each lives, its level, what is asked for about it.

`StateReader` looks at one key as a whole; an order about ten thousand of them wants little about each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys, partition_of
from app.state.partition import KIND_LETTER
from app.state.reading import split_rank
from detectors.contract import Level

SLICE = 500
"""Keys of one round trip."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One key.

    Attributes:
        partition: where it was seen; None when it never was, or is forgotten.
        level: of its last verdict; CLEAR also where there is none.
        score: with it; 0.0 at CLEAR.
        verdict: the string that `decide` reads, "" for none.
    """

    partition: int | None
    level: Level = Level.CLEAR
    score: float = 0.0
    verdict: str = ""


class KeyFacts:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._all = tuple(PartitionKeys(number) for number in range(partitions))

    def home(self, key_id: str, org_id: str) -> int:
        """The partition in which the key's next request will be decided."""
        return partition_of(org_id or key_id, len(self._all))

    async def gather(self, orgs: Mapping[str, str]) -> dict[str, Fact]:
        """Key id → what is known, for each key id in `orgs`, which has the organisation of its account, or ""."""
        found: dict[str, Fact] = {}
        names = list(orgs)
        for first in range(0, len(names), SLICE):
            part = names[first : first + SLICE]
            places = await self._places({key_id: self.home(key_id, orgs[key_id]) for key_id in part})
            found |= await self._facts(part, places)
        return found

    async def states(self, places: Mapping[str, int]) -> dict[str, bytes]:
        """Key id → bytes of its `EntityState`, for those that have one; key id → partition is given."""
        with reachable("key states"):
            pipe = self._client.pipeline(transaction=False)
            for key_id, number in places.items():
                pipe.get(self._all[number].profile(KIND_LETTER["key"], key_id))
            answers = await pipe.execute() if places else []
        return {key_id: data for key_id, data in zip(places, answers, strict=True) if data is not None}

    async def _places(self, homes: Mapping[str, int]) -> dict[str, int]:
        """Where each was seen: its home nearly always; else, after its account moved it, wherever it was seen last."""
        by_home = defaultdict(list)
        for key_id, number in homes.items():
            by_home[number].append(key_id)
        seen = await self._scores(by_home)
        places = {key_id: number for key_id, scores in seen.items() for number in scores}
        strangers = [key_id for key_id in homes if key_id not in places]
        if strangers:
            elsewhere = await self._scores(dict.fromkeys(range(len(self._all)), strangers))
            places |= {key_id: max(scores, key=lambda at: (scores[at], at)) for key_id, scores in elsewhere.items()}
        return places

    async def _scores(self, asked: Mapping[int, Sequence[str]]) -> dict[str, dict[int, float]]:
        """Key id → partition → when it was seen there, of those seen; partition → key ids is asked."""
        with reachable("key index"):
            pipe = self._client.pipeline(transaction=False)
            for number, key_ids in asked.items():
                pipe.zmscore(self._all[number].seen, list(key_ids))
            answers = await pipe.execute()
        found: dict[str, dict[int, float]] = defaultdict(dict)
        for (number, key_ids), scores in zip(asked.items(), answers, strict=True):
            for key_id, score in zip(key_ids, scores, strict=True):
                if score is not None:
                    found[key_id][number] = score
        return found

    async def _facts(self, key_ids: Sequence[str], places: Mapping[str, int]) -> dict[str, Fact]:
        known = [key_id for key_id in key_ids if key_id in places]
        answers: list[Any] = []
        if known:
            with reachable("key index"):
                pipe = self._client.pipeline(transaction=False)
                for key_id in known:
                    names = self._all[places[key_id]]
                    pipe.zscore(names.flagged, key_id)
                    pipe.get(names.verdict(key_id))
                answers = await pipe.execute()
        found = {key_id: Fact(None) for key_id in key_ids}
        for at, key_id in enumerate(known):
            rank, verdict = answers[2 * at], answers[2 * at + 1]
            level, score = (Level.CLEAR, 0.0) if rank is None else split_rank(rank)
            found[key_id] = Fact(places[key_id], level, score, (verdict or b"").decode())
        return found
