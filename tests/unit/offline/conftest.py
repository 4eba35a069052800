"""Small request logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

START = 1_790_000_000.0


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Makes the `number`-th record of a log: a minute apart, three keys in turn."""

    def make(number: int, **changes: Any) -> dict[str, Any]:
        made = {
            "ts": START + 60 * number,
            "key": f"k_{number % 3}",
            "path": "/v1/chat/completions",
            "ip": "10.0.0.1",
            "headers": {"user-agent": "x"},
            "request": {"model": "m", "messages": [{"role": "user", "content": f"SECRET question {number}"}]},
            "response": {"status": 200, "latency_ms": 10.0, "usage": {"input_tokens": 9, "output_tokens": 300}},
        }
        return made | changes

    return make


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[[list[Any]], Path]:
    """Writes records, or lines as they are, to a log."""

    def write(lines: list[Any]) -> Path:
        path = tmp_path / "log.jsonl"
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write
