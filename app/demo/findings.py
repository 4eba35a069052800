"""What the service says about each of the cast: asked over the admin API, as an operator would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import StateUnavailable
from app.gateway.identity import Hasher
from app.simulate.traffic.http import Http
from app.simulate.traffic.player import Tally
from app.simulate.traffic.population import Client

FLAGGED = ("suspect", "confirmed")


@dataclass(frozen=True, slots=True)
class Finding:
    """One key as the admin API shows it, beside what its client saw.

    Attributes:
        level: clear, watch, suspect, confirmed; "warming up" before there is a verdict.
        leaked: unique valuable answers since the first suspicious one.
        action: in force: observe or throttle.
        reasons: sentences, the weightiest first.
        tally: requests from the client's side.
    """

    client: Client
    key_id: str
    level: str
    score: float
    leaked: int
    action: str
    reasons: tuple[str, ...]
    tally: Tally

    @property
    def flagged(self) -> bool:
        """Suspect or worse."""
        return self.level in FLAGGED

    @property
    def acted_on(self) -> bool:
        """Something is done about the key."""
        return self.action != "observe"


class Observer:
    """Reads findings over HTTP."""

    def __init__(self, admin_url: str, token: str, hasher: Hasher) -> None:
        self._http = Http(admin_url)
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._hasher = hasher

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def waiting(self) -> int:
        """Exchanges that are logged and not yet judged."""
        return int((await self._get("/v1/health"))["waiting"])

    async def look(self, clients: Sequence[Client], tallies: dict[str, Tally]) -> list[Finding]:
        """A finding for each client, in their order."""
        return [await self._finding(client, tallies[client.name]) for client in clients]

    async def _finding(self, client: Client, tally: Tally) -> Finding:
        key_id = self._hasher.key(client.credential)
        found = await self._get(f"/v1/keys/{key_id}")
        verdict = found.get("verdict") or {}
        judged = verdict.get("status") == "judged"
        return Finding(
            client=client,
            key_id=key_id,
            level=verdict["level"] if judged else "warming up",
            score=verdict.get("score", 0.0),
            leaked=verdict.get("leaked", 0),
            action=found.get("action", {}).get("action", "observe"),
            reasons=tuple(reason["text"] for reason in sorted(verdict.get("reasons", ()), key=_telling)),
            tally=tally,
        )

    async def _get(self, path: str) -> dict[str, Any]:
        answer = await self._http.request("GET", path, self._headers)
        if answer.status == 404:  # not seen yet
            return {}
        if answer.status != 200:
            raise StateUnavailable(f"the admin API answered {answer.status} to {path.partition('?')[0]}")
        found: dict[str, Any] = orjson.loads(answer.body)
        return found


def _telling(reason: dict[str, Any]) -> tuple[float, float]:
    """Order of reasons: by weight, and where a rule weighs its signs alike, the rarest among the peers first."""
    lower = reason["peer_percentile"]
    rarity = 100.0 if lower is None else lower if reason["direction"] == "high" else 100.0 - lower
    return -reason["weight"], -rarity


def shortfall(findings: Sequence[Finding]) -> str:
    """A sentence about attackers that were missed and honest keys that were acted on; "" when there are none."""
    missed = [found.client.name for found in findings if found.client.kind.attack and not found.flagged]
    harmed = [found.client.name for found in findings if not found.client.kind.attack and (found.acted_on or found.flagged)]
    parts = []
    if missed:
        parts.append(f"not flagged: {', '.join(missed)}")
    if harmed:
        parts.append(f"honest and acted on: {', '.join(harmed)}")
    return "; ".join(parts)
