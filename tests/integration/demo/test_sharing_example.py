"""The worked example of two providers: what one shares keeps nine in ten answers from leaking at the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.cli import main
from app.demo import sharing_show
from app.demo.shared_day import Way


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_example_keeps_nine_in_ten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command ends with status 0, the whole operation is caught, no honest key is, and no secret is printed."""
    assert main(["intel", "example", "--keep", str(tmp_path / "kept")]) == 0
    told, notes = capfd.readouterr()
    assert "confirmed, 24 keys of 24 organisations" in told
    rows = dict(re.findall(r"^(nothing shared|one reporter, agreed after 30 min|two reporters) +(.+)$", told, re.MULTILINE))
    leaked = {name: int(cells.split()[0].replace(",", "")) for name, cells in rows.items()}
    assert len(leaked) == 3
    assert max(leaked["one reporter, agreed after 30 min"], leaked["two reporters"]) <= leaked["nothing shared"] / 10
    assert all(cells.split()[-1] == "0" for cells in rows.values())
    assert rows["two reporters"].split()[2] == "12"
    for secret in (tmp_path / "kept").rglob("*"):
        if secret.name in ("secrets.json", "labs.json"):
            for word in re.findall(r"[0-9a-f]{32,}", secret.read_text("utf-8")):
                assert word not in told + notes


def test_example_fails_where_sharing_helps_little() -> None:
    """The share that is kept from leaking is what the status rests on."""
    assert sharing_show.status([Way("nothing", leaked=100), Way("", leaked=30), Way("", leaked=11)]) == 1
    assert sharing_show.status([Way("nothing", leaked=100), Way("", leaked=30), Way("", leaked=10)]) == 0


def test_example_folder_must_be_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with anything in it is refused, and left as it is."""
    (tmp_path / "mine").write_text("mine", "utf-8")
    assert main(["intel", "example", "--keep", str(tmp_path)]) == 1
    assert "--keep" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
