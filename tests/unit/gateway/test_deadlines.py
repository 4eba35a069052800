"""Many deadlines on one timer."""

from __future__ import annotations

import asyncio

from app.gateway.deadlines import Deadlines


class Item:
    """Notes when it expires."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.done = loop.create_future()

    def expired(self) -> None:
        """Called by the deadlines."""
        self.done.set_result(self._loop.time())


async def test_deadline_strikes_after_its_time_and_once() -> None:
    """What is set expires, not before its time; what is cleared or set again does not expire then."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(0.08)
    began = loop.time()
    plain, cleared, renewed = Item(loop), Item(loop), Item(loop)
    for item in (plain, cleared, renewed):
        deadlines.set(item)
    await asyncio.sleep(0.04)
    deadlines.clear(cleared)
    deadlines.clear(cleared)
    deadlines.set(renewed)
    assert await plain.done - began >= 0.08
    assert not renewed.done.done()
    assert await renewed.done - began >= 0.12
    assert not cleared.done.done()


async def test_timer_runs_only_while_something_waits() -> None:
    """Without deadlines there is no timer, so an idle process sleeps."""
    deadlines = Deadlines(0.02)
    item = Item(asyncio.get_running_loop())
    deadlines.set(item)
    await item.done
    await asyncio.sleep(0.01)
    assert deadlines._handle is None
    deadlines.set(Item(asyncio.get_running_loop()))
    deadlines.close()
    assert deadlines._handle is None


async def test_an_item_may_set_itself_again_when_it_expires() -> None:
    """A deadline that is renewed by its own expiry strikes again."""
    deadlines = Deadlines(0.02)
    struck = asyncio.Event()

    class Again:
        """Renews itself once."""

        times = 0

        def expired(self) -> None:
            """Called by the deadlines."""
            self.times += 1
            if self.times == 2:
                struck.set()
            else:
                deadlines.set(self)

    deadlines.set(Again())
    async with asyncio.timeout(5):
        await struck.wait()
