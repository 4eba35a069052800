"""`stillwatch replay` of a request log, as an operator runs it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

START = 1_790_000_000.0
HOUR = 3600.0
WORDS = ("copper", "still", "vapour", "mash", "grain", "cut", "heart", "tail", "proof", "cask", "oak", "barley", "yeast")


def _exchange(at: float, key: str, body: dict[str, Any], answer: str) -> dict[str, Any]:
    return {
        "ts": round(at, 3),
        "key": key,
        "path": "/v1/chat/completions",
        "ip": "198.51.100.7",
        "headers": {"user-agent": "OpenAI/Python 2.8.0"},
        "request": {"model": "still-large-2", **body},
        "response": {
            "status": 200,
            "text": answer,
            "finish_reason": "stop",
            "usage": {"input_tokens": 40, "output_tokens": max(1, len(answer) // 4)},
        },
    }


def _write(folder: Path, customers: int) -> None:
    """requests.jsonl and accounts.jsonl: honest customers over two days, and one key that sweeps logits on the second."""
    dice = random.Random(5)
    lines = []
    for number in range(customers):
        for turn in range(24):
            at = START + (2 * turn + dice.random()) * HOUR
            asked = " ".join(dice.choices(WORDS, k=dice.randrange(4, 30)))
            body = {"messages": [{"role": "user", "content": asked}], "temperature": 1.0}
            lines.append(_exchange(at, f"k_{number}", body, " ".join(dice.choices(WORDS, k=dice.randrange(5, 90)))))
    for number in range(80):
        bias = {str(dice.randrange(100_000)): 100 for _ in range(20)}
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
        lines.append(_exchange(START + 30 * HOUR + 30 * number, "k_sweep", body | {"logit_bias": bias}, "a"))
    lines.sort(key=lambda line: line["ts"])
    (folder / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    keys = [*(f"k_{number}" for number in range(customers)), "k_sweep"]
    accounts = [{"key": key, "org": f"o_{key}", "plan": "payg", "email_domain_class": "business"} for key in keys]
    (folder / "accounts.jsonl").write_text("".join(json.dumps(account) + "\n" for account in accounts))


def _levels(folder: Path) -> dict[str, str]:
    lines = (json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines())
    return {line["key"]: line["level"] for line in lines}


def test_a_log_of_many_customers_is_judged_by_a_model_of_them(run: Any, tmp_path: Path) -> None:
    """The sweeper is confirmed and nobody else is flagged; the model that was saved judges the log again."""
    _write(tmp_path, customers=24)
    log = ("replay", "requests.jsonl", "--accounts", "accounts.jsonl")
    found = run(*log, "--warmup-until", str(START + 29 * HOUR), "--save-model", "model", "--out", "report")
    assert found.returncode == 0, found.stderr
    stages = [line for line in found.stderr.splitlines() if ": " not in line]  # a slow machine tells how far it is as well
    assert stages == ["History", "Fitting the model", "Judging", "Writing the report"]
    first, *files = found.stdout.splitlines()
    assert first.startswith("1 of 25 keys are flagged; 656 exchanges in ")
    assert [line.strip() for line in files] == ["report/verdicts.jsonl", "report/campaigns.jsonl", "report/report.md"]
    levels = _levels(tmp_path / "report")
    assert len(levels) == 25
    assert [key for key, level in levels.items() if level in ("suspect", "confirmed")] == ["k_sweep"]
    again = run(*log, "--model", "model", "--quiet", "--out", "again")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert _levels(tmp_path / "again")["k_sweep"] == "confirmed"


def test_a_log_of_few_customers_is_judged_by_the_rules(run: Any, tmp_path: Path) -> None:
    """Too few for a peer model: a note says so, the sweeper is still caught, and a second run names what it overwrites."""
    _write(tmp_path, customers=6)
    log = ("replay", "requests.jsonl", "--accounts", "accounts.jsonl", "--out", "report")
    found = run(*log)
    assert found.returncode == 0, found.stderr
    note = (
        "The history has 6 organisations with enough exchanges (5 answered ones each); a peer model needs 20, "
        "so only the named rules judged."
    )
    assert f"note: {note}" in found.stderr.splitlines()
    assert found.stdout.startswith("1 of 7 keys are flagged by the named rules alone; 224 exchanges in ")
    assert note in (tmp_path / "report" / "report.md").read_text()
    assert _levels(tmp_path / "report")["k_sweep"] == "confirmed"
    again = run(*log)
    assert "note: report held the results of an earlier replay, which were overwritten: verdicts.jsonl" in again.stderr


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        ({}, ("--save-model", "model"), "--save-model: the history has 6 organisations with enough exchanges"),
        ({"ts": START * 1000}, (), "ts must be unix seconds (for other units use a mapping file, [time] unit)"),
        ({"ts": None, "time": START}, (), "field ts is missing (for a log of another format say with --mapping"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence_and_no_folder(
    run: Any, tmp_path: Path, change: dict[str, Any], more: tuple[str, ...], sentence: str
) -> None:
    """The last line on standard error says what is wrong, and nothing is left behind."""
    _write(tmp_path, customers=6)
    log = tmp_path / "requests.jsonl"
    changed = (json.loads(line) | change for line in log.read_text().splitlines())
    kept = ({name: value for name, value in line.items() if value is not None} for line in changed)
    log.write_text("".join(json.dumps(line) + "\n" for line in kept))
    found = run("replay", "requests.jsonl", "--out", "report", *more)
    assert found.returncode == 1
    line = found.stderr.splitlines()[-1]
    assert line.startswith("stillwatch: ")
    assert sentence in line
    assert not (tmp_path / "report").exists()
    assert not (tmp_path / "model").exists()
