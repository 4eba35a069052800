"""Keeps the slots of running requests taken, so that they may be short-lived: a dead gateway's are free soon."""

from __future__ import annotations

import asyncio
import time

from app.errors import StateUnavailable
from app.limits.reservation import Reservation
from app.state.decisions import SLOT_SEC
from app.state.link import Caller
from app.state.wire import pack

RENEW_SEC = SLOT_SEC / 4
"""Three renewals may fail before a running request loses its slot."""

HELD_MAX_SEC = 6 * 3600
"""A request that has run for so long is not renewed any more: one that nobody settles must not hold a slot for ever."""

_AT_ONCE = 200


class SlotKeeper:
    """The admitted requests of this process that hold slots."""

    def __init__(self, link: Caller) -> None:
        self._link = link
        self._held: dict[str, tuple[Reservation, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def start(self) -> None:
        """Renews every RENEW_SEC until `stop`."""
        if self._task is None:
            self._task = asyncio.create_task(self._renew_for_ever())

    async def stop(self) -> None:
        """What is held is free again after SLOT_SEC."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    def hold(self, reservation: Reservation) -> None:
        """The request was admitted just now."""
        self._held[reservation.request_id] = (reservation, time.monotonic())

    def release(self, reservation: Reservation) -> None:
        """The request has ended."""
        self._held.pop(reservation.request_id, None)

    async def renew(self) -> None:
        """Moves the deadline of every slot that is still taken; one that was freed is not taken again."""
        held = list(self._held.values())
        for start in range(0, len(held), _AT_ONCE):
            calls = []
            for reservation, since in held[start : start + _AT_ONCE]:
                lasted = time.monotonic() - since
                if lasted > HELD_MAX_SEC or reservation.settled:
                    self.release(reservation)
                    continue
                # The server's clock at the admission plus our own time since then: no clock of ours is compared to it.
                deadline = reservation.at_us + int((lasted + SLOT_SEC) * 1_000_000)
                partition = reservation.partition
                try:
                    for name in reservation.slot_names:
                        renewal = pack("ZADD", name, "XX", "GT", deadline, reservation.request_id)
                        calls.append(self._link.call(renewal, partition))
                        calls.append(self._link.call(pack("PEXPIRE", name, SLOT_SEC * 1000), partition))
                except StateUnavailable:
                    continue  # its server is away; the next renewal is soon enough
            await asyncio.gather(*calls, return_exceptions=True)

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SEC)
            await self.renew()
