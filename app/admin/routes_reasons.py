"""Why something was done: a key's flags, explained as they were and scored again as of today, and statements of reasons."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query, Response

from app.admin import views_reasons
from app.admin.casebook import Casebook
from app.admin.deadline import answered
from app.admin.models import KEY_ID
from app.admin.models_reasons import REFERENCE, FlagDetail, FlagList, ReasonsQuery, StatementOut
from app.admin.permissions import permit
from app.enforcement.reasons import markdown
from app.enforcement.rescore import rescore
from detectors.model import Model, rules_only

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]
Ref = Annotated[str, Path(pattern=REFERENCE, description="reference of an action, as the customer sees it")]

_MARKDOWN = "text/markdown"
_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {_MARKDOWN: {"schema": {"type": "string"}}}}}
_NO_CASE = "No action of this reference is known; flags and orders are forgotten after a time."


def router(casebook: Casebook, model: Model | None) -> APIRouter:
    """The routes over one deployment's state; `model` is the one that judges today."""
    routes = APIRouter(prefix="/v1")
    present = model or rules_only()

    @routes.get("/keys/{key_id}/flags", tags=["keys"], dependencies=[permit("keys.read")])
    async def list_flags(key_id: KeyId) -> FlagList:
        """What the key's flags rested on, newest first. Kept for 400 days; none for a key that was never flagged."""
        async with answered():
            found = await casebook.flags.of_key(key_id)
        return FlagList(key_id=key_id, flags=[views_reasons.flag(record) for record in found])

    @routes.get("/keys/{key_id}/flags/{ref}", tags=["keys"], dependencies=[permit("keys.read")])
    async def get_flag(key_id: KeyId, ref: Ref) -> FlagDetail:
        """One flag as it was told then, and beside it how the same values score with the model of today."""
        async with answered():
            found = await casebook.flags.of_key(key_id)
        record = next((record for record in found if record.ref == ref), None)
        if record is None:
            raise HTTPException(404, "This key has no flag of that reference.")
        now = await asyncio.to_thread(rescore, record, present)
        return views_reasons.flag_detail(record, now)

    @routes.get(
        "/actions/{ref}/reasons",
        tags=["actions"],
        dependencies=[permit("keys.read")],
        response_model=StatementOut,
        responses=_FORMS,
    )
    async def get_reasons(
        ref: Ref, query: Annotated[ReasonsQuery, Query()], accept: Annotated[str, Header(include_in_schema=False)] = ""
    ) -> Any:
        """The statement of reasons of an action of the policy or of a person's order, as JSON or Markdown.

        Its text for a reference stays the same; where the action under it became stricter, that is another statement.
        """
        async with answered():
            case = await casebook.find(ref)
        if case is None:
            raise HTTPException(404, _NO_CASE)
        found = casebook.statement(case, query.audience)
        wanted = query.format or ("md" if _MARKDOWN in accept else "json")
        if wanted == "md":
            return Response(markdown(found), media_type=f"{_MARKDOWN}; charset=utf-8")
        return views_reasons.statement(found)

    return routes
