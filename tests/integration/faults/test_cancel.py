"""Callers that give up: the benchmark's proof, small."""

from __future__ import annotations

from benchmarks import cancel


async def test_given_up_calls_leave_nothing_and_reach_nobody_else() -> None:
    """Of 5,000 calls, half given up at random moments, none got another's reply, and no slot, task or call is left."""
    text, broken = await cancel.measure(5_000)
    assert not broken, text
    assert text.startswith("5,000 calls")
