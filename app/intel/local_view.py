"""What a command reads of the state once and a worker holds in memory: what is looked for, and what is known of keys."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.admin.subjects import Finder, Subject
from app.enforcement.campaigns import excuse
from app.state.accounts import AccountStore
from app.state.calls import Client
from app.state.campaigns import CampaignStore
from app.state.control import ControlStore
from app.state.erasures import Erasures
from app.state.intel_common import CommonHere
from app.state.intel_indicators import Held, Indicators, Standing
from app.state.key_facts import KeyFacts
from app.state.orders import Orders
from app.state.reading import StateReader
from detectors.contract import Level


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked for.

    Attributes:
        held: indicators, as they are held.
        standings: of the reporters.
        erased: key id → unix µs until which nothing of it may be seen.
        common: how many more are held that are not looked for, because settled customers show them.
    """

    held: Sequence[Held] = ()
    standings: Mapping[tuple[str, str], Standing] = field(default_factory=dict)
    erased: Mapping[str, int] = field(default_factory=dict)
    common: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """Of a key.

    Attributes:
        local: evidence of our own against it, in words; empty without any.
        excuse: why nothing is done about it: its contract, or the allow-list; empty.
    """

    local: str = ""
    excuse: str = ""


async def looked_for(client: Client, partitions: int) -> Looked:
    """What is looked for now.

    Raises:
        StateUnavailable: the server is away.
    """
    indicators = Indicators(client)
    held, common = await indicators.all(), await CommonHere(client).all(time.time_ns() // 1000)
    left = [one for one in held if one.name not in common]
    erased = await Erasures(client, partitions).asked()
    return Looked(left, await indicators.standings(), erased, len(held) - len(left))


async def known_of(client: Client, partitions: int, key_ids: Sequence[str]) -> dict[str, Known]:
    """What is known here of each key, as the worker weighs it.

    Raises:
        StateUnavailable: the server is away.
    """
    campaigns = CampaignStore(client)
    finder = Finder(StateReader(client, partitions), AccountStore(client), KeyFacts(client, partitions), Orders(client))
    subjects = await finder.look(key_ids)
    own = await own_campaigns(campaigns, key_ids)
    now_us = time.time_ns() // 1000
    allowed = {one.subject for one in await ControlStore(client).allow_list() if one.holds(now_us)}
    return {
        one.key_id: Known(
            local_evidence(one, own.get(one.key_id, "")),
            excuse(one.key_id, one.account, allowed),
        )
        for one in subjects
    }


async def own_campaigns(campaigns: CampaignStore, key_ids: Sequence[str]) -> dict[str, str]:
    """Key id → campaign of our own at level suspect or above that it belongs to, for those that do.

    Raises:
        StateUnavailable: the server is away.
    """
    names = await campaigns.of_keys(key_ids)
    heads = {name: await campaigns.head(name) for name in set(names.values())}
    own = {name for name, head in heads.items() if head is not None and head.campaign.level >= Level.SUSPECT}
    return {key_id: name for key_id, name in names.items() if name in own}


def local_evidence(one: Subject, campaign: str) -> str:
    """Evidence of our own against a key, in words; empty without any.

    Args:
        one: the key.
        campaign: of our own at level suspect or above that it belongs to; empty.
    """
    if campaign:
        return f"belongs to our own campaign {campaign}"
    if one.fact.level >= Level.WATCH:
        return f"our own verdict is {one.fact.level.name.lower()}"
    return ""
