"""Which id a key goes by while the pepper changes."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import StateUnavailable
from app.gateway import rotation
from app.gateway.identity import Hasher
from app.gateway.rotation import Rotation

OLD, NEW = Hasher("the pepper until now"), Hasher("the pepper from now on")
SECRET = b"sk-one"


class Taker:
    """Takes keys over when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.asked: list[tuple[str, str]] = []
        self.fault: Exception | None = None

    async def adopt(self, old: str, new: str) -> None:
        """As `app.state.adoption.Adoption.adopt`."""
        self.asked.append((old, new))
        await self.let.wait()
        if self.fault is not None:
            raise self.fault


async def test_the_old_id_counts_until_everything_was_taken_over() -> None:
    """Requests go on under the old id meanwhile, the takeover is asked for once, and then the new id counts."""
    taker = Taker()
    overlap = Rotation(OLD, taker.adopt)
    old, new = OLD.key(SECRET), NEW.key(SECRET)
    assert [overlap.present(SECRET, new) for _ in range(3)] == [old] * 3
    await asyncio.sleep(0)
    assert taker.asked == [(old, new)]
    taker.let.set()
    await asyncio.sleep(0.01)
    assert overlap.present(SECRET, new) == new
    assert taker.asked == [(old, new)]
    await overlap.stop()


@pytest.mark.parametrize("fault", [StateUnavailable("away"), RuntimeError("broken")])
async def test_a_takeover_that_fails_is_tried_again(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key works on under its old id, and its next request after the pause asks again."""
    monkeypatch.setattr(rotation, "RETRY_SEC", 0.01)
    taker = Taker()
    taker.fault = fault
    taker.let.set()
    overlap = Rotation(OLD, taker.adopt)
    new = NEW.key(SECRET)
    assert overlap.present(SECRET, new) == OLD.key(SECRET)
    await asyncio.sleep(0.05)
    taker.fault = None
    assert overlap.present(SECRET, new) == OLD.key(SECRET)
    await asyncio.sleep(0.05)
    assert overlap.present(SECRET, new) == new
    assert len(taker.asked) == 2
    await overlap.stop()


async def test_takeovers_are_bounded() -> None:
    """No more than MAX_RUNNING run at a time; the others wait for their keys' next requests."""
    taker = Taker()
    overlap = Rotation(OLD, taker.adopt)
    for number in range(50):
        secret = b"sk-%d" % number
        assert overlap.present(secret, NEW.key(secret)) == OLD.key(secret)
    await asyncio.sleep(0)
    assert len(taker.asked) == rotation.MAX_RUNNING
    await overlap.stop()
