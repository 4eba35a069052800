"""How much traceable evidence a key has taken away. For people: whoever is marked must never learn how strongly."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from app.admin.deadline import answered
from app.admin.models import KEY_ID, Out
from app.admin.permissions import permit
from app.admin.views import moment
from app.state.mark_ledger import Marked, MarkLedger

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]


class LedgerRow(Out):
    """Marked answers to a key under one profile."""

    profile: str = Field(description="id of the profile; empty for all beyond the 32 that are kept apart")
    epoch: str = Field(description="of the secret")
    answers: int
    tokens: int = Field(description="that the client got under the mark")
    evidence: float = Field(
        description="nats above text without the mark: what a search of all these tokens can be expected to find"
    )
    first_at: datetime
    last_at: datetime


class Ledger(Out):
    """Marked answers to a key by profile and epoch, the newest first."""

    key_id: str
    tokens: int
    evidence: float = Field(description="of all rows together, nats")
    rows: list[LedgerRow]


def router(ledger: MarkLedger) -> APIRouter:
    """One route, over one deployment's state."""
    routes = APIRouter(prefix="/v1/watermark", tags=["watermark"])

    @routes.get("/ledger/{key_id}", dependencies=[permit("watermark.read")])
    async def get_ledger(key_id: KeyId) -> Ledger:
        """What a key has taken away under marks; no rows for one that has no marked answer, or none for 400 days.

        Expected evidence is the engine's own report where it makes one, else `watermark.expected_excess_per_token` for each
        token; of answers chosen by the gateway it is measured, and may be below zero for a few of them.
        """
        async with answered():
            rows = await ledger.of_key(key_id)
        return Ledger(
            key_id=key_id,
            tokens=sum(row.tokens for row in rows),
            evidence=round(sum(row.nats for row in rows), 6),
            rows=[_row(row) for row in rows],
        )

    return routes


def _row(row: Marked) -> LedgerRow:
    return LedgerRow(
        profile=row.profile,
        epoch=row.epoch,
        answers=row.answers,
        tokens=row.tokens,
        evidence=row.nats,
        first_at=moment(row.first_ms * 1000),
        last_at=moment(row.last_ms * 1000),
    )
