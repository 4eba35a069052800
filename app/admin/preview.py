"""What an order would touch, before anything is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.admin.models_orders import SECOND_PERSON_ABOVE, SHOWN, EffectOut, LevelCounts, OrderAction
from app.admin.subjects import Subject
from app.admin.traffic import Traffic
from app.enforcement.policy import decode_verdict
from app.state.control import AllowEntry, ControlStore
from detectors.contract import Level


async def effect(
    subjects: Sequence[Subject], action: OrderAction, traffic: Traffic, control: ControlStore, now_us: int
) -> EffectOut:
    """The effect of doing `action` about these keys.

    Raises:
        StateUnavailable: the allow-list cannot be read.
    """
    allowed = {entry.subject: entry for entry in await control.allow_list() if entry.holds(now_us)}
    on_list = [entries for one in subjects if (entries := _entries(one, allowed))]
    levels = Counter(one.fact.level for one in subjects)
    share = await traffic.share(one.key_id for one in subjects)
    made = EffectOut(
        keys=len(subjects),
        organisations=len({one.org_id for one in subjects if one.org_id}),
        with_account=sum(one.account is not None for one in subjects),
        paying=sum(one.account is not None and bool(one.account.payment_id) for one in subjects),
        levels=LevelCounts(
            unjudged_or_clear=levels[Level.CLEAR],
            watch=levels[Level.WATCH],
            suspect=levels[Level.SUSPECT],
            confirmed=levels[Level.CONFIRMED],
        ),
        traffic=share,
        already=dict(Counter(_asked(one, now_us) for one in subjects)),
        ordered=sum(one.order is not None for one in subjects),
        allowed=len(on_list),
        allowed_subjects=sorted({subject for entries in on_list for subject in entries})[:SHOWN],
        examples=[one.key_id for one in subjects[:SHOWN]],
        needs_second_person=len(subjects) > SECOND_PERSON_ABOVE,
        warnings=[],
    )
    return made.model_copy(update={"warnings": _warnings(made, action)})


def _entries(one: Subject, allowed: dict[str, AllowEntry]) -> list[str]:
    names = (f"key:{one.key_id}", f"org:{one.org_id}")
    return [name for name in names if name in allowed]


def _asked(one: Subject, now_us: int) -> str:
    found = decode_verdict(one.fact.verdict)
    return "observe" if found is None or now_us >= found.until_us else found.action


def _warnings(made: EffectOut, action: OrderAction) -> list[str]:
    """What a person should know before going on."""
    told = []
    if made.needs_second_person:
        told.append(f"More than {SECOND_PERSON_ABOVE} keys: another person has to approve it before anything is done.")
    if action == "observe":
        if made.levels.suspect + made.levels.confirmed:
            flagged = made.levels.suspect + made.levels.confirmed
            told.append(f"Nothing is done about {flagged:,} flagged keys while the order stands, whatever they do.")
        return told
    if made.allowed:
        told.append(f"{_keys(made.allowed, 'is', 'are')} on the allow-list; a person's order acts about them all the same.")
    if made.levels.unjudged_or_clear:
        told.append(f"{_keys(made.levels.unjudged_or_clear, 'is', 'are')} clear or not judged.")
    if made.paying:
        told.append(f"{_keys(made.paying, 'has', 'have')} a means of payment in the account.")
    if made.ordered:
        told.append(f"{_keys(made.ordered, 'is', 'are')} under a person's order, which this one replaces.")
    if made.traffic.known and made.traffic.requests_share >= 0.05:
        told.append(f"The keys made {made.traffic.requests_share:.1%} of all requests of the last day.")
    return told


def _keys(number: int, one: str, many: str) -> str:
    """ "1 key is", "2 of the keys are"."""
    return f"1 key {one}" if number == 1 else f"{number:,} of the keys {many}"
