"""Stored orders → the JSON of the API. Pure."""

from __future__ import annotations

from typing import Any

from app.admin.models_orders import BeneathOut, BulkDetail, BulkOut, ChangedSet, EffectOut, OrderAction, OrderOut
from app.admin.views import moment
from app.state.bulks import Bulk
from app.state.order_records import OrderRecord
from app.state.orders import Order


def order(
    key_id: str, found: Order, record: OrderRecord | None, *, standing: bool, beneath: Order | None = None
) -> OrderOut:
    """One order; what it replaced is told where that is known, and what is beneath it while it stands."""
    narrows = found.action != "observe"
    replaced = None if record is None or record.replaced is None else record.replaced.ref or None
    return OrderOut(
        ref=found.ref,
        key_id=key_id,
        action=found.action,
        factor=found.factor if narrows else None,
        requests_per_min=found.requests_per_min if narrows else None,
        level=found.level,
        since=moment(found.since_us),
        until=moment(found.until_us),
        reason_code=found.reason_code,
        reason=found.reason,
        by=found.by,
        standing=standing,
        bulk=None if record is None else record.bulk or None,
        replaces=replaced,
        reinstates=None
        if beneath is None or not standing
        else BeneathOut(ref=beneath.ref, action=beneath.action, until=moment(beneath.until_us), by=beneath.by),
        overturned=record is not None and record.overturned,
    )


def bulk(found: Bulk) -> BulkOut:
    """An order about several keys."""
    return BulkOut(**_fields(found))


def bulk_detail(found: Bulk, changed: ChangedSet | None, effect: EffectOut | None) -> BulkDetail:
    """The same with what it would touch now."""
    return BulkDetail(**_fields(found), changed=changed, effect=effect)


def bulk_action(found: Bulk) -> OrderAction:
    """What it does about keys; an entry of the allow-list has policy do nothing about them."""
    if found.terms.action == "allow":
        return "observe"
    return found.terms.action  # type: ignore[return-value]  # as `Bulks` took it from an order


def _fields(found: Bulk) -> dict[str, Any]:
    terms = found.terms
    return {
        "id": terms.id,
        "status": found.status,
        "subjects": terms.subjects,
        "action": terms.action,
        "factor": terms.factor,
        "requests_per_min": terms.requests_per_min,
        "ttl_sec": terms.ttl_sec,
        "reason_code": terms.reason_code,
        "reason": terms.reason,
        "proposed_by": terms.by,
        "proposed_at": moment(terms.since_us),
        "expires": moment(terms.expires_us),
        "decided_by": found.decided_by or None,
        "decided_at": moment(found.decided_us) if found.decided_us else None,
        "decision": found.decision or None,
        "keys": terms.keys,
        "done": found.done,
        "skipped": found.skipped,
        "needs_second_person": terms.second,
    }
