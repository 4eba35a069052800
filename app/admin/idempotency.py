"""A request that names itself (`Idempotency-Key`) is carried out once, however often a client repeats it within a day."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from fastapi.responses import Response
from pydantic import BaseModel

from app.admin.caller import Caller
from app.errors import BadInput, Conflict, StateUnavailable
from app.state.replies import Replies, Reply, digest

log = logging.getLogger(__name__)


class Once:
    """One request.

    Attributes:
        repeated: what it was answered before; None: it is new.
    """

    def __init__(self, replies: Replies, name: str, body: bytes, repeated: Reply | None) -> None:
        self.repeated = repeated
        self._replies = replies
        self._name = name
        self._body = body
        self._status, self._answer = (repeated.status, repeated.answer) if repeated else (500, b"")

    async def keep(self, status: int, made: BaseModel) -> None:
        """What was done is the answer, to repetitions too."""
        self._status, self._answer = status, orjson.dumps(made.model_dump(mode="json"))
        if self._name:
            try:
                await self._replies.keep(self._name, self._body, status, self._answer)
            except StateUnavailable as error:  # it is done; a repetition is refused for a minute, and then does it again
                log.warning("the answer to a named request is not kept: %s", error)

    def answer(self) -> Any:
        """The answer, as it was or as it is."""
        headers = {"idempotency-replayed": "true"} if self.repeated else None
        return Response(self._answer, self._status, headers, media_type="application/json")


@asynccontextmanager
async def once(replies: Replies, caller: Caller, key: str | None, body: bytes) -> AsyncIterator[Once]:
    """The request under its name, which belongs to the caller. Without a name it is always new.

    Raises:
        BadInput: the name was used for another request.
        Conflict: the same request is being carried out at this moment.
        StateUnavailable: names cannot be looked up.
    """
    if key is None:
        yield Once(replies, "", body, None)
        return
    name = hashlib.sha256(f"{caller.token_id}\0{key}".encode()).hexdigest()
    found = await replies.claim(name, body)
    if found is None:
        try:
            yield Once(replies, name, body, None)
        except BaseException:
            with suppress(StateUnavailable):
                await replies.release(name)
            raise
        return
    if found.body != digest(body):
        raise BadInput("header.idempotency_key: was used for another request within the last day")
    if not found.status:
        raise Conflict("this request is being carried out; ask again in a moment")
    yield Once(replies, name, body, found)
