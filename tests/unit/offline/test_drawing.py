"""Drawing leaves nothing in the user's home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRAW = """
import sys
from pathlib import Path
from app.offline import plots
plots.drivers([plots.Driver("a feature", 3, 0.5)], Path(sys.argv[1]))
"""


@pytest.mark.parametrize("named", [False, True])
def test_a_picture_leaves_nothing_but_itself(named: bool, tmp_path: Path) -> None:
    """No folder of settings, no list of fonts, no temporary folder; unless a place for them is named."""
    for name in ("home", "tmp", "named"):
        (tmp_path / name).mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    environ = plain | {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    if named:
        environ["MPLCONFIGDIR"] = str(tmp_path / "named")
    subprocess.run([sys.executable, "-c", DRAW, str(tmp_path / "picture.png")], env=environ, check=True, timeout=60)
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "tmp").iterdir())
    assert any((tmp_path / "named").iterdir()) is named
