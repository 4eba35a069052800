"""The past of the demonstration: days of honest traffic as a request log, and the model that a replay fits on it."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from app.demo import cast
from app.gateway.identity import Identifier
from app.gateway.observe import TextLimits
from app.offline import accounts, replay
from app.offline.exchange import EventBuilder
from app.offline.feeds import LogFeed
from app.offline.job import MAX_BAD_SHARE
from app.offline.progress import Meter
from app.offline.records import BadLines
from app.settings import Settings
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.simulate.traffic.population import Client
from app.simulate.traffic.recorder import LATENCY_SEC, Recorded, record
from detectors import model as models

DAYS = 6.0
JUDGED_DAYS = 1.0
"""The last part of the history is not learned from but judged, which shows what the model makes of honest customers."""

SESSIONS = (1, 3)
REQUESTS = (20, 90)
"""Sittings of a client, and requests in one: as long as the live part, so that the model has seen such."""


@dataclass(frozen=True, slots=True)
class Past:
    """What came of the history.

    Attributes:
        log: request log, as `stillwatch replay` reads it.
        accounts: the accounts beside it.
        model_dir: the model that was fitted.
        outcome: of the replay.
    """

    log: Path
    accounts: Path
    model_dir: Path
    outcome: replay.Outcome


def make(folder: Path, clients: Sequence[Client], settings: Settings, seed: int, now_sec: float, meter: Meter) -> Past:
    """Write the history, fit a model on it and save the model.

    Args:
        folder: existing folder for the files.
        clients: the customers of the past.
        settings: identity and text bounds as the live gateway has them.
        seed: of everything.
        now_sec: unix time at which the history ends.
        meter: shows progress.

    Raises:
        BadInput: the history is too small for a model.
    """
    log, beside, model_dir = folder / "requests.jsonl.gz", folder / "accounts.jsonl", folder / "model"
    identifier = Identifier(settings.identity, None)
    names = {client.name: identifier.hasher.key(client.credential) for client in clients}
    meter.stage("Making honest traffic")
    _write(log, beside, clients, names, seed, now_sec - DAYS * 86_400, meter)
    identities = accounts.load(beside, identifier.hasher, settings.identity.default_plan)
    limits = TextLimits(settings.gateway.text_head_chars, settings.gateway.text_tail_chars)
    builder = EventBuilder(identities, identifier, limits, settings.identity.default_plan)
    border_us = round((now_sec - JUDGED_DAYS * 86_400) * 1_000_000)
    plan = replay.Plan(warmup_until_us=border_us, seed=seed)
    outcome = replay.play(LogFeed(log, builder, BadLines(MAX_BAD_SHARE)), plan, log.name, meter)
    outcome.states.close()
    models.save(outcome.model, model_dir)
    return Past(log, beside, model_dir, outcome)


def _write(
    log: Path, beside: Path, clients: Sequence[Client], names: dict[str, str], seed: int, start_sec: float, meter: Meter
) -> None:
    api = ModelApi(ModelApiConfig(seed=seed))
    expected = len(clients) * sum(SESSIONS) * sum(REQUESTS) / 4
    first: dict[str, float] = {}
    with gzip.open(log, "wb", compresslevel=1) as file:
        made = record(clients, api, Random(seed), start_sec, DAYS, SESSIONS, REQUESTS)
        for number, exchange in enumerate(made, 1):
            first.setdefault(exchange.client.name, exchange.at_sec)
            file.write(orjson.dumps(_line(exchange, names[exchange.client.name])) + b"\n")
            meter.at(min(1.0, number / expected), number)
    cast.write_lines(beside, (cast.account(client, names[client.name], first[client.name]) for client in clients))


def _line(exchange: Recorded, key_id: str) -> dict[str, Any]:
    client = exchange.client
    secret = ("authorization", "x-api-key")
    return {
        "ts": exchange.at_sec,
        "key": key_id,
        "path": exchange.call.path,
        "ip": client.address,
        "headers": {name: value for name, value in client.signed().items() if name not in secret},
        "request": exchange.call.body,
        "response": {"status": exchange.status, "latency_ms": LATENCY_SEC * 1000, "body": exchange.answer},
    }
