"""Leaves a record of what a caller is about to change, before it is changed; without the record there is no change.

Call `Auditor.record` once in each route that changes something, after the request was found to make sense and before the
first write. When the route then fails, a second record that says so is written by itself (`failures_recorded`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import Request

from app.admin.caller import Caller
from app.admin.deadline import answered
from app.admin.words import CREDENTIAL
from app.errors import StateUnavailable
from app.settings import Settings
from app.state.audit import AuditLog
from app.telemetry import metrics

log = logging.getLogger(__name__)

MAX_VALUE_BYTES = 4096
"""Of `before` and `after` each, as JSON; of a larger one the record keeps size and digest."""

MAX_TEXT_CHARS = 500
"""Of subject and reason each."""

_TOLD_SEC = 86_400.0
_AGAIN_SEC = 10.0
"""Pause before the head is asked for again after the state server was away."""

_SECRET_NAME = re.compile(r"(.*_)?(token|secret|password|pepper|credential|authorization)", re.IGNORECASE)
_HIDDEN = "(hidden)"


class Auditor:
    """Writes to the audit log of one deployment.

    Args:
        audit: the log.
        settings: for the secret that addresses are hashed with: the pepper, else the bootstrap token.
    """

    def __init__(self, audit: AuditLog, settings: Settings) -> None:
        self._audit = audit
        secret = settings.identity.pepper.get_secret_value() or settings.admin.token.get_secret_value()
        self._key = hashlib.sha256(b"stillwatch audit address\0" + secret.encode()).digest()

    async def record(
        self,
        caller: Caller,
        request: Request,
        action: str,
        subject: str,
        *,
        reason: str = "",
        before: object = None,
        after: object = None,
    ) -> int:
        """The number of the new record. Await it before the change.

        Args:
            caller: who.
            request: for address and request id.
            action: what, as "order.place" or "token.revoke".
            subject: about what, as "key:<id>", "org:<id>", "token:<id>", "policy".
            reason: why, in the caller's words.
            before: what there is, anything that JSON can say; no secrets and no text of clients.
            after: what there will be.

        Raises:
            StateUnavailable: the record cannot be written; nothing must be changed.
        """
        record = {
            "at_us": time.time_ns() // 1000,
            "token_id": caller.token_id,
            "name": caller.name,
            "role": caller.role,
            "action": action,
            "subject": _text(subject),
            "reason": _text(reason),
            "before": _value(before),
            "after": _value(after),
            "address": self._address(request),
            "request_id": getattr(request.state, "request_id", ""),
            "outcome": "accepted",
        }
        number = await self._append(record)
        request.state.audited = number, record
        return number

    async def failed(self, request: Request, error: str) -> None:
        """A second record: what the first one announced did not happen, or not all of it. Never raises."""
        number, record = request.state.audited
        more = {"at_us": time.time_ns() // 1000, "outcome": "failed", "of": number, "error": error}
        try:
            await self._append({**record, "before": None, "after": None, **more})
        except StateUnavailable as away:
            log.error("record %d of the audit log did not come true (%s), and that is not in it: %s", number, error, away)

    async def tell_heads(self) -> None:
        """Logs the end of the chain now and daily, until it is cancelled: whoever keeps the log can prove a cut end."""
        while True:
            try:
                async with answered():
                    head = await self._audit.head()
            except StateUnavailable:
                await asyncio.sleep(_AGAIN_SEC)
                continue
            log.info("the audit log ends at %s", head)
            await asyncio.sleep(_TOLD_SEC)

    async def _append(self, record: Mapping[str, Any]) -> int:
        try:
            async with answered():
                number = await self._audit.append(record)
        except StateUnavailable:
            metrics.AUDIT_WRITE_FAILURES.inc()
            raise
        metrics.AUDIT_RECORDS.inc()
        return number

    def _address(self, request: Request) -> str:
        host = request.client.host if request.client else ""
        return hashlib.blake2b(host.encode(), key=self._key, digest_size=16).hexdigest()


async def failures_recorded(request: Request) -> AsyncIterator[None]:
    """A dependency of every guarded route: an error behind `record` becomes a second record."""
    try:
        yield
    except Exception as error:
        if getattr(request.state, "audited", None):
            auditor: Auditor = request.app.state.auditor
            await auditor.failed(request, type(error).__name__)
        raise


def _text(text: str) -> str:
    return CREDENTIAL.sub(_HIDDEN, text)[:MAX_TEXT_CHARS]


def _value(value: object) -> object:
    """A value within bounds, with nothing in it that looks like a secret."""
    hidden = _without_secrets(value)
    data = json.dumps(hidden, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    if len(data) <= MAX_VALUE_BYTES:
        return hidden
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _without_secrets(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            str(name): _HIDDEN if _SECRET_NAME.fullmatch(str(name)) and isinstance(inner, str) else _without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(inner) for inner in value]
    if isinstance(value, str):
        return CREDENTIAL.sub(_HIDDEN, value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
