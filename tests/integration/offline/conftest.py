"""Traffic for the tests of replay: request logs of honest customers and of three that harvest, and a model fitted on it."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from app.offline.job import Finished, ReplayJob, run_replay
from app.settings import Settings, load

START = 1_790_000_000.0
DAY = 86_400.0
ATTACKERS = ("k_cot", "k_samples", "k_logits")
_WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]


@dataclass(frozen=True)
class World:
    """A request log with its accounts: day 1 is honest, on day 2 three keys harvest."""

    folder: Path
    records: list[dict[str, Any]]

    @property
    def log(self) -> Path:
        """The whole log."""
        return self.folder / "requests.jsonl.gz"

    @property
    def accounts(self) -> Path:
        """An account for every key."""
        return self.folder / "accounts.jsonl"

    @property
    def border(self) -> str:
        """Where day 2 begins."""
        return str(START + DAY)

    def quiet_border_us(self) -> int:
        """A moment early on day 2 at which no answer was under way, so that every order agrees on what lies before it."""
        times = [round(record["ts"] * 1e6) for record in self.records]
        least = list(accumulate(reversed(times), min))[::-1]
        for at in range(1, len(times)):
            if times[at] > (START + DAY) * 1e6 and max(times[:at]) < least[at]:
                return least[at]
        raise AssertionError("the traffic never rests")


def _prose(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(_WORDS) for _ in range(words))


def _record(dice: random.Random, at: float, key: str, body: dict[str, Any], text: str, **usage: int) -> dict[str, Any]:
    return {
        "ts": round(at, 3),
        "key": key,
        "path": "/v1/chat/completions",
        "ip": f"10.{sum(key.encode()) % 200}.7.{dice.randrange(250)}",
        "headers": {"user-agent": "OpenAI/Python 3.1.0", "x-stainless-lang": "python"},
        "request": {"model": "large", **body},
        "response": {
            "status": 200,
            "latency_ms": dice.randrange(300, 20_000),
            "finish_reason": "stop",
            "usage": {"input_tokens": 60, "output_tokens": len(text) // 4, **usage},
            "text": text,
        },
    }


def _honest(dice: random.Random, key: str, start: float, end: float) -> Iterator[dict[str, Any]]:
    """A person in conversations, or a pipeline with its own template."""
    pipeline = dice.random() < 0.4
    system = f"You are the assistant of {_prose(dice, 3)}. {_prose(dice, 12)}."
    at = start + dice.random() * 6 * 3600
    while at < end:
        talk: list[dict[str, str]] = [{"role": "system", "content": system}]
        for _ in range(1 if pipeline else dice.randrange(1, 6)):
            asked = _prose(dice, dice.randrange(6, 60))
            talk.append({"role": "user", "content": f"Classify the following ticket: {asked}" if pipeline else asked})
            answer = _prose(dice, 2 if pipeline else dice.randrange(10, 300))
            yield _record(dice, at, key, {"messages": list(talk), "temperature": 0.2 if pipeline else 1.0}, answer)
            talk.append({"role": "assistant", "content": answer})
            at += dice.expovariate(1 / 90.0)
        at += dice.expovariate(1 / (4800.0 if pipeline else 14000.0))


def _harvest(dice: random.Random, key: str, start: float) -> Iterator[dict[str, Any]]:
    for number in range(90):
        at = start + 60 * number + dice.random()
        asked = _prose(dice, 40)
        prompt = f"{asked}\n\nThink step by step. Put your whole reasoning in <reasoning> tags, then the <answer>."
        body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 4096}
        text = f"<reasoning>{_prose(dice, 350)}</reasoning><answer>{_prose(dice, 5)}</answer>"
        if key == "k_samples":
            body |= {"n": 8, "temperature": 1.0}
        if key == "k_logits":
            bias = {str(dice.randrange(100_000)): 100 for _ in range(20)}
            body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
            body, text = {**body, "logit_bias": bias}, "a"
        yield _record(dice, at, key, body, text)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The log that most tests replay: 40 honest organisations, a few of two keys, and the attackers."""
    dice = random.Random(7)
    folder = tmp_path_factory.mktemp("world")
    records: list[dict[str, Any]] = []
    accounts = []
    for number in range(44):
        key, org = f"k_{number:03}", f"o_{number % 40:03}"
        records += _honest(dice, key, START, START + 2 * DAY)
        accounts.append({"key": key, "org": org, "plan": "payg", "created_at": START - 40 * DAY})
    for number, key in enumerate(ATTACKERS):
        records += _harvest(dice, key, START + DAY + 3600 * (1 + number))
        accounts.append({"key": key, "org": f"o_{key}", "plan": "payg", "created_at": START + DAY})
    # As logs are: in the order in which answers ended, with the time at which requests arrived.
    records.sort(key=lambda record: record["ts"] + record["response"]["latency_ms"] / 1000)
    found = World(folder, records)
    found.log.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode(), 1))
    found.accounts.write_text("".join(json.dumps(account) + "\n" for account in accounts))
    return found


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings with a pepper, which live and replay must share."""
    return load(environ={"STILLWATCH_PEPPER": "a pepper for the tests of replay"})


@pytest.fixture(scope="session")
def finished(world: World, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A replay of the whole log, whose model was fitted on the first day and saved beside its files."""
    out = tmp_path_factory.mktemp("finished")
    return run_replay(
        ReplayJob(world.log, out, world.accounts, warmup_until=world.border, save_model=out / "model"), settings
    )


@pytest.fixture(scope="session")
def model_dir(finished: Finished) -> Path:
    """The saved model."""
    return finished.paths[-1].parent / "model"


@pytest.fixture(scope="session")
def attackers() -> tuple[str, ...]:
    """The keys that harvest."""
    return ATTACKERS
