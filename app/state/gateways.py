"""Which gateways run, whether they act, and by which policy: each says so in state, so that readers need not guess.

An entry is "<mode>|<gateway>|<kill switch>|<policy>|<rejected>"; those of earlier versions end after the second or the
fourth field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from app.state.calls import Client, reachable, run_script
from app.state.keys import GATEWAYS

REGISTRATION_MS = 30_000
"""A gateway that died without a word counts for this long; three of its beats may fail."""

MAX_GATEWAYS = 4096
"""Most gateways the registry remembers."""

Mode = Literal["enforce", "shadow", "mixed", "unknown"]


@dataclass(frozen=True, slots=True)
class LiveGateway:
    """What one gateway says of itself.

    Attributes:
        name: machine, process and a random part.
        mode: of its policy: enforce or shadow.
        kill: scope of the kill switch there; "" for off.
        policy: digest of the policy in force there; "" where an earlier version does not say.
        rejected: sources whose policy is wrong or gone there, file, state or both with a comma; "" for none.
    """

    name: str
    mode: str
    kill: str = ""
    policy: str = ""
    rejected: str = ""


@dataclass(frozen=True, slots=True)
class LiveGateways:
    """How many gateways act on verdicts, and how many only count them, by their mode or because the kill switch is on."""

    enforce: int = 0
    shadow: int = 0
    each: tuple[LiveGateway, ...] = field(default=(), compare=False)

    @property
    def killed(self) -> int:
        """Gateways at which the kill switch is on."""
        return sum(one.kill != "" for one in self.each)

    @property
    def policies(self) -> frozenset[str]:
        """Digests of the policies in force; more than one for a moment after a change, and no longer."""
        return frozenset(one.policy for one in self.each if one.policy)

    def rejecting(self, source: str) -> int:
        """Gateways at which the policy of a source, file or state, is wrong or gone."""
        return sum(source in one.rejected.split(",") for one in self.each)

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
    """One gateway's entry. Every method raises StateUnavailable when the server is away.

    Attributes:
        says: mode, kill switch, policy and rejected sources, as they were said last; None before the first time.
    """

    def __init__(self, client: Client, gateway: str) -> None:
        self._client = client
        self._gateway = gateway
        self._member = ""
        self.says: tuple[str, str, str, str] | None = None

    async def beat(self, mode: str, kill: str, policy: str, rejected: str = "") -> None:
        """Says that this gateway runs and what it does, for one registration; what it said before is taken back with it."""
        member = f"{mode}|{self._gateway}|{kill}|{policy}|{rejected}"
        await self._say("beat", member, self._member if self._member != member else "")
        self._member = member
        self.says = (mode, kill, policy, rejected)

    async def leave(self) -> None:
        """Takes it out at once."""
        await self._say("leave", self._member, "")

    async def _say(self, what: str, member: str, replaced: str) -> None:
        with reachable("gateway registry"):
            await run_script(self._client, "workers", [GATEWAYS], [what, member, REGISTRATION_MS, MAX_GATEWAYS, replaced])


def count(members: Iterable[tuple[bytes, float]], now_ms: int) -> LiveGateways:
    """(member, end of its registration) of the registry → who runs at this time."""
    each = []
    for member, ends_ms in members:
        if ends_ms > now_ms:
            mode, name, *rest = member.decode().split("|")
            each.append(LiveGateway(name, mode, *rest[:3]))
    acting = sum(one.mode == "enforce" and not one.kill for one in each)
    return LiveGateways(acting, len(each) - acting, tuple(each))
