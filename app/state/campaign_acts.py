"""What is done about campaigns: each action that was taken about one as a whole, and the keys that have a share in it.

The action is a record of its own because it outlives the set of keys that it began with: a key that joins later gets its
share, and one that leaves loses it. What is done about a key is an order like any other (`app.state.orders`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from app.errors import BadInput
from app.settings import ActionName
from app.state.calls import Client, reachable
from app.state.keys import CAMPAIGN_ACTS, campaign_shares

MAX_ACTS = 1_000
"""Records of actions about campaigns at a time, at most 2 kB each."""

KEPT_US = 30 * 86_400 * 1_000_000
"""How long the record of one that has ended is kept."""

SLICE = 1_000
"""Shares of one round trip."""

ActMode: TypeAlias = Literal["shadow", "real"]
ShareState: TypeAlias = Literal["shadow", "real", "lifted"]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One action about a campaign. Times are unix µs.

    Attributes:
        id: "act-" and 16 hexadecimal digits.
        campaign: id of the campaign.
        mode: shadow: it is only known whom it would be about; nothing is done.
        level: name of the campaign's level when it was taken.
        bulk: the bulk order that carries it out for those who were members then; "" in shadow.
        since_us: when it was taken; its orders begin with those of the bulk.
        by: name of the person, or `app.enforcement.campaigns.LINKER`.
        ended_us: when it was taken back, or was found to be over; 0 while it stands.
        ended_by: who took it back.
    """

    id: str
    campaign: str
    action: ActionName
    factor: float
    requests_per_min: float | None
    ttl_sec: int
    reason_code: str
    reason: str
    by: str
    mode: ActMode
    level: str
    since_us: int
    bulk: str = ""
    ended_us: int = 0
    ended_by: str = ""


class Share(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key's part in an action.

    Attributes:
        state: shadow: nothing is done about the key yet; real: it was given the order; lifted: a person took it out, and it
            stays out as long as the action stands.
        since_us: since when it has it.
        real_us: from when on a share in shadow is to be real; 0 for never.
        by: the person who lifted or confirmed it.
    """

    state: ShareState
    since_us: int
    real_us: int = 0
    by: str = ""


_act = msgspec.json.Decoder(Act).decode
_share = msgspec.json.Decoder(Share).decode


class Acts:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def all(self) -> list[Act]:
        """Those that stand, and those that ended within KEPT_US; the oldest first."""
        with reachable("campaign actions"):
            found: Any = await self._client.hvals(CAMPAIGN_ACTS)
        acts = [act for data in found if (act := _read(data)) is not None]
        return sorted(acts, key=lambda act: (act.since_us, act.id))

    async def of(self, campaign_id: str) -> Act | None:
        """The newest about a campaign, one that has ended too."""
        mine = [act for act in await self.all() if act.campaign == campaign_id]
        return mine[-1] if mine else None

    async def put(self, act: Act) -> None:
        """Stores one, in place of its earlier record.

        Raises:
            BadInput: there are MAX_ACTS others already.
        """
        with reachable("campaign actions"):
            known = await self._client.hexists(CAMPAIGN_ACTS, act.id)
            if not known and int(await self._client.hlen(CAMPAIGN_ACTS)) >= MAX_ACTS:
                raise BadInput(f"there are {MAX_ACTS:,} actions about campaigns already; wait until some have ended")
            await self._client.hset(CAMPAIGN_ACTS, act.id, msgspec.json.encode(act))

    async def forget(self, ids: Iterable[str]) -> None:
        """Deletes records with their shares."""
        with reachable("campaign actions"):
            for act_id in ids:
                await self._client.delete(campaign_shares(act_id))
                await self._client.hdel(CAMPAIGN_ACTS, act_id)

    async def shares(self, act_id: str) -> dict[str, Share]:
        """Key id → share, of all keys that have one."""
        with reachable("campaign shares"):
            found: Any = await self._client.hgetall(campaign_shares(act_id))
        return {name.decode(): share for name, data in found.items() if (share := _read_share(data)) is not None}

    async def count(self, act_id: str) -> int:
        """How many keys have a share."""
        with reachable("campaign shares"):
            return int(await self._client.hlen(campaign_shares(act_id)))

    async def shares_of(self, act_id: str, key_ids: Sequence[str]) -> dict[str, Share]:
        """The same of some keys."""
        if not key_ids:
            return {}
        with reachable("campaign shares"):
            found: Any = await self._client.hmget(campaign_shares(act_id), list(key_ids))
        pairs = zip(key_ids, found, strict=True)
        return {key_id: share for key_id, data in pairs if (share := _read_share(data)) is not None}

    async def put_shares(self, act: Act, shares: Mapping[str, Share]) -> None:
        """Stores shares; they live a while longer than the action can."""
        name, items = campaign_shares(act.id), list(shares.items())
        life_sec = act.ttl_sec + 8 * 86_400  # a proposal may wait for a day before it begins
        with reachable("campaign shares"):
            for first in range(0, len(items), SLICE):
                part: dict[Any, Any] = {
                    key_id: msgspec.json.encode(share) for key_id, share in items[first : first + SLICE]
                }
                await self._client.hset(name, mapping=part)
                await self._client.expire(name, life_sec)

    async def drop_shares(self, act_id: str, key_ids: Sequence[str]) -> None:
        """These keys have no share any more."""
        with reachable("campaign shares"):
            for first in range(0, len(key_ids), SLICE):
                await self._client.hdel(campaign_shares(act_id), *key_ids[first : first + SLICE])


def _read(data: bytes) -> Act | None:
    try:
        return _act(data)
    except msgspec.DecodeError:  # of another release
        return None


def _read_share(data: bytes | None) -> Share | None:
    try:
        return None if data is None else _share(data)
    except msgspec.DecodeError:
        return None
