"""Stored appeals and labels → the JSON of the API. Pure."""

from __future__ import annotations

from typing import Literal

from app.admin.models_appeals import AppealDetail, AppealOut, LabelOut
from app.admin.models_reasons import StatementOut
from app.admin.views import moment
from app.state.appeals import Appeal, Words
from app.state.labels import Label

_HOUR_US = 3_600_000_000


def appeal(found: Appeal, now_us: int, sla_hours: float) -> AppealOut:
    """One appeal with its clock."""
    due_us = found.at_us + round(sla_hours * _HOUR_US)
    end_us = now_us if found.is_open else found.decided_us
    return AppealOut(
        id=found.id,
        ref=found.ref,
        key_id=found.key_id,
        filed=moment(found.at_us),
        age_hours=round(max(0, end_us - found.at_us) / _HOUR_US, 2),
        due=moment(due_us),
        overdue=end_us > due_us,
        by_person=found.by_person,
        action=found.action,
        level=found.level,
        placed_by=found.placed_by,
        status=_status(found),
        decided=None if found.is_open else moment(found.decided_us),
        decided_by=found.decided_by,
        note=found.note,
        label=found.label,
        release=_release(found),
        released_until=moment(found.decided_us + found.release_sec * 1_000_000) if found.release == "observe" else None,
    )


def detail(
    found: Appeal, words: Words | None, statement: StatementOut | None, now_us: int, sla_hours: float
) -> AppealDetail:
    """One appeal with the customer's words and the statement that it is about."""
    return AppealDetail(
        **appeal(found, now_us, sla_hours).model_dump(),
        contact=None if words is None else words.contact,
        text=None if words is None else words.text,
        statement=statement,
    )


def label(found: Label) -> LabelOut:
    """One label as it is stored."""
    return LabelOut(
        key_id=found.key_id,
        label=found.label,
        source=found.source,
        weight=found.weight,
        since=moment(found.from_us),
        until=moment(found.until_us),
        at=moment(found.at_us),
        by=found.by,
        ref=found.ref,
    )


def _status(found: Appeal) -> Literal["open", "upheld", "overturned", "partly"]:
    known: dict[str, Literal["upheld", "overturned", "partly"]] = {
        "upheld": "upheld",
        "overturned": "overturned",
        "partly": "partly",
    }
    return known.get(found.outcome, "open")


def _release(found: Appeal) -> Literal["none", "end", "observe"]:
    return "end" if found.release == "end" else "observe" if found.release == "observe" else "none"
