"""What the linker says: campaigns, their members, the evidence that ties them, and how they came to be.

A campaign is a set of keys acting as one. Values only: they go to Redis, to `campaigns.jsonl`, to the admin API and to
people, and hold no client text. Times are unix microseconds of event time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from detectors.contract import Level

Happening = Literal["formed", "joined", "left", "merged", "split", "level"]


class Evidence(msgspec.Struct, frozen=True):
    """What one channel says about a campaign.

    Attributes:
        channel: name of the channel, see `channels.CHANNELS`.
        kind: the kind of evidence it belongs to; kinds are independent of each other, channels of one kind are not.
        nats: log-likelihood ratio of "one operation" against "unrelated honest keys", capped.
        share: share of the members that show it.
        honest: share of honest keys that show the same, for comparison.
        text: a sentence for an analyst; holds no client text.
    """

    channel: str
    kind: str
    nats: float
    share: float
    honest: float
    text: str


class Member(msgspec.Struct, frozen=True):
    """A key in a campaign.

    Attributes:
        key_id: keyed hash of the key.
        org: its organisation, or the key itself where it belongs to none.
        joined_us: when it was first found to belong.
        strength: how surely it belongs, 0 … 1.
        channels: names of the channels that tie it to other members, the strongest first.
        requests: exchanges it has sent, as of its newest trace.
        leaked: different valuable responses it has taken.
        seen_us: end of the newest pass that found it in the group.
    """

    key_id: str
    org: str
    joined_us: int
    strength: float
    channels: tuple[str, ...] = ()
    requests: int = 0
    leaked: int = 0
    seen_us: int = 0


class Link(msgspec.Struct, frozen=True, array_like=True):
    """An edge of the picture: two members, and what ties them.

    Attributes:
        a, b: key ids.
        nats: weight of the edge.
        channels: the strongest first.
    """

    a: str
    b: str
    nats: float
    channels: tuple[str, ...] = ()


class Turn(msgspec.Struct, frozen=True):
    """One happening in the life of a campaign.

    Attributes:
        at_us: end of the pass that saw it.
        what: what happened.
        keys: how many keys it concerned.
        other: id of the other campaign of a merge or split; empty else.
        level: the new level of a change of level.
    """

    at_us: int
    what: Happening
    keys: int = 0
    other: str = ""
    level: str = ""


class Campaign(msgspec.Struct, frozen=True):
    """A group of keys, as the newest pass left it.

    Attributes:
        id: stable while it lives, "c-" and 12 hexadecimal digits.
        level: of the group as one entity. WATCH: a group that may be one; SUSPECT: one that is reported; CONFIRMED:
            reported on two independent kinds of evidence.
        score: 0 … 1, higher is more suspicious.
        first_us: end of the pass that formed it.
        flagged_us: when it first was SUSPECT; None if never.
        since_us: when the present level began.
        at_us: end of the newest pass that changed it.
        called_us: when the evidence last called for the present level or a higher one.
        members: the strongest first.
        evidence: the strongest first.
        organisations: different ones among the members.
        requests: exchanges of all members.
        leaked: different valuable responses that the members took, all together.
        template: the constant words of the shared template as 16-bit hashes, runs of them; a slot lies between two runs.
        links: the strongest edges among the members, for a picture; bounded.
        history: newest last; bounded.
        merged_into: id of the campaign that took this one in; empty while it lives on its own.
        closed: nobody belongs any more.
    """

    id: str
    level: Level
    score: float
    first_us: int
    since_us: int
    at_us: int
    called_us: int = 0
    flagged_us: int | None = None
    members: tuple[Member, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    organisations: int = 0
    requests: int = 0
    leaked: int = 0
    template: tuple[bytes, ...] = ()
    links: tuple[Link, ...] = ()
    history: tuple[Turn, ...] = ()
    merged_into: str = ""
    closed: bool = False

    @property
    def reported(self) -> bool:
        """Shown to people as a campaign: SUSPECT or more, and alive."""
        return self.level >= Level.SUSPECT and not self.closed and not self.merged_into

    @property
    def kinds(self) -> tuple[str, ...]:
        """Independent kinds of evidence behind it, in order of weight."""
        return tuple(dict.fromkeys(one.kind for one in self.evidence if one.nats > 0.0))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Campaign)


def encode(campaign: Campaign) -> bytes:
    """The campaign as msgpack."""
    return _encoder.encode(campaign)


def decode(data: bytes) -> Campaign:
    """Inverse of `encode`.

    Raises:
        ValueError: the bytes are no campaign of this release.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a campaign: {type(error).__name__}") from None
