"""Traffic for the worker: a few days of invented customers and attackers as a request log, and its events."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.demo import cast
from app.gateway.identity import Identifier
from app.gateway.observe import TextLimits
from app.offline import accounts
from app.offline.exchange import EventBuilder
from app.offline.feeds import LogFeed
from app.offline.progress import Silent
from app.offline.records import BadLines
from app.settings import Settings
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.simulate.traffic.population import ATTACKS, HONEST, populate
from app.simulate.traffic.recorder import record
from detectors.event import Event

START_SEC = 1_790_000_000.0
DAYS = 4.0
SEED = 11


@dataclass(frozen=True, slots=True)
class Log:
    """A request log and the accounts beside it, as `stillwatch replay` reads them."""

    requests: Path
    accounts: Path
    exchanges: int
    keys: int


def write(folder: Path, per_kind: int, settings: Settings) -> Log:
    """So many clients of every kind, one in ten of them attackers, with some 40 exchanges each."""
    kinds = [(kind, per_kind) for kind in HONEST] + [(kind, max(1, per_kind // 6)) for kind in ATTACKS]
    clients = populate(kinds, SEED)
    hasher = Identifier(settings.identity, None).hasher
    names = {client.name: hasher.key(client.credential) for client in clients}
    requests, beside = folder / "requests.jsonl.gz", folder / "accounts.jsonl"
    first: dict[str, float] = {}
    count = 0
    with gzip.open(requests, "wb", compresslevel=1) as file:
        api = ModelApi(ModelApiConfig(seed=SEED))
        for made in record(clients, api, random.Random(SEED), START_SEC, DAYS, (1, 3), (10, 30)):
            first.setdefault(made.client.name, made.at_sec)
            sent = {
                name: value for name, value in made.client.headers.items() if name not in ("authorization", "x-api-key")
            }
            line = {
                "ts": made.at_sec,
                "key": names[made.client.name],
                "path": made.call.path,
                "ip": made.client.address,
                "headers": sent,
                "request": made.call.body,
                "response": {"status": made.status, "latency_ms": 20.0, "body": made.answer},
            }
            file.write(orjson.dumps(line) + b"\n")
            count += 1
    cast.write_lines(beside, (cast.account(client, names[client.name], first[client.name]) for client in clients))
    return Log(requests, beside, count, len(clients))


def events(log: Log, settings: Settings) -> Iterator[Event]:
    """The events a gateway would have logged, in order."""
    identifier = Identifier(settings.identity, None)
    identities = accounts.load(log.accounts, identifier.hasher, settings.identity.default_plan)
    limits = TextLimits(settings.gateway.text_head_chars, settings.gateway.text_tail_chars)
    builder = EventBuilder(identities, identifier, limits, settings.identity.default_plan)
    feed = LogFeed(log.requests, builder, BadLines(0.0))
    feed.span(Silent())
    for event, _ in feed.rest():
        yield event
