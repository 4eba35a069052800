"""Reasoning that a client brings back: was it ever given to this entity, and in this conversation.

A model that reasons in the open gives its reasoning out in blocks, signed or encrypted, which a client sends back as the
conversation goes on. A block that was never given to an entity was given to another: reasoning that somebody gathers, or
signatures that are passed on. Honest clients hold no such block, unless they began a conversation elsewhere.

So nothing is held against an entity before its own blocks are known: it must have been given some through us, nearly every
answer that reasoned must have shown one, and it must have been watched for a week or since it was made. Keys of an
organisation share conversations, so for them the organisation is judged and the key is not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from detectors.event import Event
from detectors.sketch.decay import DAY_US
from detectors.tally import INDEX, Seen

if TYPE_CHECKING:
    from detectors.profile.state import Profile

_PAIR = struct.Struct("<QQ")
_EMITTING, _UNREAD = INDEX["emitting"], INDEX["unread"]

LEAST_GIVEN = 5
"""Answers with a block, in the decayed week."""

UNREAD_SHARE = 0.1
"""Of the answers that reasoned: those without a block that could be read. Above it, what is unknown may just be unread."""

WATCHED_US = 7 * DAY_US
NEW_US = DAY_US


def look_up(profile: Profile, event: Event, seen: Seen) -> None:
    """Fill what the profile knows about the blocks of an exchange, and note the ones it was given."""
    low = 0xFFFFFFFF
    if event.replayed and len(event.replayed) % _PAIR.size == 0 and _judged(profile, event):
        seen.replayed = True
        for block, chain in _PAIR.iter_unpack(event.replayed):
            if not profile.blocks.knows(block):
                seen.foreign = True
                seen.new_foreign += not profile.windows["foreign"].see(block & low)
            elif profile.blocks.moved(block, chain):
                seen.moved = True
    for at in range(0, len(event.emitted) - 7, 8):
        profile.blocks.give(int.from_bytes(event.emitted[at : at + 8], "little"), event.chain_digest, event.at_us)


def _judged(profile: Profile, event: Event) -> bool:
    if profile.kind == "key" and event.org_id:
        return False
    given, unread = float(profile.week[_EMITTING]), float(profile.week[_UNREAD])
    scale = float(profile.week_weight(event.at_us))
    watched = event.at_us - profile.first_at_us >= WATCHED_US
    new = profile.created_us > 0 and profile.first_at_us - profile.created_us <= NEW_US
    return given >= LEAST_GIVEN * scale and unread <= UNREAD_SHARE * (given + unread) and (watched or new)
