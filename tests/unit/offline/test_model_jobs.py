"""calibrate, train and evaluate on simulated traffic: what they write, what they learn from, what they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import orjson
import pytest

from app.demo import cast
from app.errors import BadInput, ConfigError
from app.offline import lessons, model_report, promotion
from app.offline.calibration_job import CalibrationJob, run_calibration
from app.offline.evaluation import run_evaluation
from app.offline.history import Guards
from app.offline.job import ReplayJob
from app.offline.training import TrainingJob, run_training
from app.settings import load
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.simulate.traffic.population import ATTACKS, HONEST, populate
from app.simulate.traffic.recorder import record
from detectors import model as models

START = 1_790_000_000.0
SETTINGS = load(environ={})
ALL_AGES = Guards(0.0, flagged=True)


@dataclass(frozen=True)
class Traffic:
    """A log with its accounts and labels."""

    job: ReplayJob
    honest: int
    abusive: int


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    """Thirty-five honest customers and eight attackers on two days, all labelled, in groups by kind."""
    folder = tmp_path_factory.mktemp("traffic")
    clients = populate([*((kind, 5) for kind in HONEST), *((kind, 2) for kind in ATTACKS)], 5)
    lines, labels, first = [], [], {}
    for one in record(clients, ModelApi(ModelApiConfig(seed=5)), Random(5), START, 2.0, (2, 2), (6, 7)):
        client = one.client
        first.setdefault(client.name, one.at_sec)
        headers = {name: value for name, value in client.signed().items() if name not in ("authorization", "x-api-key")}
        lines.append(
            {
                "ts": one.at_sec, "key": client.name, "path": one.call.path, "ip": client.address, "headers": headers,
                "request": one.call.body, "response": {"status": one.status, "latency_ms": 20.0, "body": one.answer},
            }
        )  # fmt: skip
    for client in clients:
        label, kind = "abusive" if client.kind.attack else "benign", client.kind.name
        group = f"{kind} of {client.name}" if client.kind.attack else kind
        labels.append({"key_id": client.name, "label": label, "at": "2026-09-21T00:00:00Z", "group": group})
    (folder / "log.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    (folder / "labels.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in labels))
    cast.write_lines(
        folder / "accounts.jsonl", (cast.account(client, client.name, first[client.name]) for client in clients)
    )
    job = ReplayJob(folder / "log.jsonl", folder / "out", folder / "accounts.jsonl", labels=folder / "labels.jsonl")
    return Traffic(job, 5 * len(HONEST), 2 * len(ATTACKS))


@pytest.fixture(scope="module")
def candidate(traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was calibrated on the first day."""
    out = tmp_path_factory.mktemp("candidate") / "model"
    run_calibration(CalibrationJob(replace(traffic.job, out=out), ALL_AGES), SETTINGS)
    return out


def test_a_calibration_writes_a_model_and_says_what_it_learned_from(candidate: Path, traffic: Traffic) -> None:
    """The folder holds a model that loads, and a report that tells the votes and the part that was not learned from."""
    model = models.load(candidate)
    organisations = model.notes["organisations"]
    assert isinstance(organisations, int)
    assert 20 <= organisations <= traffic.honest
    text = (candidate / model_report.REPORT).read_text()
    assert f"of {organisations} organisations, one vote each" in text
    assert "## Organisations of the part that was not learned from" in text
    document = model_report.read(candidate)
    assert (document.kind, document.model) == ("calibration", model.id)


def test_a_model_is_never_written_over(candidate: Path, traffic: Traffic) -> None:
    """A candidate gets a folder of its own."""
    with pytest.raises(ConfigError, match="holds a model already"):
        run_calibration(CalibrationJob(replace(traffic.job, out=candidate)), SETTINGS)


def test_accounts_of_days_can_be_left_out_altogether(traffic: Traffic, tmp_path: Path) -> None:
    """With an age that none has reached nothing is left, and the sentence names the option."""
    job = replace(traffic.job, out=tmp_path / "old")
    with pytest.raises(BadInput, match="lower --least-age-days"):
        run_calibration(CalibrationJob(job, Guards(10_000.0)), SETTINGS)
    assert not job.out.exists()


def test_an_evaluation_tells_figures_by_group_and_draws_them(candidate: Path, traffic: Traffic, tmp_path: Path) -> None:
    """Groups, curves, ablation and confirmed cases are there, and the report is rendered from its figures again."""
    out, cases = tmp_path / "report", tmp_path / "cases.npz"
    done = run_evaluation(replace(traffic.job, out=out, model=candidate), SETTINGS, cases=cases)
    document = model_report.read(out)
    found = document.figures
    assert found is not None
    assert (found.honest, found.abusive) == (traffic.honest, traffic.abusive)
    assert {group.name for group in found.groups if not group.abusive} == {kind.name for kind in HONEST}
    assert {one.without for one in found.ablation} == {scorer.name for scorer in models.load(candidate).scorers}
    assert found.auroc.value is not None
    assert found.auroc.value > 0.5
    pictures = {path.name for path in done.paths if path.suffix == ".png"}
    assert {"roc.png", "reliability.png", "groups.png", "ablation.png"} <= pictures
    before = (out / model_report.REPORT).read_bytes()
    (out / model_report.REPORT).unlink()
    model_report.render(out, document)
    assert (out / model_report.REPORT).read_bytes() == before
    assert promotion.anchors_of([cases]).confirmed.sum() > traffic.honest // 2


def test_training_learns_from_labels_and_is_judged_by_what_it_has_not_seen(
    traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate has trees of its own, and the report compares them with the shipped ones and leaves out each kind."""
    monkeypatch.setattr(lessons, "ROUNDS", 10)
    monkeypatch.setattr(lessons, "MODELS", 1)
    out = tmp_path / "own"
    run_training(TrainingJob(replace(traffic.job, out=out), ALL_AGES), SETTINGS)
    model = models.load(out)
    assert model.id != models.rules_only().id
    document = model_report.read(out)
    assert {table.title for table in document.tables} == {
        "Against the shipped trees", "A kind of abuse that nobody had labelled",
    }  # fmt: skip
    assert document.figures is not None
    assert document.figures.auroc.value is not None
    assert document.figures.auroc.value > 0.8


def test_training_needs_enough_of_either_side(traffic: Traffic, tmp_path: Path) -> None:
    """The sentence counts what there is."""
    few = tmp_path / "few.jsonl"
    assert traffic.job.labels is not None
    lines = [json.loads(line) for line in traffic.job.labels.read_text().splitlines()]
    few.write_text("".join(json.dumps(line) + "\n" for line in lines if line["label"] == "benign"))
    with pytest.raises(BadInput, match="enough of 0 abusive organisations and campaigns, of 0 labelled keys"):
        run_training(TrainingJob(replace(traffic.job, out=tmp_path / "x", labels=few), ALL_AGES), SETTINGS)
    assert not (tmp_path / "x").exists()


def test_labels_of_other_keys_are_told(candidate: Path, traffic: Traffic, tmp_path: Path) -> None:
    """An evaluation without a single judged key is an error and not an empty report."""
    other = tmp_path / "other.jsonl"
    other.write_text('{"key_id": "stranger", "label": "benign", "at": "2026-09-21T00:00:00Z"}\n')
    job = replace(traffic.job, out=tmp_path / "y", model=candidate, labels=other)
    with pytest.raises(BadInput, match="none of the labelled keys was judged"):
        run_evaluation(job, SETTINGS)


def test_labels_that_name_no_key_stop_a_calibration(traffic: Traffic, tmp_path: Path) -> None:
    """Learning without them would take abusive keys for the norm, so nothing is written."""
    other = tmp_path / "other.jsonl"
    other.write_text('{"key_id": "nobody", "label": "abusive", "at": "2026-09-21T00:00:00Z"}\n')
    wanted = CalibrationJob(replace(traffic.job, out=tmp_path / "z", labels=other), ALL_AGES)
    with pytest.raises(BadInput, match=r"--labels: none of the 1 labelled keys is in log\.jsonl"):
        run_calibration(wanted, SETTINGS)
    assert not (tmp_path / "z").exists()


def test_a_calibration_says_what_labels_took_out(candidate: Path, traffic: Traffic) -> None:
    """The report tells how many keys were not learned from."""
    told = f"{traffic.abusive:,} keys with an abusive label were not learned from"
    assert told in (candidate / "report.md").read_text()


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    """Figures of another program are refused with file and rule."""
    for text, words in (("{", "figures.json: "), ('{"kind": "x"}', "kind")):
        (tmp_path / model_report.FIGURES).write_text(text)
        with pytest.raises(BadInput, match=words):
            model_report.read(tmp_path)
