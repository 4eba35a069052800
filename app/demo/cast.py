"""Who takes part: the honest customers of the past, and the customers and attackers of the live part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from app.simulate.traffic.population import ATTACKS, CROWD, HONEST, OPERATION, Client, populate

PAST_PER_KIND = 14
"""Customers of each honest kind in the history: about a hundred in all, of which each kind is a peer group."""

LIVE_PER_KIND = 2
LIVE_ATTACKERS = {"forced reasoning": 4, "seed generation": 2, "logit sweep": 1, "rejection sampling": 2}
"""Keys of each attack. The first is a campaign: one fragment on four unrelated keys."""

OPERATION_KEYS = 24
CROWD_KEYS = 30
"""Keys of the operation, and of the users of a viral app, on the day of the past that is judged."""


def past(seed: int) -> list[Client]:
    """Customers of the history. None of them comes back live, so the model has never seen a key that it judges."""
    return populate([(kind, PAST_PER_KIND) for kind in HONEST], seed + 1_000_000)


def last_day(seed: int) -> tuple[list[Client], list[Client]]:
    """Who is new on the judged day of the past: the keys of one operation, and the users of an app that went viral."""
    return populate([(OPERATION, OPERATION_KEYS)], seed + 2_000_000), populate([(CROWD, CROWD_KEYS)], seed + 2_000_000)


def live(seed: int) -> list[Client]:
    """Who is seen live: honest customers first."""
    honest = populate([(kind, LIVE_PER_KIND) for kind in HONEST], seed)
    return honest + populate([(kind, LIVE_ATTACKERS[kind.name]) for kind in ATTACKS], seed)


def account(client: Client, key: str, first_request_sec: float) -> dict[str, Any]:
    """The client's line of an accounts file; `key` is its credential, or its name in a log."""
    created_at = first_request_sec - client.age_d * 86_400
    return {"key": key, "org": client.org_id, "plan": client.plan, "created_at": created_at}


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """A JSON Lines file that only we can read: it may name credentials."""
    path.touch(mode=0o600)
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
