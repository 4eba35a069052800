"""Tags are what a gateway adds, changes of a group are the least there are, folders are swept in time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from msgspec import structs
from pydantic import SecretStr

from app.admin.watermark_folders import TEXT_DAYS, Folders, Investigation
from app.admin.watermarking import changes, profile_of, profiles, tag
from app.errors import BadInput, Conflict
from app.gateway.marking import Marking
from app.settings import Settings, StateSettings, WatermarkSettings
from app.watermark.sources import Sources, read_sources
from detectors.watermark.keys import KeyRing, MasterSecret
from detectors.watermark.registry import WORDS, MarkProfile, Registry

SECRET = MasterSecret(b"s" * 32)
PROFILE = MarkProfile(id="chat", scheme="gumbel", tokenizer="0" * 64, epoch="e1")
LATER = MarkProfile(id="later", scheme="gumbel", tokenizer="0" * 64, epoch="e1", valid_from="2999-01-01")
UNKNOWN = MarkProfile(id="gone", scheme="gumbel", tokenizer=WORDS, epoch="e0")
DAY_US = 86_400_000_000


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("group", ["", "c-0123456789ab"])
def test_a_tag_is_what_a_gateway_adds(engine: str, group: str) -> None:
    """For both engines, with and without a campaign's mark."""
    settings = WatermarkSettings.model_validate(
        {"profile": "chat", "engine": engine, "profiles_file": "p", "secrets": SecretStr("x")}
    )
    sources = Sources(Registry([PROFILE]), KeyRing({"e1": SECRET}))
    marking = Marking(settings, sources, lambda tenant: group)
    made = tag(SECRET, PROFILE, "acme", group, engine)  # type: ignore[arg-type]
    assert made.fields == marking.fields(PROFILE, "acme")
    assert SECRET.derive("fingerprint").hex() not in made.model_dump_json()


def _written(folder: Path, **more: str) -> WatermarkSettings:
    (folder / "profiles.json").write_text(Registry([PROFILE, LATER, UNKNOWN]).dumped())
    return WatermarkSettings.model_validate(
        {"profiles_file": folder / "profiles.json", "secrets": SecretStr('{"e1": "' + "ab" * 32 + '"}'), **more}
    )


def test_profiles_are_told_with_fingerprints_and_without_secrets(tmp_path: Path) -> None:
    """Which is in force, which a setting names, whose secret is not there; no secret in any form of the answer."""
    told = profiles(_written(tmp_path, profile="chat, later", engine="vllm"))
    rows = [(one.id, one.named, one.in_force, one.secret is not None) for one in told.profiles]
    assert rows == [("chat", True, True, True), ("later", True, False, True), ("gone", False, False, False)]
    assert told.profiles[0].secret == MasterSecret(b"\xab" * 32).fingerprint()
    assert "ab" * 16 not in told.model_dump_json()


def test_the_profile_in_force_is_taken_where_none_is_named(tmp_path: Path) -> None:
    """Without one in force, and for one that is unknown or without a secret, the field is named."""
    settings = _written(tmp_path, profile="chat", engine="vllm")
    sources = read_sources(settings)
    assert profile_of(settings, sources, None).id == "chat"
    assert profile_of(settings, sources, "later").id == "later"
    for name, rule in (("none", "no profile is called 'none'"), ("gone", "no master secret for epoch 'e0'")):
        with pytest.raises(BadInput, match=rf"body\.profile: {rule}"):
            profile_of(settings, sources, name)
    with pytest.raises(BadInput, match=r"body\.profile: must be given"):
        profile_of(_written(tmp_path), sources, None)


def test_a_group_becomes_exactly_its_tenants() -> None:
    """Those who join are given it, those who left lose it, those who are in it are left alone, and movers are counted."""
    present = {"stays": "c-1", "left": "c-1", "moves": "c-2", "elsewhere": "c-2"}
    give, take, made = changes("c-1", ["stays", "moves", "joins", "joins"], present)
    assert (give, take) == (["moves", "joins"], ["left"])
    assert (made.tenants, made.added, made.removed, made.moved) == (3, 2, 1, 1)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Of a folder of its own."""
    watermark = WatermarkSettings(investigations_days=30, investigations_most=3)
    return Folders(Settings(state=StateSettings(data_dir=tmp_path), watermark=watermark))


def _made(folders: Folders, age_days: float = 0.0, **more: object) -> Investigation:
    made = folders.make(
        name="shard", profile="chat", form="jsonl", field="", texts="auto", size=9, sha256="0" * 64, reason="why", by="ann"
    )
    folders.corpus(made).write_bytes(b"nine here")
    old = structs.replace(made, changed_us=made.changed_us - int(age_days * DAY_US), **more)
    folders._write(old)
    return old


def test_investigations_are_erased_in_time(folders: Folders) -> None:
    """After the days of the setting, but for those that run; a data set that no run brought to its end goes earlier."""
    kept = _made(folders, 29, stage="done")
    old = _made(folders, 31, stage="done")
    runs = _made(folders, 31, stage="running")
    assert folders.sweep(time.time_ns() // 1000) == 1
    assert {one.id for one in folders.all()} == {kept.id, runs.id}
    assert folders.received(runs) == 9
    assert folders.received(kept) == 0
    assert not (folders.root / old.id).exists()


def test_a_data_set_that_nobody_runs_is_not_held_for_long(folders: Folders) -> None:
    """After a week it is gone, and the investigation waits for it again."""
    young, old = _made(folders, TEXT_DAYS - 1, stage="uploaded"), _made(folders, TEXT_DAYS + 1, stage="uploaded")
    folders.sweep(time.time_ns() // 1000)
    assert folders.received(young) == 9
    assert folders.received(old) == 0
    found = folders.get(old.id)
    assert found is not None
    assert found.stage == "waiting"


def test_what_an_interrupted_erasure_left_is_swept(folders: Folders) -> None:
    """A folder without its record goes."""
    one = _made(folders)
    (folders.root / one.id / "investigation.json").unlink()
    folders.sweep(time.time_ns() // 1000)
    assert not (folders.root / one.id).exists()


def test_only_so_many_are_made(folders: Folders) -> None:
    """The one beyond is a conflict."""
    for _ in range(3):
        _made(folders)
    with pytest.raises(Conflict, match="3 investigations are kept"):
        _made(folders)


def test_only_one_process_works_in_a_folder(folders: Folders, tmp_path: Path) -> None:
    """A second holder is refused until the first lets go."""
    folders.own()
    other = Folders(Settings(state=StateSettings(data_dir=tmp_path)))
    with pytest.raises(Conflict, match="another admin process"):
        other.own()
    folders.release()
    other.own()
    assert other.owned


@pytest.mark.parametrize("name", ["..", "wi-", "wi-q7m2kd5xw3ah/", "WI-q7m2kd5xw3aha", "../wi-q7m2kd5xw3aha"])
def test_no_other_name_is_looked_up(folders: Folders, name: str) -> None:
    """What is no id is nothing, so no path leads out of the folder."""
    _made(folders)
    assert folders.get(name) is None


def test_sweeping_leaves_what_is_just_being_made(folders: Folders) -> None:
    """While one thread sweeps, another makes investigations: each is there afterwards."""
    stop = threading.Event()

    def _sweep() -> None:
        while not stop.is_set():
            folders.sweep(time.time_ns() // 1000)

    sweeping = threading.Thread(target=_sweep)
    sweeping.start()
    try:
        for _ in range(60):
            made = _made(folders)
            assert folders.get(made.id) is not None
            folders.erase(made)
    finally:
        stop.set()
        sweeping.join()
