"""A key's recent exchanges. Who looks at them is recorded: they are a customer's doings, if not its words."""

from __future__ import annotations

import math
import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from app.admin.auditing import Auditor
from app.admin.caller import CallerDep
from app.admin.casebook import Casebook
from app.admin.deadline import answered
from app.admin.models import KEY_ID
from app.admin.models_events import EventList, EventOut, EventQuery
from app.admin.permissions import permit
from app.admin.recent import Seen
from app.admin.views import moment

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]

_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:/@+-]{0,63}")
"""What a model, a format or a library is called; a sentence is none of these."""


def router(casebook: Casebook, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state and archive."""
    routes = APIRouter(prefix="/v1", tags=["keys"])

    @routes.get("/keys/{key_id}/events", dependencies=[permit("events.read")])
    async def list_events(
        key_id: KeyId, query: Annotated[EventQuery, Query()], request: Request, caller: CallerDep
    ) -> EventList:
        """The key's exchanges, newest first: what the gateway counted and measured, without any text.

        From what waits for the archive, and from the archive where this machine has it. Each reading is audited.
        """
        await auditor.record(caller, request, "events.read", f"key:{key_id}", after=query.model_dump())
        async with answered():
            page = await casebook.recent.page(key_id, await casebook.places(key_id), query.before, query.limit)
        return EventList(
            key_id=key_id,
            events=[_event(one) for one in page.found],
            next_before=page.next_before or None,
            archive=page.archive,
        )

    return routes


def _event(seen: Seen) -> EventOut:
    event = seen.event
    return EventOut(
        id=f"{seen.place[0]}-{seen.place[1]}",
        at=moment(event.at_us),
        dialect=_word(event.dialect),
        route=_word(event.route),
        model=_word(event.model),
        stream=event.stream,
        status=event.status,
        outcome=_word(event.outcome),
        error=_word(event.error),
        finish_reason=_word(event.finish_reason),
        refusal=event.refusal,
        decision=_word(event.decision),
        input_tokens=event.input_tokens,
        output_tokens=event.output_tokens,
        reasoning_tokens=event.reasoning_tokens,
        cached_tokens=event.cached_tokens,
        tokens_estimated=event.tokens_estimated,
        latency_ms=event.latency_us / 1000,
        first_byte_ms=event.first_byte_us / 1000,
        messages=event.message_count,
        user_turns=event.user_turns,
        system_chars=event.system_chars,
        user_chars=event.user_chars,
        answer_chars=event.answer_chars,
        input_items=event.input_items,
        samples=event.n,
        max_tokens=event.max_tokens,
        temperature=_finite(event.temperature),
        top_logprobs=None if event.top_logprobs < 0 else event.top_logprobs,
        logit_bias_size=event.logit_bias_size,
        response_format=_word(event.response_format),
        tools=event.tool_count,
        tool_calls=event.tool_calls,
        reasoning_effort=_word(event.reasoning_effort),
        client=_word(event.sdk) or _word(event.agent_class),
        retry=event.retry_count,
        network=_word(event.asn_class),
        country=_word(event.country),
    )


def _word(text: str) -> str:
    """A plain word; `other` for what a client may have written there instead."""
    return text if not text or _PLAIN.fullmatch(text) else "other"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
