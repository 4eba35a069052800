"""How many wrong tokens came from where. Bounded: an attacker with many addresses only pushes out his own older ones.

256 random bits cannot be guessed; the limit keeps guesses from costing the state server anything and makes them visible.
A token that was good within the last minute passes all the same, so that an operator behind the same proxy as an attacker
can go on working.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import OrderedDict

from fastapi import Request

log = logging.getLogger(__name__)

BURST = 20
"""Wrong tokens that one place may send at once."""

EVERY_SEC = 3.0
"""One more after this long, so 20 a minute."""

MAX_PLACES = 4096


def place_of(request: Request) -> str:
    """Where a request comes from: an IPv4 address, the /64 of an IPv6 address, or "" for a socket without one."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address) if address.version == 4 else address.packed[:8].hex()


class Failures:
    """A leaking bucket for each place."""

    def __init__(self) -> None:
        self._full_until: OrderedDict[str, float] = OrderedDict()  # place → when its bucket will be empty
        self._told: OrderedDict[str, None] = OrderedDict()

    def note(self, place: str) -> None:
        """One wrong token came."""
        now = time.monotonic()
        self._full_until[place] = max(now, self._full_until.get(place, now)) + EVERY_SEC
        self._full_until.move_to_end(place)
        if len(self._full_until) > MAX_PLACES:
            self._full_until.popitem(last=False)

    def tell(self, place: str) -> None:
        """A token was not looked at: a line in the log, one for each place and time over its limit."""
        if place not in self._told:
            self._told[place] = None
            if len(self._told) > MAX_PLACES:
                self._told.popitem(last=False)
            log.warning("too many wrong tokens come from one address; for a while none is looked at")

    def wait_sec(self, place: str) -> int:
        """How long until the next token of this place is looked at, in whole seconds; 0: it is looked at now."""
        over = self._full_until.get(place, 0.0) - time.monotonic() - (BURST - 1) * EVERY_SEC
        if over <= 0:
            self._told.pop(place, None)
        return max(0, math.ceil(over))
