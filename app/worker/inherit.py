"""Keeps what is done about a campaign in step with who belongs to it. Done by the worker that links.

All of it compares what stands with what shall be, so a second attempt after a crash does what is left and no more. A key
that joins gets its share in shadow first; `enforcement.campaigns.inherit_shadow_sec` later that becomes an order. It begins
and ends with the action, so its reference is the same whoever gives it, and the undo of the action finds it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from app.admin.ordering import Ordering, Wanted, now_us
from app.admin.subjects import Finder, Subject
from app.enforcement.campaigns import begins, excuse, mode_of, rule_of, wanted_by
from app.enforcement.policy import LINKER, reference, share_of
from app.errors import BadInput
from app.settings import EnforcementSettings, Settings
from app.state.accounts import AccountStore
from app.state.bulks import Bulk, BulkStore, Terms
from app.state.calls import Client
from app.state.campaign_acts import KEPT_US, Act, Acts, Share
from app.state.control import ControlStore
from app.state.key_facts import KeyFacts
from app.state.order_records import OrderRecords
from app.state.orders import Orders
from app.state.reading import StateReader
from detectors.campaign.contract import Campaign

log = logging.getLogger(__name__)

INHERIT_CHECK_SEC = 5.0
"""How often: after a pass somebody may have come or gone, and between passes a time in shadow may end."""

SLICE = 200
"""Keys of one step of the work."""

_SECOND_US = 1_000_000
_BEGIN_US = 60 * _SECOND_US
"""An action is stored before its bulk order: for so long its absence means that it is about to come."""

_KEPT_MS = 7 * 86_400_000


@dataclass(slots=True)
class Settled:
    """What one call did: keys that got a share, orders given and ended."""

    joined: int = 0
    given: int = 0
    ended: int = 0


class Inheritance:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, settings: Settings) -> None:
        partitions = settings.state.partitions
        orders, accounts = Orders(client), AccountStore(client)
        self._accounts = accounts
        self._control = ControlStore(client)
        self._bulks = BulkStore(client)
        self._finder = Finder(StateReader(client, partitions), accounts, KeyFacts(client, partitions), orders)
        self._ordering = Ordering(self._finder, orders, OrderRecords(client))
        self.acts = Acts(client)

    async def settle(self, campaigns: Mapping[str, Campaign], policy: EnforcementSettings, at_us: int) -> Settled:
        """Everything that is due.

        Args:
            campaigns: as the newest pass left them, with all members. About one that is not among them nothing changes.
            policy: in force.
            at_us: server time, unix µs: orders are by the clock, not by the time of exchanges.

        Raises:
            BadInput: too many orders stand; what was done up to then stands, and the next call goes on.
        """
        done = Settled()
        acts = await self.acts.all()
        old = [act.id for act in acts if act.ended_us and at_us - act.ended_us > KEPT_US]
        await self.acts.forget(old)
        newest: dict[str, Act] = {}
        for act in acts:
            if act.id not in old:
                newest[act.campaign] = await self._one(act, campaigns, policy, at_us, done)
        for campaign in campaigns.values():
            if begins(campaign, newest.get(campaign.id), policy):
                await self._one(await self._begin(campaign, policy, at_us), campaigns, policy, at_us, done)
        return done

    async def end(self, act: Act, by: str, note: str, at_us: int, done: Settled | None = None) -> None:
        """The action and all its orders end. Doing it twice does no harm."""
        if not act.ended_us:
            await self.acts.put(structs.replace(act, ended_us=at_us, ended_by=by))
        shares = await self.acts.shares(act.id)
        ended = 0
        if act.mode == "real":  # nobody has an order by an action in shadow
            ended = await self._undo(list(shares), await self.start(act), note, by)
        await self.acts.drop_shares(act.id, list(shares))
        if done is not None:
            done.ended += ended

    async def decide(self, act: Act, key_id: str, share: Share, confirm: bool, by: str, note: str, at_us: int) -> Share:
        """A person's word about one key of a standing action: real from now on, or out of it for as long as it stands."""
        new = Share("shadow" if confirm else "lifted", share.since_us, at_us if confirm else 0, by)
        if confirm and share.state == "real":
            return share
        await self.acts.put_shares(act, {key_id: new})
        if not confirm:
            await self._undo([key_id], await self.start(act), note, by)
            return new
        await self._give(act, {key_id: new}, await self.start(act), at_us, Settled(), None)
        return (await self.acts.shares_of(act.id, [key_id])).get(key_id, new)

    async def _one(
        self, act: Act, campaigns: Mapping[str, Campaign], policy: EnforcementSettings, at_us: int, done: Settled
    ) -> Act:
        """Brings one action up to date; as it is then."""
        campaign = campaigns.get(act.campaign)
        if act.ended_us:
            if await self.acts.shares(act.id):  # broken off, or a share came in between
                await self.end(act, act.ended_by, "the action about its campaign has ended", at_us, done)
            return act
        start_us, stands, waits = act.since_us, True, False
        if act.bulk:
            bulk = await self._bulks.get(act.bulk)
            if bulk is None:
                waits = stands = at_us - act.since_us < _BEGIN_US
            else:
                late = bulk.status == "proposed" and at_us >= bulk.terms.expires_us
                stands = bulk.status in ("proposed", "applying", "done") and not late
                waits = bulk.status == "proposed"
                start_us = bulk.start_us
        if stands and waits:
            return act
        if not stands or at_us >= start_us + act.ttl_sec * _SECOND_US or not wanted_by(campaign, act, policy):
            by = LINKER if stands else await self._undone_by(act)
            await self.end(act, by, "the action about its campaign has ended", at_us, done)
            return structs.replace(act, ended_us=at_us, ended_by=by)
        if campaign is not None:
            await self._members(act, campaign, campaigns, policy, start_us, at_us, done)
        return act

    async def _members(
        self,
        act: Act,
        campaign: Campaign,
        campaigns: Mapping[str, Campaign],
        policy: EnforcementSettings,
        start_us: int,
        at_us: int,
        done: Settled,
    ) -> None:
        """Shares for those who came, none for those who went, orders for those whose time in shadow is over."""
        shares = await self.acts.shares(act.id)
        members = {member.key_id for member in campaign.members}
        if campaign.merged_into:  # it goes on about its own keys; those of the other campaign are not its business
            other = campaigns.get(campaign.merged_into)
            if other is None:
                return
            members = {member.key_id for member in other.members} & set(shares)
        out = await self._excused(sorted(members), policy if act.by == LINKER else None)
        members -= out
        gone = [key_id for key_id, share in shares.items() if key_id not in members]
        done.ended += await self._undo(gone, start_us, "the key belongs to the campaign no more, or is excused", LINKER)
        # Who was lifted by a person stays so, should the key come back.
        await self.acts.drop_shares(act.id, [key_id for key_id in gone if shares[key_id].state != "lifted"])
        shadow_us = policy.campaigns.inherit_shadow_sec * _SECOND_US
        first = act.by == LINKER and not shares  # those that policy acts about from the start are no heirs
        real_us = 0 if act.mode == "shadow" else at_us if first else at_us + shadow_us
        joined = {key_id: Share("shadow", at_us, real_us) for key_id in sorted(members - set(shares))}
        await self.acts.put_shares(act, joined)
        done.joined += len(joined)
        held = {key_id: share for key_id, share in shares.items() if key_id in members} | joined
        if act.mode == "real":
            due = {key_id: one for key_id, one in held.items() if one.state == "shadow" and 0 < one.real_us <= at_us}
            await self._give(act, due, start_us, at_us, done, policy)

    async def _give(
        self,
        act: Act,
        due: Mapping[str, Share],
        start_us: int,
        at_us: int,
        done: Settled,
        policy: EnforcementSettings | None,
    ) -> None:
        """Orders for these keys, but for one about which another order stands: a person's word is not replaced."""
        if at_us + _SECOND_US >= start_us + act.ttl_sec * _SECOND_US:
            return
        wanted = Wanted(
            action=act.action,
            factor=act.factor,
            requests_per_min=act.requests_per_min,
            ttl_sec=act.ttl_sec,
            reason_code=act.reason_code,
            reason=act.reason,
            by=act.by,
            start_us=start_us,
            bulk=act.bulk,
        )
        names = list(due)
        for first in range(0, len(names), SLICE):
            part = names[first : first + SLICE]
            out = await self._excused(part, policy if act.by == LINKER else None)
            subjects = [
                one
                for one in await self._finder.look([key_id for key_id in part if key_id not in out])
                if _known(one) and (one.order is None or one.order.ref == reference(one.key_id, start_us))
            ]
            await self._ordering.give(subjects, wanted)
            real = {one.key_id: structs.replace(due[one.key_id], state="real") for one in subjects}
            await self.acts.put_shares(act, real)
            done.given += len(real)

    async def _undo(self, key_ids: Sequence[str], start_us: int, note: str, by: str) -> int:
        ended = 0
        for first in range(0, len(key_ids), SLICE):
            subjects = await self._finder.look(key_ids[first : first + SLICE])
            refs = [reference(one.key_id, start_us) for one in subjects]
            ended += await self._ordering.undo(subjects, refs, note, by)
        return ended

    async def _begin(self, campaign: Campaign, policy: EnforcementSettings, at_us: int) -> Act:
        """A new action that policy takes; where it is real, with a bulk order by which people see and undo all of it."""
        rule = rule_of(campaign.level, policy)
        mode = mode_of(rule, policy)
        act = Act(
            id=new_id(),
            campaign=campaign.id,
            action=rule.action,
            factor=rule.factor,
            requests_per_min=rule.requests_per_min,
            ttl_sec=rule.ttl_sec,
            reason_code="extraction",
            reason=f"policy about campaigns at level {campaign.level.name.lower()}",
            by=LINKER,
            mode=mode,
            level=campaign.level.name.lower(),
            since_us=at_us,
            bulk=f"bulk-{secrets.token_hex(8)}" if mode == "real" else "",
        )
        await self.acts.put(act)
        if act.bulk:
            out = await self._excused([member.key_id for member in campaign.members], policy)
            names = sorted(member.key_id for member in campaign.members if member.key_id not in out)
            bulk = Bulk(_terms(act, len(names)), "done", done=len(names), start_us=at_us)
            await self._bulks.create(bulk, names, rule.ttl_sec * 1000 + _KEPT_MS)
        log.info("campaign %s: policy takes %s, %s", act.campaign, act.action, act.mode)
        return act

    async def _excused(self, key_ids: Sequence[str], policy: EnforcementSettings | None) -> set[str]:
        """Those of the keys that are left out; with a policy, those too that it does not act about by its shares."""
        allowed = await allowed_subjects(self._control)
        out: set[str] = set()
        for first in range(0, len(key_ids), SLICE):
            part = key_ids[first : first + SLICE]
            accounts = await self._accounts.get_many(part)
            out |= {key_id for key_id in part if excuse(key_id, accounts.get(key_id), allowed)}
        if policy is not None:
            most = min(policy.enabled_percent, policy.enforced_percent)
            out |= {key_id for key_id in key_ids if share_of(key_id) >= most}
        return out

    async def start(self, act: Act) -> int:
        """When the action's orders begin."""
        bulk = await self._bulks.get(act.bulk) if act.bulk else None
        return act.since_us if bulk is None or not bulk.start_us else bulk.start_us

    async def _undone_by(self, act: Act) -> str:
        bulk = await self._bulks.get(act.bulk)
        return LINKER if bulk is None or not bulk.decided_by else bulk.decided_by


async def inherit(
    inheritance: Inheritance, campaigns: Iterable[Campaign], policy: EnforcementSettings, at_us: int
) -> Settled:
    """After a pass was stored: new members get their share of what is done, those who left lose it, policy acts.

    Args:
        inheritance: made once over the worker's client.
        campaigns: all of them, as the pass left them (`Linker.campaigns.values()`).
        policy: in force at the worker.
        at_us: by the clock, unix µs.

    Raises:
        StateUnavailable: the server is away; the next call does what is left.
    """
    try:
        return await inheritance.settle({one.id: one for one in campaigns}, policy, at_us)
    except BadInput as error:  # too many orders or records: some end, and a later pass goes on
        log.error("what is done about campaigns waits: %s", error)
        return Settled()


async def allowed_subjects(control: ControlStore) -> set[str]:
    """Subjects of the allow-list that count now."""
    at_us = now_us()
    return {entry.subject for entry in await control.allow_list() if entry.holds(at_us)}


def new_id() -> str:
    """Name of a new action."""
    return f"act-{secrets.token_hex(8)}"


def _known(one: Subject) -> bool:
    return one.fact.partition is not None or one.account is not None


def _terms(act: Act, keys: int) -> Terms:
    return Terms(
        id=act.bulk,
        subjects={"campaign": act.campaign},
        action=act.action,
        factor=act.factor,
        requests_per_min=act.requests_per_min,
        ttl_sec=act.ttl_sec,
        reason_code=act.reason_code,
        reason=act.reason,
        token_id="",
        by=act.by,
        keys=keys,
        since_us=act.since_us,
        expires_us=act.since_us,
        second=False,
    )
