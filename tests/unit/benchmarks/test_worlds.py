"""Worlds by name, and random worlds on other texts and wordings."""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from pathlib import Path

import pytest

from benchmarks import labelled
from benchmarks.labelled import NoBench
from benchmarks.training import profiles, worlds
from benchmarks.training.profiles import Kit

FRAME = """
pack = "packs/own"
start = 1770163200
[traces]
bulk = ["own"]
[roles]
document = ["own"]
[strata]
human_chat = { keys = 10, rate = 1.0 }
"""


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """A profile with one role, one trace and one stratum."""
    path = tmp_path / "frame.toml"
    path.write_text(FRAME)
    return path


def test_names_list_ranges_and_single_seeds() -> None:
    """A name stands for its seeds in order."""
    assert worlds.parsed("random-bb:200-202,7") == [("random-bb", seed) for seed in (200, 201, 202, 7)]


@pytest.mark.parametrize("name", ["random", "random:", ":3", "random:x", "random:9-3"])
def test_a_name_without_worlds_is_refused(name: str) -> None:
    """A name of another form is refused, and the sentence shows the right one."""
    with pytest.raises(argparse.ArgumentTypeError, match="profile:seeds"):
        worlds.parsed(name)


def test_a_world_on_other_texts_takes_their_roles_traces_and_pools(frame: Path, tmp_path: Path) -> None:
    """Roles, traces and pools of a world are those of its texts, its wordings those of its pack; strata stay."""
    texts = tmp_path / "roles.toml"
    pools = "".join(f'{family} = ["far"]\n' for family in profiles.POOLS)
    texts.write_text(f'[roles]\ndocument = ["far"]\n[traces]\nbulk = ["far"]\n[pools]\n{pools}')
    kit = Kit.of_frame(frame).with_texts(texts).with_pack(tmp_path / "wordings")
    world = tomllib.loads(profiles.draw(frame, 1, kit))
    assert (world["roles"], world["traces"]) == ({"document": ["far"]}, {"bulk": ["far"]})
    assert world["pack"] == str((tmp_path / "wordings").resolve())
    assert {name for one in world["campaigns"] for name in one["pool"]} == {"far"}
    assert set(world["strata"]) == {"human_chat"}


def test_a_world_draws_the_same_campaigns_on_every_kit(frame: Path, tmp_path: Path) -> None:
    """Only texts and wordings differ between kits: families, sizes and rates of a seed are the same."""
    own = tomllib.loads(profiles.draw(frame, 3))["campaigns"]
    other = tomllib.loads(profiles.draw(frame, 3, Kit.of_frame(frame).with_pack(tmp_path)))["campaigns"]
    assert own == other


def test_missing_texts_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A world on corpora that are not here says which, and how they are made."""
    bench = tmp_path / "bench"
    (bench / "profiles").mkdir(parents=True)
    (bench / "traffic.py").touch()
    (bench / "profiles" / "dev-small.toml").write_text(FRAME)
    monkeypatch.setenv(labelled.ENV, str(bench))
    monkeypatch.setenv(labelled.CORPORA_ENV, str(tmp_path))
    with pytest.raises(NoBench, match=r"no corpora q .*python -m benchmarks\.corpora"):
        labelled.generate("random-qa", 1)
    with pytest.raises(NoBench, match="no wordings q"):
        labelled.generate("random-aq", 1)


def test_what_was_made_of_another_world_is_thrown_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A world of one name that is told otherwise is generated anew, and what was computed from the old one goes with it."""
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "traffic.py").write_text(
        "import sys; from pathlib import Path; a = sys.argv\n"
        "Path(a[a.index('--out') + 1], 'log').write_text(Path(a[a.index('--profile') + 1]).read_text())\n"
    )
    monkeypatch.setenv(labelled.ENV, str(bench))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first = labelled.made("own", 1, "keys = 1\n").folder
    (first / "items.msgpack").touch()
    assert labelled.made("own", 1, "keys = 1\n").folder == first
    assert (first / "items.msgpack").exists()
    labelled.made("own", 1, "keys = 2\n")
    assert (first / "log").read_text() == "keys = 2\n"
    assert not (first / "items.msgpack").exists()
