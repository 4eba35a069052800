"""The one deadline of what a request asks of state."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.admin import deadline
from app.admin.deadline import answered
from app.errors import StateUnavailable


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "ANSWER_SEC", 0.05)
    monkeypatch.setattr(deadline, "AGAIN_SEC", 0.02)


async def test_what_is_in_time_passes() -> None:
    """The block ends as it would, and nothing strikes afterwards."""
    async with answered():
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_late_is_unavailable() -> None:
    """With the one error that the API answers 503 to; the task itself goes on."""
    with pytest.raises(StateUnavailable, match="in time"):
        async with answered():
            await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.06)


async def test_a_cancellation_that_was_lost_comes_again() -> None:
    """Whoever swallows the first ones is still stopped soon."""
    began = time.monotonic()

    async def deaf() -> None:
        lost = 0
        while lost < 3:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                lost += 1
        await asyncio.sleep(10)

    with pytest.raises(StateUnavailable):
        async with answered():
            await deaf()
    assert time.monotonic() - began < 5
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_somebody_elses_cancellation_passes() -> None:
    """A request whose client has left ends as cancelled, not as unavailable."""

    async def ask() -> None:
        async with answered(60):
            await asyncio.sleep(10)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_pass() -> None:
    """And leave nothing behind."""
    with pytest.raises(KeyError):
        async with answered():
            raise KeyError
    await asyncio.sleep(0.1)
