"""What is stored under a key's id, and until when: for whoever asks what is held about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.state.calls import Client, reachable
from app.state.keys import ACCOUNTS, PartitionKeys


@dataclass(frozen=True, slots=True)
class Holding:
    """One stored record.

    Attributes:
        what: account, profile, verdict, order, asked, timeline, flags or balances.
        partition: where it lies; None for an account.
        left_sec: seconds until it ends by itself; None: it stays until it is deleted.
    """

    what: str
    partition: int | None
    left_sec: float | None


class Holdings:
    """Reads the names, never the values."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._all = tuple(PartitionKeys(number) for number in range(partitions))

    async def of_key(self, key_id: str) -> list[Holding]:
        """Every record under the key's id, by partition; an account that moved a key leaves some in its old one.

        Raises:
            StateUnavailable: the server is away.
        """
        places = [(what, names.partition, name) for names in self._all for what, name in _names(names, key_id)]
        with reachable("records of a key"):
            pipe = self._client.pipeline(transaction=False)
            for _, _, name in places:
                pipe.pttl(name)
            lives: list[Any] = await pipe.execute()
            known = await self._client.hexists(ACCOUNTS, key_id)
        found = [
            Holding(what, partition, None if life == -1 else life / 1000)
            for (what, partition, _), life in zip(places, lives, strict=True)
            if life != -2
        ]
        return [Holding("account", None, None), *found] if known else found


def _names(names: PartitionKeys, key_id: str) -> tuple[tuple[str, str], ...]:
    return (
        ("profile", names.profile("k", key_id)),
        ("verdict", names.verdict(key_id)),
        ("order", names.order(key_id)),
        ("asked", names.asked(key_id)),
        ("timeline", names.timeline(key_id)),
        ("flags", names.flags(key_id)),
        ("balances", names.limits("k", key_id)),
    )
