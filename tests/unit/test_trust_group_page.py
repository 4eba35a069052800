"""The commands of docs/operations.md about a group's key do what the page says, run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.intel import group_keys

PAGE = Path(__file__).parents[2] / "docs/operations.md"


def _commands(beginning: str) -> list[str]:
    """Blocks of the part "A trust group" that begin with this line."""
    (part,) = re.findall(r"^## A trust group\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [
        block for block in re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL) if block.startswith(beginning)
    ]


def test_epochs_overlap_as_written(tmp_path: Path) -> None:
    """The new epoch is understood before it is spoken, the last of the file; the old one stays, and then goes."""
    if shutil.which("jq") is None or shutil.which("openssl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("jq or openssl is not installed, and this is CI; apt-get install jq openssl")
        pytest.skip("jq or openssl is not installed")
    folder = tmp_path / "deploy/sharing/keys"
    rings = []
    for block in _commands("umask 077"):
        subprocess.run(["sh", "-euc", block], cwd=tmp_path, check=True, capture_output=True)
        rings.append(group_keys.load(folder)["labs"])
    assert [ring.epochs for ring in rings] == [
        ("2026-12-01",),
        ("2026-12-31", "2026-12-01"),
        ("2026-12-01", "2026-12-31"),
        ("2026-12-31",),
    ]
    made, waits, spoken, left = (group_keys.by_epoch(ring) for ring in rings)
    for epoch, keys in (("2026-12-01", (made, waits, spoken)), ("2026-12-31", (waits, spoken, left))):
        assert len({found[epoch].token((1 << 32) + 7) for found in keys}) == 1
    assert [path.name for path in folder.iterdir()] == ["labs.json"]
