"""Which gateways run, and whether they act: each says so in state, so that readers need not guess from their settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from app.state.calls import Client, reachable, run_script
from app.state.keys import GATEWAYS

REGISTRATION_MS = 30_000
"""A gateway that died without a word counts for this long; three of its beats may fail."""

MAX_GATEWAYS = 4096
"""Most gateways the registry remembers."""

Mode = Literal["enforce", "shadow", "mixed", "unknown"]


@dataclass(frozen=True, slots=True)
class LiveGateways:
    """How many gateways run in each mode."""

    enforce: int = 0
    shadow: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.enforce + self.shadow

    @property
    def mode(self) -> Mode:
        """What they do about verdicts: all the same, some of them act, or nobody is there to do anything."""
        if self.enforce and self.shadow:
            return "mixed"
        return "enforce" if self.enforce else "shadow" if self.shadow else "unknown"


class Registration:
    """One gateway's entry. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, gateway: str, mode: Literal["enforce", "shadow"]) -> None:
        self._client = client
        self._member = f"{mode}|{gateway}"

    async def beat(self) -> None:
        """Says that this gateway runs, for one registration."""
        await self._say("beat")

    async def leave(self) -> None:
        """Takes it out at once."""
        await self._say("leave")

    async def _say(self, what: str) -> None:
        with reachable("gateway registry"):
            await run_script(self._client, "workers", [GATEWAYS], [what, self._member, REGISTRATION_MS, MAX_GATEWAYS])


def count(members: Iterable[tuple[bytes, float]], now_ms: int) -> LiveGateways:
    """(member, end of its registration) of the registry → who runs at this time."""
    live = [member.partition(b"|")[0] for member, ends_ms in members if ends_ms > now_ms]
    return LiveGateways(live.count(b"enforce"), live.count(b"shadow"))
