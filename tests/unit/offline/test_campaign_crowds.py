"""Simulated traffic under a fitted model: an operation of quiet keys is one campaign, and crowds of customers are none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

import orjson
import pytest

from app.demo import cast
from app.offline.job import ReplayJob, run_replay
from app.settings import load
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.simulate.traffic import honest
from app.simulate.traffic.calls import Script
from app.simulate.traffic.population import CROWD, HONEST, OPERATION, Client, Kind, populate
from app.simulate.traffic.recorder import record

pytestmark = pytest.mark.timeout(300)
START = 1_790_000_000.0
DAY = 86_400.0
SETTINGS = load(environ={})


def _exercise(course: Random, own: Random) -> Script:
    """A pupil: one of three exercises of the course, as everybody there."""
    return honest.llm_judge(Random(f"{course.random()}/{own.randrange(3)}"))


def _tenant(app: Random, _: Random) -> Script:
    """A key of a company that sends its work over many."""
    return honest.support_bot(Random(app.random()))


COURSE = Kind("course", False, _exercise, ("free",), (0.1, 0.5))
SHARDED = Kind("sharded", False, _tenant, ("team",), (0.5, 3.0))


def _gathered(client: Client) -> Client:
    """Pupils sit behind one address; shards belong to one organisation."""
    if client.kind is COURSE:
        return replace(client, address="198.18.7.7")
    if client.kind is SHARDED:
        return replace(client, org_id="org-sharded")
    return client


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """Members of each campaign of a week of customers; at its end come an operation, a viral app, a course, a company."""
    folder = tmp_path_factory.mktemp("crowds")
    play = partial(record, api=ModelApi(ModelApiConfig(seed=3)), rng=Random(3))
    settled = populate([(kind, 10) for kind in HONEST], 3)
    young = list(map(_gathered, populate([(OPERATION, 14), (CROWD, 20), (COURSE, 12), (SHARDED, 8)], 4)))
    told = [
        *play(settled, start_sec=START, days=7.0, sessions=(2, 2), requests=(6, 6)),
        *play(young, start_sec=START + 5.4 * DAY, days=1.0, sessions=(2, 2), requests=(6, 8)),
    ]
    lines = []
    first: dict[str, float] = {}
    for one in sorted(told, key=lambda one: one.at_sec):
        client = one.client
        first.setdefault(client.name, one.at_sec)
        headers = {name: value for name, value in client.signed().items() if name not in ("authorization", "x-api-key")}
        lines.append(
            {
                "ts": one.at_sec, "key": client.name, "path": one.call.path, "ip": client.address, "headers": headers,
                "request": one.call.body, "response": {"status": one.status, "latency_ms": 20.0, "body": one.answer},
            }
        )  # fmt: skip
    (folder / "log.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    clients = [one for one in (*settled, *young) if one.name in first]
    cast.write_lines(folder / "accounts.jsonl", (cast.account(one, one.name, first[one.name]) for one in clients))
    job = ReplayJob(folder / "log.jsonl", folder / "out", folder / "accounts.jsonl")
    run_replay(job, SETTINGS)
    lines_out = (folder / "out" / "campaigns.jsonl").read_bytes().splitlines()
    return [set(orjson.loads(line)["keys"]) for line in lines_out]


def test_an_operation_of_quiet_keys_is_one_campaign(found: list[set[str]]) -> None:
    """All fourteen, each of which sent about a dozen requests."""
    assert {f"{OPERATION.name} {n}" for n in range(1, 15)} in found


def test_a_viral_app_a_course_and_a_company_of_many_keys_are_none(found: list[set[str]]) -> None:
    """Nor is any other customer in one, of forty keys that share prompts, and seventy that share nothing."""
    assert [{key for key in keys if not key.startswith(OPERATION.name)} for keys in found] == [set()]
