"""Puts the objects of a document into the queue of received objects, as far as there is place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.intel.documents import Found
from app.state.intel_received import ReceivedQueue

PART = 1_000
"""Objects at a time."""


class Part(NamedTuple):
    """What became of a part.

    Attributes:
        queued: in the queue now.
        red: left out: marked TLP:RED.
        dropped: left out: each broke a rule of its own.
        following: number of the object to go on with.
        full: the sender's queue has no more place.
    """

    queued: int
    red: int
    dropped: int
    following: int
    full: bool


async def take_part(queue: ReceivedQueue, group: str, member: str, part: Sequence[Found]) -> Part:
    """Queues the good ones of a part, which is not empty.

    Raises:
        StateUnavailable: the state server is away; some may be in the queue.
    """
    good = [one for one in part if one.content is not None and not one.red]
    queued = await queue.received(group, member, [one.data for one in good])
    full = queued < len(good)
    following = good[queued].number if full else part[-1].number + 1
    looked = [one for one in part if one.number < following]
    red = sum(one.red for one in looked)
    return Part(queued, red, len(looked) - queued - red, following, full)
