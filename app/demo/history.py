"""The past of the demonstration: days of honest traffic as a request log, and the model that a replay fits on it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson

from app.demo import cast
from app.gateway.identity import Identifier
from app.gateway.observe import TextLimits
from app.offline import accounts, campaign_plot, replay
from app.offline.exchange import EventBuilder
from app.offline.feeds import Item, LogFeed
from app.offline.job import MAX_BAD_SHARE
from app.offline.linking import Reported
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


QUIET_SESSIONS = (2, 3)
QUIET_REQUESTS = (6, 14)
"""Of a key of the operation and of a user of the viral app, within the judged day."""

PICTURE = "campaigns.png"


class Pace(NamedTuple):
    """How much is asked: sittings of a client and requests of each, fewest and most; of those on the last day alone too."""

    sessions: tuple[int, int] = SESSIONS
    requests: tuple[int, int] = REQUESTS
    late_sessions: tuple[int, int] = QUIET_SESSIONS
    late_requests: tuple[int, int] = QUIET_REQUESTS


USUAL = Pace()


@dataclass(frozen=True, slots=True)
class Past:
    """What came of the history.

    Attributes:
        log: request log, as `stillwatch replay` reads it.
        accounts: the accounts beside it.
        model_dir: the model that was fitted.
        outcome: of the replay.
        operation: key ids of the operation that was planted on the judged day.
        crowd: key ids of the users of the viral app beside it.
        picture: the campaigns that were found; None where there was none.
    """

    log: Path
    accounts: Path
    model_dir: Path
    outcome: replay.Outcome
    operation: frozenset[str] = frozenset()
    crowd: frozenset[str] = frozenset()
    picture: Path | None = None

    @property
    def campaigns(self) -> Sequence[Reported]:
        """What the linker reported, the most suspicious first."""
        return self.outcome.campaigns


def exchanges(past: Past, settings: Settings) -> Iterator[Item]:
    """The exchanges of a past in their order, as a replay sees them."""
    return LogFeed(past.log, _builder(past.accounts, settings), BadLines(MAX_BAD_SHARE)).rest()


def _builder(beside: Path, settings: Settings) -> EventBuilder:
    identifier = Identifier(settings.identity, None)
    identities = accounts.load(beside, identifier.hasher, settings.identity.default_plan)
    limits = TextLimits(settings.gateway.text_head_chars, settings.gateway.text_tail_chars)
    return EventBuilder(identities, identifier, limits, settings.identity.default_plan)


def make(
    folder: Path,
    clients: Sequence[Client],
    settings: Settings,
    seed: int,
    now_sec: float,
    meter: Meter,
    last_day: tuple[Sequence[Client], Sequence[Client]] = ((), ()),
    pace: Pace = USUAL,
) -> Past:
    """Write the history, fit a model on it and save the model.

    Args:
        folder: existing folder for the files.
        clients: the customers of the past.
        settings: identity and text bounds as the live gateway has them.
        seed: of everything.
        now_sec: unix time at which the history ends.
        meter: shows progress.
        last_day: keys of an operation, and of a crowd that is none, who are there on the judged day alone.
        pace: how much everybody asks.

    Raises:
        BadInput: the history is too small for a model.
    """
    log, beside, model_dir = folder / "requests.jsonl.gz", folder / "accounts.jsonl", folder / "model"
    identifier = Identifier(settings.identity, None)
    operation, crowd = last_day
    everybody = [*clients, *operation, *crowd]
    names = {client.name: identifier.hasher.key(client.credential) for client in everybody}
    meter.stage("Making traffic")
    _write(log, beside, (clients, [*operation, *crowd]), names, seed, now_sec, meter, pace)
    builder = _builder(beside, settings)
    border_us = round((now_sec - JUDGED_DAYS * 86_400) * 1_000_000)
    plan = replay.Plan(warmup_until_us=border_us, seed=seed)
    outcome = replay.play(LogFeed(log, builder, BadLines(MAX_BAD_SHARE)), plan, log.name, meter)
    outcome.states.close()
    models.save(outcome.model, model_dir)
    picture = folder / PICTURE if outcome.campaigns else None
    if picture is not None:
        campaign_plot.graphs(outcome.campaigns, {track.key_id: track for track in outcome.ranked}, picture)
    planted, others = (frozenset(names[client.name] for client in group) for group in last_day)
    return Past(log, beside, model_dir, outcome, planted, others, picture)


def _write(
    log: Path,
    beside: Path,
    groups: tuple[Sequence[Client], Sequence[Client]],
    names: dict[str, str],
    seed: int,
    now_sec: float,
    meter: Meter,
    pace: Pace,
) -> None:
    """Writes log and accounts of those who are there all the time, and of those who come on the judged day."""
    api = ModelApi(ModelApiConfig(seed=seed))
    always, late = groups
    expected = len(always) * sum(pace.sessions) * sum(pace.requests) / 4
    expected += len(late) * sum(pace.late_sessions) * sum(pace.late_requests) / 4
    first: dict[str, float] = {}
    usual = record(always, api, Random(seed), now_sec - DAYS * 86_400, DAYS, pace.sessions, pace.requests)
    begins = now_sec - JUDGED_DAYS * 86_400
    quiet = record(late, api, Random(seed + 1), begins, JUDGED_DAYS, pace.late_sessions, pace.late_requests)
    with gzip.open(log, "wb", compresslevel=1) as file:
        made = merge(usual, quiet, key=lambda exchange: exchange.at_sec)
        for number, exchange in enumerate(made, 1):
            first.setdefault(exchange.client.name, exchange.at_sec)
            file.write(orjson.dumps(_line(exchange, names[exchange.client.name])) + b"\n")
            meter.at(min(1.0, number / expected), number)
    cast.write_lines(beside, (cast.account(one, names[one.name], first[one.name]) for one in (*always, *late)))


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
