"""What goes in and out of the routes over private matching: sizes and names, never an identity."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import KeyId
from app.admin.models_watermark import SHA256
from app.intel.intersect.bounds import MOST_ANSWERER, MOST_ASKER
from app.state.intel_groups import GROUP, MEMBER

Group = Annotated[str, Field(pattern=GROUP)]
Peer = Annotated[str, Field(pattern=MEMBER)]


class RunIn(BaseModel):
    """One offer that is about to be made, or one answer."""

    model_config = ConfigDict(extra="forbid")

    run: KeyId = Field(description="id that both sides know it by")
    group: Group = Field(description="trust group")
    peer: Peer = Field(description="the other side, by the same name every time")
    role: Literal["asker", "answerer"] = Field(description="ours: the asker learns the result")
    reveals: bool = Field(description="members are asked for, not the size alone; only after a run about the size")
    own: Annotated[int, Field(ge=1, le=MOST_ANSWERER)] = Field(description="identities of ours")
    theirs: Annotated[int, Field(ge=0, le=MOST_ASKER)] = Field(
        0, description="identities of the peer, where they are known"
    )
    commitment: Annotated[str, Field(pattern=SHA256)] = Field(description="to the asker's set, as it stands in the offer")


class ResultIn(BaseModel):
    """What a run yielded."""

    model_config = ConfigDict(extra="forbid")

    reveals: bool = Field(description="members were told, not the size alone")
    size: Annotated[int, Field(ge=0, le=MOST_ASKER)] = Field(description="identities in common")
    theirs: Annotated[int, Field(ge=0, le=MOST_ANSWERER)] = Field(description="identities of the peer")


class RunOut(BaseModel):
    """One offer that was made, or one answer."""

    run: str
    group: str
    peer: str
    role: str
    reveals: bool
    own: int
    theirs: int = Field(description="0: not known when it was made")
    commitment: str
    at: datetime
    by: str = Field(description="token id of who did it")


class RunTaken(BaseModel):
    """A run that may go on."""

    runs: int = Field(description="runs with this peer in 30 days, in this role and of this kind, with this one")
    most: int = Field(description="how many there may be")


class RunList(BaseModel):
    """The newest first."""

    runs: list[RunOut]
