"""The demonstration on a state server that the operator named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[3]


def test_a_database_in_use_is_refused(redis_db: str) -> None:
    """Invented traffic never mixes with real state: one sentence, before anything is made, and nothing is touched."""
    with redis.Redis.from_url(redis_db) as client:
        client.set("somebody", "works here")
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "demo", "--once"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "STILLWATCH_REDIS_URL": redis_db},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert client.keys() == [b"somebody"]
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("stillwatch: state.redis_url: the demonstration wants an empty database")


def test_a_server_that_is_away_is_one_sentence() -> None:
    """A named server that does not answer ends it at once."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", "--once"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "STILLWATCH_REDIS_URL": "redis://127.0.0.1:9/0"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("stillwatch: state.redis_url: ")
