"""Everything that explains what was done about a key: flags, orders, statements of reasons, appeals, labels, exchanges."""

from __future__ import annotations

from dataclasses import dataclass

from app.admin.acting import Acting
from app.admin.appeal_clock import AppealClock
from app.admin.recent import Recent
from app.enforcement import reasons
from app.enforcement.reasons import Audience, Redress, Statement
from app.state.appeals import Appeals
from app.state.calls import Client
from app.state.control import AllowEntry
from app.state.flags import FlagReader, FlagRecord
from app.state.keys import partition_of
from app.state.labels import Labels
from app.state.orders import Order
from app.state.recent_rows import RecentRows

_DAY_SEC = 86_400


@dataclass(frozen=True, slots=True)
class Case:
    """One action, by its reference.

    Attributes:
        key_id: the key that it is about.
        order: what a person ordered; None where the policy acted by itself.
        flag: what the policy's action rests on; for an order the newest flag that was there when it was given.
    """

    ref: str
    key_id: str
    order: Order | None
    flag: FlagRecord | None

    @property
    def action(self) -> str:
        """What was asked for."""
        if self.order is not None:
            return self.order.action
        return "" if self.flag is None else self.flag.measure.action

    @property
    def level(self) -> str:
        """The key's level then; "" where it was not known."""
        if self.order is not None:
            return self.order.level
        return "" if self.flag is None else self.flag.level

    @property
    def began_us(self) -> int:
        """Since when there is something to explain, unix µs."""
        if self.flag is not None:
            return self.flag.since_us
        assert self.order is not None
        return self.order.since_us


class Casebook:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away.

    Attributes:
        flags, appeals, labels: stores.
        clock: of the appeals that wait, as metrics; started and stopped with the admin process.
        recent: exchanges of a key.
    """

    def __init__(self, client: Client, acting: Acting) -> None:
        settings = acting.settings
        self.acting = acting
        self.flags = FlagReader(client, settings.state.partitions)
        self.appeals = Appeals(client, settings.admin.appeal_text_days * _DAY_SEC)
        self.labels = Labels(client)
        self.clock = AppealClock(self.appeals)
        self.recent = Recent(RecentRows(client), settings.archive_dir)

    async def find(self, ref: str) -> Case | None:
        """The action of a reference; None when there is none, or it is forgotten."""
        record = await self.acting.records.get(ref)
        if record is not None:
            flags = await self.flags.of_key(record.key_id)
            known = (flag for flag in flags if flag.at_us <= record.order.since_us)
            return Case(ref, record.key_id, record.order, next(known, None))
        flag = await self.flags.by_reference(ref)
        return None if flag is None else Case(ref, flag.key_id, None, flag)

    def statement(self, case: Case, audience: Audience) -> Statement:
        """The statement of reasons of an action."""
        policy = self.acting.control.policy
        hours = self.acting.settings.admin.appeal_sla_hours
        redress = Redress(hours, policy.contract_ground, policy.appeal_url)
        if case.order is not None:
            return reasons.of_order(case.order, case.flag, audience, redress)
        assert case.flag is not None
        return reasons.of_flag(case.flag, audience, redress)

    async def places(self, key_id: str) -> set[int]:
        """Partitions in which exchanges of a key may be."""
        count = self.acting.settings.state.partitions
        account = await self.acting.accounts.get(key_id)
        homes = {partition_of(key_id, count)}
        if account is not None and account.org_id:
            homes.add(partition_of(account.org_id, count))
        return homes | await self.acting.reader.places(key_id)

    async def forget(self, key_id: str) -> None:
        """Appeals about a key, the orders that they are about, and labels, for the key's erasure."""
        refs = {one.ref for one in await self.appeals.of_key(key_id)}
        await self.acting.records.forget(sorted(refs))
        await self.appeals.erase(key_id)
        await self.labels.erase(key_id)

    async def allowance(self, key_id: str, org_id: str, now_us: int) -> AllowEntry | None:
        """The entry of the allow-list that the key stands on now, its own before its organisation's."""
        subjects = [f"key:{key_id}", *([f"org:{org_id}"] if org_id else ())]
        for subject in subjects:
            entry = await self.acting.store.allow_get(subject)
            if entry is not None and entry.expires_us > now_us:
                return entry
        return None
