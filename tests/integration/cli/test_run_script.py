"""The `run` script starts the program where its caller is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _ready() -> bool:
    """Whether the script finds its environment as it left it; else it would install packages under the running tests."""
    marker = ROOT / ".venv" / "ready"
    locks = ("requirements.lock", "requirements-dev.lock")
    sums = [subprocess.run(["cksum", lock, "pyproject.toml"], cwd=ROOT, capture_output=True, check=True) for lock in locks]
    return marker.exists() and marker.read_bytes().strip() in [done.stdout.strip() for done in sums]


@pytest.mark.skipif(not _ready(), reason="the environment was not set up by the run script, or is out of date")
def test_paths_mean_what_they_say_where_the_caller_is(tmp_path: Path) -> None:
    """A relative path is taken from the caller's folder, and a folder that is missing is named in full."""
    (tmp_path / "mine.toml").write_text("[gateway]\nport = 12345\n")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "run", "stillwatch", *arguments],
            cwd=tmp_path, env=plain, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    shown = run("config", "show", "--config", "mine.toml")
    assert shown.returncode == 0, shown.stderr
    assert "port = 12345" in shown.stdout
    assert f"archive folder {tmp_path}/var/archive" in run("archive", "list").stderr
