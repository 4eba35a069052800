"""Keys as the admin API tells them to a person with a token, where its address is given: the role decides who sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from app.cli.api import Api, part
from app.cli.whole import whole_key

if TYPE_CHECKING:
    from app.admin.models_intel_hits import SharedOut
    from app.admin.models_keys import ActionOut, HoldOut, KeyCampaign, KeyItem, KeyMarks, TimelineItem, VerdictOut


class Ordered(Protocol):
    """What is told of a person's order."""

    @property
    def by(self) -> str:
        """Who gave it."""
        ...

    @property
    def ref(self) -> str:
        """Its reference."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...


@dataclass(frozen=True, slots=True)
class KeyPage:
    """What `keys show` tells of one key, from the API or from the state itself."""

    key_id: str
    partition: int
    level: str
    verdict: VerdictOut | None
    action: ActionOut
    hold: HoldOut | None
    order: Ordered | None
    timeline: list[TimelineItem]
    campaign: KeyCampaign | None = None
    marks: KeyMarks | None = None
    shared: SharedOut | None = None

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "key_id": self.key_id,
            "partition": self.partition,
            "level": self.level,
            "verdict": None if self.verdict is None else self.verdict.model_dump(mode="json"),
            "action": self.action.model_dump(mode="json"),
            "hold": None if self.hold is None else self.hold.model_dump(mode="json"),
            "campaign": None if self.campaign is None else self.campaign.model_dump(mode="json"),
            "marks": None if self.marks is None else self.marks.model_dump(mode="json"),
            "shared": None if self.shared is None else self.shared.model_dump(mode="json"),
            "timeline": [item.model_dump(mode="json") for item in self.timeline],
        }


def listed(api: Api, limit: int, asked: Mapping[str, Any]) -> list[KeyItem]:
    """The first keys that fit; raises as `Api.call`."""
    from app.admin.models_keys import KeyItem

    return [KeyItem.model_validate(one) for one in api.rows("/v1/keys", "keys", limit, **asked)]


def shown(api: Api, start: str) -> KeyPage:
    """The one key whose id starts so; raises as `Api.call`, and BadInput where none or several do."""
    from app.admin.models_keys import KeyDetail, Timeline

    where = f"/v1/keys/{part(whole_key(api, start))}"
    found = KeyDetail.model_validate(api.get(where))
    changes = Timeline.model_validate(api.get(f"{where}/timeline"))
    return KeyPage(
        key_id=found.key_id,
        partition=found.partition,
        level=found.level,
        verdict=found.verdict,
        action=found.action,
        hold=found.hold,
        order=found.order,
        timeline=changes.changes,
        campaign=found.campaign,
        marks=found.marks,
        shared=found.shared,
    )


def campaign_line(found: KeyCampaign) -> str:
    """Which campaign the key belongs to, and why."""
    return (
        f"campaign: {found.id}, {found.level}, {found.keys:,} keys; strength {found.strength:.2f} by "
        f"{', '.join(found.channels) or 'its place among the others'}"
    )


def marks_line(found: KeyMarks) -> str:
    """How much watermarked text it has taken away."""
    return (
        f"marks: {found.tokens:,} tokens in {found.answers:,} answers, {found.evidence:,.1f} nats of evidence, "
        f"the last {utc(found.last)}"
    )


def shared_line(found: SharedOut) -> str:
    """What other providers shared that the key shows, and what follows."""
    who = sorted({one.member for seen in found.seen for one in seen.reporters})
    follows = {"nothing": "nothing follows", "priority": "look at it early", "automatic": "policy may act"}[found.effect]
    done = {"shadow": ", in shadow", "real": ", and does", "lifted": ", and a person took it back"}.get(found.acted, "")
    why = {"allow_list": " (allow-list)", "contract": " (its contract allows the use)"}.get(found.excuse, "")
    return (
        f"shared: fits {', '.join(dict.fromkeys(one.kind for one in found.seen))} reported by "
        f"{', '.join(who) or 'nobody any more'}, score {found.score:.0f} of 100: {follows}{done}{why}"
        + (f"; {found.local}" if found.local else "")
    )


def utc(moment: datetime | None) -> str:
    """A moment as people read it; "" for none."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
