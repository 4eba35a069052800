"""Linking an archive partition by partition: the same campaigns wherever the partitions were read."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from app.cli import main
from app.errors import BadInput, ConfigError
from app.offline import many
from app.offline.many import Gathered, Linked, gather_all, link
from app.offline.progress import Silent
from app.state.row_store import RowPlan
from app.worker import rows
from app.worker.archive import ArchiveFile, list_files, path_of
from detectors import model as models
from detectors.campaign import cells, chronicle, judging, trace
from detectors.contract import Level
from detectors.event import Event
from detectors.fingerprint import fingerprint

START_US = 1_790_000_000_000_000
PARTITIONS, KEYS, RING, EVENTS = 3, 24, 8, 400
_WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]


def _event(number: int) -> Event:
    """Keys below RING send one template, the others what they like; every key is an organisation of its own."""
    dice = random.Random(number)
    key = dice.randrange(KEYS)
    words = " ".join(dice.choice(_WORDS) for _ in range(30))
    ring = f"Solve the numbered olympiad task and show all of your reasoning step by step inside tags: {words}"
    return Event(
        event_id=f"{number:016x}",
        at_us=START_US + number * 3_700_000,
        key_id=f"{key:032x}",
        org_id=f"{key:032x}",
        plan="payg",
        key_created_us=START_US - 86_400_000_000,
        dialect="openai",
        route="chat",
        model="large",
        roles="u",
        message_count=1,
        user_turns=1,
        chain_digest=dice.getrandbits(64),
        user_digest=dice.getrandbits(64),
        finish_reason="stop",
        input_tokens=40,
        output_tokens=600,
        answer_chars=2400,
        answer_digest=dice.getrandbits(64),
        latency_us=900_000,
        ip_prefix_id=f"{key:032x}",
        user_head=ring if key < RING else words,
        user_tail=words,
        answer_head=words,
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three partitions of two files each; a key lies in one partition, the ring in all three."""
    folder = tmp_path_factory.mktemp("archive")
    events = [_event(number) for number in range(EVENTS)]
    for partition in range(PARTITIONS):
        mine = [event for event in events if int(event.key_id, 16) % PARTITIONS == partition]
        made = [rows.Row(f"{event.at_us // 1000}-0", event, fingerprint(event)) for event in mine]
        for part in (made[: len(made) // 2], made[len(made) // 2 :]):
            path = path_of(folder, partition, RowPlan(part[0].entry_id, part[-1].entry_id))
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.to_frame(part).write_parquet(path)
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of the rules alone."""
    folder = tmp_path_factory.mktemp("rules") / "model"
    models.save(models.rules_only(), folder)
    return folder


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet of two dozen keys without a reference: rare is what a few share, and everybody may belong to a campaign."""
    for module, name, value in (
        (cells, "LEAST_NATS", 0.1),
        (cells, "LEAST_HEAT", -1e9),
        (cells, "LEAST_PURITY", 0.0),
        (judging, "WATCH", 0.0),
        (judging, "WATCH_HEAT", -9.0),
        (chronicle, "COLD", -9.0),
        (many, "REPORTED", Level.WATCH),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a real scheduler with two worker processes."""
    options = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", n_workers=2, threads_per_worker=1, scheduler_kwargs=options) as found:  # type: ignore[no-untyped-call]
        yield found.scheduler_address


def _partitions(archive: Path) -> list[list[ArchiveFile]]:
    files = list_files(archive)
    return [[file for file in files if file.partition == number] for number in range(PARTITIONS)]


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("loose")
def test_a_cluster_gives_the_traces_and_the_bytes_of_one_process(
    archive: Path, model_dir: Path, cluster: str, tmp_path: Path
) -> None:
    """Two worker processes read the partitions: every key's trace, and campaigns.jsonl with the ring, are the same."""
    apart: list[Gathered] = gather_all(_partitions(archive), model_dir, cluster, Silent())
    assert apart == gather_all(_partitions(archive), model_dir, None, Silent())
    keys = [found.key_id for one in apart for data in one.traces if (found := trace.decode(data)) is not None]
    assert sorted(keys) == [f"{key:032x}" for key in range(KEYS)]
    here: Linked = link(archive, model_dir, tmp_path / "here")
    there = link(archive, model_dir, tmp_path / "there", cluster)
    assert there.path.read_bytes() == here.path.read_bytes()
    assert (here.keys, here.events) == (KEYS, EVENTS)
    ring = {f"{key:032x}" for key in range(RING)}
    assert any(ring <= set(json.loads(line)["keys"]) for line in here.path.read_text().splitlines())


@pytest.mark.timeout(180)
def test_the_command_starts_processes_of_its_own(archive: Path, model_dir: Path, tmp_path: Path, capfd: Any) -> None:
    """`--dask local` needs no cluster, tells its progress on standard error, and ends what it started."""
    given = ["link", str(archive), "--model", str(model_dir), "--out", str(tmp_path / "out"), "--dask", "local"]
    assert main(given) == 0
    said = capfd.readouterr()
    assert f"among {KEYS} keys; {EVENTS} exchanges were read" in said.out
    assert "Reading 3 partitions on" in said.err
    assert "Traceback" not in said.err
    link(archive, model_dir, tmp_path / "here")
    assert (tmp_path / "out" / "campaigns.jsonl").read_bytes() == (tmp_path / "here" / "campaigns.jsonl").read_bytes()


@pytest.mark.timeout(180)
def test_a_damaged_file_is_named_by_whoever_read_it(archive: Path, model_dir: Path, cluster: str, tmp_path: Path) -> None:
    """The sentence of a worker of the cluster is the sentence of the run, and nothing is written."""
    first = list_files(archive)[0].path
    path = tmp_path / "archive" / first.parent.name / first.name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    with pytest.raises(BadInput, match=rf"archive file .*{path.name}: cannot be read"):
        link(tmp_path / "archive", model_dir, tmp_path / "out", cluster)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said_in_one_sentence(
    archive: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No archive, no model, no scheduler at the address, no address, no extra."""
    out = tmp_path / "out"
    with pytest.raises(BadInput, match=r"archive folder .*: it holds no archive files"):
        link(tmp_path, model_dir, out)
    with pytest.raises(BadInput, match=r"archive folder .*: No such file"):
        link(tmp_path / "none", model_dir, out)
    with pytest.raises(ConfigError, match="--model: "):
        link(archive, tmp_path, out)
    with pytest.raises(ConfigError, match="--dask: unknown address scheme"):
        link(archive, model_dir, out, "ftp://127.0.0.1:1")
    monkeypatch.setattr(many, "ANSWER_SEC", 0.5)
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ConfigError, match=r"--dask: no scheduler answers at 127\.0\.0\.1:.* within 0\.5 s"):
            link(archive, model_dir, out, f"127.0.0.1:{silent.getsockname()[1]}")

    def without(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(many, "import_module", without)
    with pytest.raises(ConfigError, match=r"--dask needs the extra: pip install stillwatch\[dask\]"):
        link(archive, model_dir, out, "local")
    assert not out.exists()
