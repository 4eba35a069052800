"""Reports: what enforcement did, or would have done, in a period."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from app.admin.acting import Acting
from app.admin.deadline import answered
from app.admin.models_policy import WouldAction, WouldCustomer, WouldPlan, WouldQuery, WouldReport
from app.admin.permissions import permit
from app.admin.telling import telling
from app.admin.views import micros, moment
from app.errors import StateUnavailable
from app.offline.would_have import Customer, Figures, figures, parse_since
from detectors.analysis import stored_verdict
from detectors.contract import Level
from detectors.profile import BadProfile

SCAN_SEC = 60.0
"""Longest scan of the archive; a longer period than that reads is for an offline tool."""


def router(acting: Acting) -> APIRouter:
    """The reports over one deployment's archive and state."""
    routes = APIRouter(prefix="/v1/reports", tags=["policy"])
    one_at_a_time = asyncio.Lock()  # each is a core for seconds

    @routes.get("/would-have", dependencies=[permit("policy.read")])
    async def get_would_have(query: Annotated[WouldQuery, Query()]) -> WouldReport:
        """What was done, and would have been, about the requests of a period: by action, plan and customer.

        From the archive, so the last minute or so is missing, and without a readable archive everything is.
        """
        since = parse_since(query.since, datetime.now(UTC))
        since_us = micros(since) or 0
        try:
            async with asyncio.timeout(SCAN_SEC), one_at_a_time:
                found = await asyncio.to_thread(figures, acting.settings.archive_dir, since_us)
        except TimeoutError:
            raise StateUnavailable(f"the archive was not read within {SCAN_SEC:g} s; ask for a shorter period") from None
        customers = () if found is None else found.customers
        async with answered(len(customers)):
            told = [await _told(acting, one) for one in customers]
        return _report(acting, since, found, told)

    return routes


def _report(acting: Acting, since: datetime, found: Figures | None, customers: Sequence[WouldCustomer]) -> WouldReport:
    return WouldReport(
        since=since,
        until=since if found is None else moment(found.until_us),
        known=found is not None,
        policy_digest=acting.control.policy_digest,
        mode=acting.control.policy.mode,
        requests=0 if found is None else found.requests,
        tokens=0 if found is None else found.tokens,
        keys=0 if found is None else found.keys,
        organisations=0 if found is None else found.organisations,
        would_refuse=0 if found is None else found.would_refuse,
        actions=[] if found is None else [WouldAction(**one) for one in found.actions],
        plans=[] if found is None else [WouldPlan(**one) for one in found.plans],
        customers=list(customers),
    )


async def _told(acting: Acting, one: Customer) -> WouldCustomer:
    """With level and most telling reason of its most suspicious key, as they are now."""
    subjects = await acting.finder.look(one.key_ids)
    worst = max(subjects, key=lambda subject: (subject.fact.level, subject.fact.score), default=None)
    reason = ""
    if worst is not None:
        for key_id, data in (await acting.finder.states([worst])).items():
            try:
                verdict = stored_verdict(data, key_id, "key")
            except BadProfile:  # of another release
                continue
            said = None if verdict is None else telling(verdict)
            reason = "" if said is None else said.text
    return WouldCustomer(
        customer=one.customer,
        keys=one.keys,
        plan=one.plan,
        action=one.action,
        requests=one.requests,
        touched_requests=one.touched,
        refused=one.refused,
        level=(Level.CLEAR if worst is None else worst.fact.level).name.lower(),
        reason=reason,
    )
