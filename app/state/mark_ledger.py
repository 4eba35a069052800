"""How much traceable evidence each key has taken away: marked answers by profile and epoch, as the workers add them up.

The hash of a key has a field "profile|epoch" with five whole numbers: answers, tokens, evidence in millionths of a nat,
first and last answer in unix ms. "|" adds up what is beyond `partition.MAX_MARKS` of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys


class Marked(msgspec.Struct, frozen=True):
    """Answers to one key under one profile.

    Attributes:
        profile: its id; "" for all beyond the most that are kept apart.
        epoch: of the secret.
        answers: how many.
        tokens: that carry the mark.
        nats: evidence in them above chance, expected or measured.
        first_ms: when the first one was asked for, unix ms.
        last_ms: the last one.
    """

    profile: str
    epoch: str
    answers: int
    tokens: int
    nats: float
    first_ms: int
    last_ms: int


class MarkLedger:
    """Reads the ledgers. Raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._all = tuple(PartitionKeys(number) for number in range(partitions))

    async def of_key(self, key_id: str) -> list[Marked]:
        """The key's marked answers by profile and epoch, newest first.

        An account may have moved the key, so every partition is asked.
        """
        with reachable("ledger of marks"):
            pipe = self._client.pipeline(transaction=False)
            for names in self._all:
                pipe.hgetall(names.marks(key_id))
            answers: list[dict[bytes, bytes]] = await pipe.execute()
        sums: dict[tuple[str, str], list[int]] = {}
        for answer in answers:
            for name, value in answer.items():
                profile, _, epoch = name.decode("utf-8", "replace").partition("|")
                found = _numbers(value)
                if found is None:
                    continue
                held = sums.setdefault((profile, epoch), [0, 0, 0, found[3], 0])
                held[:3] = [ours + theirs for ours, theirs in zip(held[:3], found[:3], strict=True)]
                held[3:] = [min(held[3], found[3]), max(held[4], found[4])]
        made = [Marked(*name, total[0], total[1], total[2] / 1e6, *total[3:]) for name, total in sums.items()]
        return sorted(made, key=lambda one: (-one.last_ms, one.profile, one.epoch))


def _numbers(value: bytes) -> list[int] | None:
    """The five numbers of a field; None where another release wrote it otherwise."""
    parts: list[Any] = value.split()
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        return None
    return numbers if len(numbers) == 5 else None
