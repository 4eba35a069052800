"""A replay from its options to its files."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.offline.job import Finished, ReplayJob, run_replay
from app.settings import Settings

MAPPING = """
[fields]
ts = "when"
key = "caller.key"
path = "url"
ip = "caller.address"
request = "in"
headers = "caller.headers"
"response.status" = "code"
"response.latency_ms" = "took"
"response.body" = "out"

[time]
unit = "iso8601"
"""


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_files_are_as_a_scorer_reads_them(finished: Finished, world: Any) -> None:
    """One verdict for every key of the log; scores in [0, 1]; a flagged key has the time of its first alarm."""
    verdicts, campaigns, report = finished.paths
    lines = _lines(verdicts)
    assert sorted(line["key"] for line in lines) == sorted({record["key"] for record in world.records})
    for line in lines:
        assert set(line) == {"key", "score", "level", "first_ts", "campaign", "reasons"}
        assert 0 <= line["score"] <= 1
        assert line["level"] in ("clear", "watch", "suspect", "confirmed")
        flagged = line["level"] in ("suspect", "confirmed")
        assert (line["first_ts"] is not None) == flagged
        assert not flagged or float(world.border) <= line["first_ts"] <= world.records[-1]["ts"]
        assert not flagged or line["reasons"]
    assert campaigns.read_bytes() == b""
    assert report.name == "report.md"


def test_harvesters_are_flagged_and_honest_keys_are_not(finished: Finished, attackers: tuple[str, ...]) -> None:
    """On traffic as plain as this the three planted keys are flagged, and nobody else."""
    assert {track.key_id for track in finished.outcome.flagged} == set(attackers)
    assert finished.summary.startswith("3 of 47 keys are flagged; ")
    assert finished.notes == []


def test_no_text_of_a_prompt_or_answer_is_in_any_file(finished: Finished, world: Any) -> None:
    """Neither a prompt's words nor an address appears in what a replay leaves behind."""
    written = b"".join(path.read_bytes() for path in finished.paths[-1].parent.rglob("*") if path.is_file())
    prompt = world.records[0]["request"]["messages"][1]["content"]
    for secret in (*prompt.split()[2:6], world.records[0]["ip"]):
        assert secret.encode() not in written


def test_the_same_input_and_seed_give_the_same_bytes(
    finished: Finished, world: Any, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file of a second run is the same, pictures and model included, and progress changes nothing."""
    first = finished.paths[-1].parent
    job = ReplayJob(world.log, tmp_path, world.accounts, warmup_until=world.border, save_model=tmp_path / "model")
    run_replay(job, settings, Console())
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) > 7
    for name in names:
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes(), name
    assert capsys.readouterr().out.splitlines()[0] == "History"


def test_a_mapped_log_of_whole_bodies_gives_the_same_verdicts(
    finished: Finished, world: Any, settings: Settings, tmp_path: Path
) -> None:
    """An access log with raw OpenAI bodies, read through a mapping file, is judged as the log in our own format."""
    lines = []
    for record in world.records:
        usage = record["response"]["usage"]
        body = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"content": record["response"]["text"]}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]},
        }
        line = {
            "when": datetime.fromtimestamp(record["ts"], UTC).isoformat(),
            "caller": {
                "key": record["key"],
                "address": record["ip"],
                "headers": list(map(list, record["headers"].items())),
            },
            "url": record["path"] + "?api-version=1",
            "in": json.dumps(record["request"]),
            "code": 200,
            "took": record["response"]["latency_ms"],
            "out": body,
        }
        lines.append(json.dumps(line))
    log, mapping = tmp_path / "access.log.gz", tmp_path / "mapping.toml"
    log.write_bytes(gzip.compress("\n".join(lines).encode(), 1))
    mapping.write_text(MAPPING)
    job = ReplayJob(log, tmp_path / "out", world.accounts, warmup_until=world.border, mapping=mapping)
    mapped = run_replay(job, settings)
    assert mapped.outcome.model.id == finished.outcome.model.id
    assert mapped.paths[0].read_bytes() == finished.paths[0].read_bytes()


def test_keys_without_account_are_told_and_judged(model_dir: Path, world: Any, settings: Settings, tmp_path: Path) -> None:
    """Accounts that cover half the keys: the others are strangers on the default plan, and none is lost."""
    accounts = tmp_path / "accounts.jsonl"
    accounts.write_text("".join(world.accounts.read_text().splitlines(keepends=True)[:20]))
    done = run_replay(ReplayJob(world.log, tmp_path / "out", accounts, model=model_dir), settings)
    assert done.notes == ["27 of 47 keys are not in accounts.jsonl; they were judged as strangers on the default plan"]
    assert len(_lines(done.paths[0])) == 47
    assert "27 of 47 keys are not in accounts.jsonl" in done.paths[-1].read_text()


def test_a_trickle_of_harvesting_in_the_history_hides_nobody(
    world: Any, attackers: tuple[str, ...], settings: Settings, tmp_path: Path
) -> None:
    """Where one request in a hundred of the warm-up already harvests, the same keys are flagged afterwards."""
    early = [record for record in world.records if record["ts"] < float(world.border)]
    taken = [record for record in world.records if record["key"] in attackers][:: 3 * len(attackers)][: len(early) // 100]
    poison = [{**record, "ts": record["ts"] - 30_000} for record in taken]
    assert poison
    assert all(record["ts"] < float(world.border) for record in poison)
    records = sorted([*world.records, *poison], key=lambda record: record["ts"])
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    done = run_replay(ReplayJob(log, tmp_path / "out", world.accounts, warmup_until=world.border), settings)
    assert {track.key_id for track in done.outcome.flagged} == set(attackers)


def test_labels_are_used_in_the_fit_and_told_in_the_report(
    finished: Finished, world: Any, settings: Settings, tmp_path: Path, attackers: tuple[str, ...]
) -> None:
    """A key called benign is a false positive of its stratum, one called abusive is counted as found; the log decides."""
    honest = next(track for track in finished.outcome.ranked if track.key_id not in attackers)
    given = [("k_logits", "benign"), ("k_cot", "abusive"), (honest.key_id, "benign"), ("k_never", "benign")]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps({"key_id": k, "label": v, "at": "2026-09-01T00:00:00Z"}) + "\n" for k, v in given))
    job = ReplayJob(world.log, tmp_path / "out", world.accounts, warmup_until=world.border, labels=labels)
    done = run_replay(job, settings)
    assert "3 of 4 labelled keys are in the judged part." in done.notes
    told = {one.key_id: one for one in done.outcome.labelled}
    assert {key: one.flagged for key, one in told.items()} == {"k_logits": True, "k_cot": True, honest.key_id: False}
    text = done.paths[-1].read_text()
    assert "## Labelled keys" in text
    assert "Each flag is a false positive." in text
    assert f"| {told['k_logits'].stratum.replace('*', chr(92) + '*').replace('_', chr(92) + '_')} |" in text
    assert "1 of 1 judged ones are flagged" in text
    assert "## Labelled keys" not in finished.paths[-1].read_text()
