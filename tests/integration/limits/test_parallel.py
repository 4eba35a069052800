"""Two hundred requests at once, over four processes: the limit holds, and is used up."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import redis

PROCESSES = 4
AT_ONCE = 50
SECONDS = 4.0


@pytest.mark.parametrize("kind", ["requests", "tokens"])
async def test_what_is_admitted_is_what_is_allowed(redis_db: str, tmp_path: Path, kind: str) -> None:
    """Admitted ÷ allowed lies in 1.00–1.01, for requests and for tokens that are reserved, used in part and settled."""
    program = (sys.executable, str(Path(__file__).with_name("asker.py")), redis_db, str(tmp_path), kind)
    processes = [
        await asyncio.create_subprocess_exec(
            *program,
            str(AT_ONCE),
            str(SECONDS),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    # All at the same time. The budget's own moments say how long it was in use.
    with redis.Redis.from_url(redis_db) as client:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        outputs = [(await process.communicate())[0] for process in processes]
        counts = [list(map(int, output.split())) for output in outputs]
        (name,) = client.keys("sw:*:lk:k")
        stored = {field.decode(): int(value) for field, value in client.hgetall(name).items()}
    assert sum(degraded for _, _, degraded in counts) == 0
    admitted = sum(count[0] for count in counts)
    used = sum(count[1] for count in counts)
    # `x` is the first charge, `t` the last: between them the budget was full once and refilled evenly.
    elapsed_us = stored["t"] - stored["x"]
    if kind == "requests":
        allowed = 600 + 600 * elapsed_us / 60e6
        assert (admitted + 1) / allowed >= 1.0  # up to one request has not been refilled yet
        assert admitted / allowed <= 1.01
    else:
        allowed = 60_000 + 60_000 * elapsed_us / 60e6
        assert used / allowed <= 1.01
        # A request is refused when less is left than it reserves, 200 tokens.
        assert (used + 200) / allowed >= 1.0
