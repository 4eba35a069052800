"""Routes by which people act about keys: preview, order, look at what stands, undo."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response

from app.admin import views_orders
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.giving import GONE, act, undo_bulk
from app.admin.idempotency import once
from app.admin.models_orders import (
    IDEMPOTENCY_KEY,
    MAX_KEYS,
    REF,
    BulkOut,
    EffectOut,
    EndedOut,
    EndQuery,
    OrderIn,
    OrderList,
    OrderOut,
    OrderQuery,
    PlacedOut,
    PreviewIn,
    ReasonQuery,
    UndoneOut,
)
from app.admin.ordering import now_us
from app.admin.permissions import allowed, permit
from app.admin.preview import effect
from app.errors import BadInput
from app.state.order_records import OrderRecord
from app.state.orders import Order

ORDERS_PATH = "/v1/orders"
PREVIEW_PATH = "/v1/orders:preview"
MAX_ORDER_BYTES = 256 * 1024
"""5,000 key ids and what is said about them."""

_EXAMPLE = {
    "subjects": {"match": {"at_least": "suspect", "min_score": 0.9}},
    "action": "throttle",
    "factor": 0.1,
    "ttl_sec": 86400,
    "reason_code": "extraction",
    "reason": "one campaign, seen by the on-call analyst",
}

Ref = Annotated[str, Path(pattern=REF, description="reference of an order, or id of a bulk order")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=IDEMPOTENCY_KEY,
        description="a name of the client's for this request; repeated within a day with the same body it has the same "
        "answer and does nothing again",
    ),
]


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The order routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["orders"])

    @routes.post(
        "/orders:preview",
        dependencies=[permit("orders.write")],
        openapi_extra=described(PreviewIn, example={name: _EXAMPLE[name] for name in ("subjects", "action")}),
    )
    async def preview_order(request: Request) -> EffectOut:
        """What an order would touch: keys, organisations, paying customers, traffic, what is done already. Does nothing."""
        asked = await read_body(request, PreviewIn)
        async with acting.patiently():
            subjects = await acting.finder.find(asked.subjects)
            return await effect(subjects, asked.action, acting.traffic, acting.store, now_us())

    @routes.post(
        "/orders",
        status_code=201,
        dependencies=[permit("orders.write")],
        response_model=PlacedOut,
        responses={202: {"model": BulkOut, "description": "More than 100 keys: it waits for a second person"}},
        openapi_extra=described(OrderIn, example=_EXAMPLE),
    )
    async def give_order(request: Request, caller: CallerDep, idempotency_key: IdempotencyKey = None) -> Any:
        """Act about keys, each from its next request on, until the order ends by itself or is undone.

        A person's order acts in shadow mode too, and replaces one that stands. About more than 100 keys it becomes a
        proposal, answered with 202, which another person has to approve.
        """
        asked = await read_body(request, OrderIn)
        if asked.action == "suspend" and not allowed(caller.role, "orders.suspend"):
            raise HTTPException(403, f"The role {caller.role} does not have the permission orders.suspend.")
        body = await request.body()
        async with once(acting.replies, caller, idempotency_key, body) as reply:
            if reply.repeated is None:
                status, made = await act(acting, auditor, caller, request, asked)
                await reply.keep(status, made)
        return reply.answer()

    @routes.get("/orders", dependencies=[permit("keys.read")])
    async def list_orders(query: Annotated[OrderQuery, Query()]) -> OrderList:
        """Standing orders: about whom, by whom, why and until when."""
        async with answered():
            if query.key_id is not None:
                found, after = await acting.orders.get_many([query.key_id]), 0
            else:
                found, after = await _page(acting, query)
            fitting = {key_id: one for key_id, one in found.items() if _fits(one, query)}
            records = await acting.records.get_many([one.ref for one in fitting.values()])
            beneath = await acting.records.beneath(records.values(), now_us())
        listed = [
            views_orders.order(key_id, one, records.get(one.ref), standing=True, beneath=beneath.get(one.ref))
            for key_id, one in fitting.items()
        ]
        listed.sort(key=lambda one: one.since, reverse=True)
        return OrderList(orders=listed, next_cursor=str(after) if after else None)

    @routes.get("/orders/{ref}", dependencies=[permit("keys.read")])
    async def get_order(ref: Ref) -> OrderOut:
        """One order by its reference, also one that has ended within the last week."""
        async with acting.patiently():
            record, standing = await _find(acting, ref)
            beneath = (await acting.records.beneath([record], now_us())).get(ref)
        return views_orders.order(record.key_id, record.order, record, standing=standing, beneath=beneath)

    @routes.delete("/orders", dependencies=[permit("orders.write")])
    async def end_orders(request: Request, query: Annotated[EndQuery, Query()], caller: CallerDep) -> EndedOut:
        """End whatever people ordered about a key, with all that it replaced: what policy asks for is done again."""
        async with acting.patiently():
            (subject,) = await acting.finder.look([query.key_id])
            if subject.order is None:
                raise HTTPException(404, "No order stands about this key.")
            refs = [subject.order.ref, *(one.ref for one in await acting.ordering.stack(subject.order))]
        await auditor.record(
            caller, request, "order.end_all", f"key:{query.key_id}", reason=query.reason, before={"orders": refs}
        )
        async with answered():
            if not await acting.ordering.end_all(subject, query.reason, caller.name):
                raise HTTPException(409, "Another order was given about this key meanwhile; look at it again.")
        return EndedOut(key_id=query.key_id, ended=refs)

    @routes.delete(
        "/orders/{ref}",
        dependencies=[permit("orders.write")],
        responses={202: {"model": UndoneOut, "description": "More than 100 keys: it is being undone"}},
    )
    async def undo_order(
        ref: Ref, request: Request, response: Response, query: Annotated[ReasonQuery, Query()], caller: CallerDep
    ) -> UndoneOut:
        """Undo an order: from the next request on what stood before is done again, be that policy's or another order.

        An order that was overturned on appeal never stands again. With the id of a bulk order all of it is undone, or the
        proposal is withdrawn.
        """
        note = query.reason
        if ref.startswith("bulk-"):
            return await undo_bulk(acting, auditor, caller, request, response, ref, note)
        async with acting.patiently():
            record, standing = await _find(acting, ref)
            if not standing:
                raise HTTPException(409, "This order does not stand any more; nothing is done.")
            subjects = await acting.finder.look([record.key_id])
            again = (await acting.records.beneath([record], now_us())).get(ref)
        await auditor.record(
            caller,
            request,
            "order.undo",
            f"key:{record.key_id}",
            reason=note,
            before={"ref": ref, "action": record.order.action, "until_us": record.order.until_us},
        )
        async with answered():
            await acting.ordering.undo(subjects, [ref], note, caller.name)
        return UndoneOut(ref=ref, status="undone", keys=1, reinstated=None if again is None else again.ref)

    return routes


async def _find(acting: Acting, ref: str) -> tuple[OrderRecord, bool]:
    """The order of a reference, and whether it stands."""
    record = await acting.records.get(ref)
    if record is None:
        raise HTTPException(404, GONE)
    stands = await acting.orders.get(record.key_id)
    return record, stands is not None and stands.ref == ref


async def _page(acting: Acting, query: OrderQuery) -> tuple[dict[str, Order], int]:
    """About `limit` that fit, and where to go on."""
    if not query.cursor.isdigit() and query.cursor:
        raise BadInput("query.cursor: must be the next_cursor of a page of this list")
    cursor = int(query.cursor or 0)
    found: dict[str, Order] = {}
    for _ in range(MAX_KEYS):
        cursor, more = await acting.orders.page(cursor, query.limit)
        found |= {key_id: one for key_id, one in more.items() if _fits(one, query)}
        if not cursor or len(found) >= query.limit:
            break
    return found, cursor


def _fits(one: Order, query: OrderQuery) -> bool:
    return (query.action is None or one.action == query.action) and (query.by is None or one.by == query.by)
