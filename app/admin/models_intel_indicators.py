"""What goes in and out of the routes over received indicators, who reported them, and what we say about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import Out
from app.admin.models_intel import GROUP
from app.admin.models_orders import ReasonText
from detectors.sharing.indicator import Kind

INDICATOR = r"^indicator--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
REPORTER = r"^(@bootstrap|@[0-9A-Za-z]{8}|[a-z0-9][a-z0-9_.-]{0,63})$"
ORGANISATION = r"^[A-Za-z0-9][A-Za-z0-9 ._&+-]{0,79}$"
INDICATOR_CURSOR = rf"^([a-z0-9-]{{1,32}} [@0-9A-Za-z_.-]{{1,65}} {INDICATOR[1:-1]})?$"

Now = Literal["looked for", "taken back", "set aside", "ended", "warned", "common here"]
OurWord = Literal["agree", "disagree"]


class IndicatorQuery(BaseModel):
    """What a list of indicators is asked for."""

    model_config = ConfigDict(extra="forbid")

    group: Annotated[str, Field(pattern=GROUP)] | None = Field(None, description="of this trust group")
    reporter: Annotated[str, Field(pattern=REPORTER)] | None = Field(None, description="sent by this member")
    kind: Kind | None = Field(None, description="of this kind")
    now: Now | None = Field(
        None,
        description="looked for; or why not: taken back by who sent it, set aside here, ended, its values are on the "
        "warning list (warned), or settled customers show it (common here)",
    )
    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="most in one page; a page may have fewer")
    cursor: Annotated[str, Field(pattern=INDICATOR_CURSOR)] = Field("", description="next_cursor of the page before")


class WordIn(BaseModel):
    """Why we agree or disagree."""

    model_config = ConfigDict(extra="forbid")

    reason: ReasonText = Field(description="for the audit log, one line; it does not leave")


class ReporterIn(BaseModel):
    """Whose a member is."""

    model_config = ConfigDict(extra="forbid")

    organisation: Annotated[str, Field(pattern=ORGANISATION)] = Field(
        description="that it belongs to; two members of one organisation are one voice"
    )


class SaidOut(Out):
    """What we say about an indicator."""

    word: OurWord
    at: datetime
    by: str = Field(description="token id of who said it; others are not told")
    keys_told: int = Field(description="keys that showed it then, as others are told: rounded down; 0: nothing is told")
    confirmed: list[str] = Field(description="members that this word counts as right")
    disputed: list[str] = Field(description="members that it counts as wrong")


class WordMade(SaidOut):
    """What we say about an indicator, and who is told."""

    group: str
    id: str
    shared: bool = Field(description="it is in our feed of the group, or waits to be sent to peers")
    peers: list[str] = Field(description="peers for whom it waits, or to whom it was sent")
    note: str = Field(description="why not everybody is told; empty: everybody is")


class IndicatorItem(Out):
    """A received indicator in a list."""

    group: str
    id: str = Field(description="STIX id")
    kind: Kind
    tokens: int = Field(description="how many it has")
    reporter: str = Field(description="member that sent it first, and alone can change it")
    tlp: str
    campaign: str = Field(description="STIX id of the campaign that it indicates; empty where none is told")
    version: datetime
    valid_from: datetime
    valid_until: datetime
    now: Now
    agree: int = Field(description="members that stand behind it, the reporter among them")
    disagree: int = Field(description="members that say that it is wrong")
    score: float = Field(description="0 … 100, of who reported it, how often they were right and how old it is")
    voices: int = Field(description="independent reporters; two may lead to something without a person")
    ours: OurWord | None = Field(description="what we say about it; null: nothing yet")


class IndicatorList(Out):
    """A page, in the order of group, reporter and id."""

    indicators: list[IndicatorItem]
    next_cursor: str | None = Field(description="for the next page; null: this is the last")


class VoiceOut(Out):
    """What one member says about an indicator."""

    member: str
    organisation: str
    trust: float = Field(description="0.05 … 0.6, see docs/intel.md")
    agrees: bool
    confidence: int = Field(description="0 … 100, its own; of who only agrees or saw it too, 50")
    at: datetime = Field(description="version of what it said")
    received: datetime
    weight: float = Field(description="what it adds to the score by itself, faded, 0 … 60; of who disagrees 0")


class IndicatorOut(IndicatorItem):
    """A received indicator, and everything that was said about it."""

    values: list[str] = Field(description="what a plain kind names; empty for other kinds")
    listed: list[str] = Field(description="those of them that are on the warning list")
    confidence: int = Field(description="0 … 100, the reporter's own")
    scheme: str = Field(description="how its tokens were made; empty for plain kinds")
    epoch: str = Field(description="of the group's key that they were made with; empty for plain kinds")
    words: list[VoiceOut]
    said: SaidOut | None
    keys: int = Field(description="keys that show it here")


class ReporterOut(Out):
    """A member as a reporter."""

    group: str
    member: str
    organisation: str
    since: datetime = Field(description="when it was first heard of")
    confirmed: int = Field(description="its reports that turned out right here")
    disputed: int = Field(description="those that turned out wrong, and its words for or against others' that did")
    trust: float = Field(description="0.05 … 0.6, see docs/intel.md")
    independent: bool = Field(description="it may count as one of two independent reporters")
    held: int = Field(description="indicators of it that are held")


class ReporterList(Out):
    """All reporters, by group and member."""

    reporters: list[ReporterOut]
