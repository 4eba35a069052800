"""Runs of private matching: with whom, how large, by whom; and how many there may be."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from app.state.calls import Client, reachable, run_script
from app.state.intel_keys import INTEL_RUNS

WINDOW_MS = 30 * 86_400_000

MOST_OF_PEER = 10
"""Runs with one peer in the window, counted apart by our role and by what was asked for. Sizes about sets that differ in
one account tell whether it is common, so what can be learned of accounts one by one is bounded by this."""

MOST_OF_GROUP = 30
"""The same of a whole group, whatever the peers are called."""

MAX_RUNS = 20_000
"""That are kept; the oldest go first. Far more than fit the window."""

KEPT_SEC = 400 * 86_400

Role = Literal["asker", "answerer"]


class Run(msgspec.Struct, frozen=True):
    """One offer that was made, or one answer.

    Attributes:
        run: id that both sides know it by.
        group: trust group.
        peer: the other side.
        role: ours.
        reveals: members, not the size alone.
        own: identities of ours.
        theirs: identities of the peer; 0 where they are not known yet.
        commitment: to the asker's set.
        at_ms: when, unix ms.
        by: token id of who did it.
    """

    run: str
    group: str
    peer: str
    role: Role
    reveals: bool
    own: int
    theirs: int
    commitment: str
    at_ms: int
    by: str


class Taken(NamedTuple):
    """Whether a run may be, and how many there were.

    Attributes:
        ok: it is recorded.
        runs: of this peer in the window.
        again_ms: when there may be one again, unix ms; 0 where this one may be.
    """

    ok: bool
    runs: int
    again_ms: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Run).decode


class Runs:
    """Of one deployment. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def take(self, run: Run) -> Taken:
        """Records a run, unless the peer or its group have had as many as they may."""
        start = f"{run.role}/{'members' if run.reveals else 'size'} {run.group} "
        peer = f"{start}{run.peer} "
        bounds = (run.at_ms, WINDOW_MS, peer, MOST_OF_PEER, start, MOST_OF_GROUP, MAX_RUNS, KEPT_SEC)
        with reachable("runs"):
            ok, so_many, again = await run_script(
                self._client, "intel_run", [INTEL_RUNS], [peer.encode() + _encode(run), *bounds]
            )
        return Taken(bool(ok), int(so_many), int(again))

    async def since(self, at_ms: int) -> list[Run]:
        """Those from then on, the oldest first."""
        rows: Any
        with reachable("runs"):
            rows = await self._client.zrange(INTEL_RUNS, at_ms, "+inf", byscore=True)
        return [_decode(row.split(b" ", 3)[3]) for row in rows]

    async def newest(self, count: int) -> list[Run]:
        """The newest first."""
        rows: Any
        with reachable("runs"):
            rows = await self._client.zrange(INTEL_RUNS, 0, count - 1, desc=True)
        return [_decode(row.split(b" ", 3)[3]) for row in rows]
