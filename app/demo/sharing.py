"""Two providers and one operation: the first catches it and tells of it, and the second looks for it.

Everything that passes between them is real: the first one's workers link the operation, a person proposes what is shared,
another approves it, and the second one's admin process reads it from the first one's TAXII feed. The second one's day is
then played with and without it (`app.demo.shared_day`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from app.admin import server as admin_server
from app.cli.api import Api
from app.demo import history
from app.demo.shared_day import Way, play
from app.errors import StillwatchError
from app.intel import group_keys
from app.intel.networks import Places
from app.intel.warning_list import WarningList
from app.intel.watch import Watch
from app.offline.progress import Meter
from app.settings import Settings
from app.simulate.traffic.population import COVERED, CROWD, HONEST, OPERATION, populate
from app.state.calls import Client
from app.state.campaigns import CampaignStore
from app.state.events import EventLog
from app.state.factory import background_client
from app.state.intel_indicators import Held, Indicators, Standing
from app.state.keys import partition_of
from app.state.queues import Queues
from app.state.server import StateServer
from app.worker.worker import Worker, load_analysis
from detectors import model as models
from detectors.event import encode
from detectors.sharing.indicator import DAY_US

GROUP = "labs"
FIRST, SECOND = "provider-a", "provider-b"

PER_KIND = {FIRST: 30, SECOND: 14}
"""Honest customers of each of seven kinds. Of fewer than 200 nobody can say what is rare among them."""

KEYS = {FIRST: 24, SECOND: 12}
"""Keys of the operation at each."""

CROWD_KEYS = 30
PACE = {
    FIRST: history.Pace(requests=(10, 40)),
    SECOND: history.Pace(requests=(10, 40), late_requests=(40, 80)),
}
REVIEW_US = 30 * 60 * 1_000_000
"""From the first hit until an analyst has looked at it and agrees."""

WAIT_SEC = 120.0
QUIET_SEC = 6.0
"""Without a new pass of the linker, which looks every two seconds whether one is due."""

_LOOK_SEC = 0.1


@dataclass(frozen=True, slots=True)
class Table:
    """What came of it.

    Attributes:
        campaign: of the first provider, in words.
        says: what left, in words.
        kinds: kinds of indicator that came.
        wanted: answers that the operation wanted at the second provider.
        ways: the same day, differently used; the first one without anything shared.
    """

    campaign: str
    says: Sequence[str]
    kinds: Sequence[str]
    wanted: int
    ways: Sequence[Way]


def settings_of(folder: Path, name: str, model_dir: Path | None = None, peers_file: Path | None = None) -> Settings:
    """A provider's settings; its secrets are made on the first call and stay in its folder."""
    place = folder / name
    place.mkdir(exist_ok=True)
    secret = place / "secrets.json"
    if not secret.exists():
        secret.touch(0o600)
        secret.write_text(json.dumps({"pepper": secrets.token_hex(24), "token": secrets.token_hex(24)}), "utf-8")
    known = json.loads(secret.read_text("utf-8"))
    tree: dict[str, Any] = {
        "state": {"data_dir": place / "data"},
        "identity": {"pepper": known["pepper"]},
        "worker": {"poll_ms": 20, "metrics_port": 0, "model_dir": model_dir, "archive_days": 0, "archive_sec": 3600},
        "admin": {"port": 0, "token": known["token"]},
        "intel": {"provider": name, "keys_dir": folder / "keys", "peers_file": peers_file},
    }
    return Settings.model_validate(tree)


def make(folder: Path, name: str, seed: int, now_sec: float, meter: Meter) -> history.Past:
    """A provider's past, with the operation's keys on its last day. The same seed gives the operation the same wording."""
    place = folder / name / "history"
    place.mkdir(parents=True)
    own = seed + (0 if name == FIRST else 1_000)
    kind, first = (OPERATION, 1) if name == FIRST else (COVERED, 1 + KEYS[FIRST])
    operation = populate([(kind, KEYS[name])], seed + 2_000, first)
    customers = populate([(one, PER_KIND[name]) for one in HONEST], own)
    crowd = populate([(CROWD, CROWD_KEYS)], own)
    settings = settings_of(folder, name)
    return history.make(place, customers, settings, own, now_sec, meter, (operation, crowd), PACE[name])


def share_keys(folder: Path) -> None:
    """The key of the trust group, which both providers have."""
    place = folder / "keys"
    place.mkdir()
    file = place / f"{GROUP}.json"
    file.touch(0o600)
    file.write_text(json.dumps({time.strftime("%Y-%m"): secrets.token_hex(32)}), "utf-8")


async def tell(folder: Path, first: history.Past, meter: Meter) -> tuple[str, Sequence[str], list[Held]]:
    """The first provider's workers link the operation, two people publish it, and the second provider reads it.

    Returns:
        The campaign in words, what left in words, and what the second provider holds then.
    """
    settings = settings_of(folder, FIRST, first.model_dir)
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(StateServer(settings.state))
        client = background_client(state.url, settings)
        stack.push_async_callback(client.aclose)
        await _live(settings, state.url, client, first, meter)
        admin = await admin_server.start(settings, state_url=state.url)
        stack.push_async_callback(admin.stop)
        api = Api(admin.url, settings.admin.token.get_secret_value())
        meter.stage("Two people publish what they have seen")
        campaign, says, credential = await asyncio.to_thread(_publish, api)
        peers = folder / SECOND / "peers.toml"
        secret = folder / SECOND / "provider-a.secret"
        secret.touch(0o600)
        secret.write_text(credential + "\n", "ascii")
        peers.write_text(
            f'[[peer]]\nname = "{FIRST}"\ngroup = "{GROUP}"\nurl = "{admin.url}/taxii2/{GROUP}/"\n'
            f'secret_file = "{secret.name}"\ncollections = ["feed"]\ninterval_sec = 5\n',
            "ascii",
        )
        meter.stage("The second provider reads the first one's feed")
        held = await _read(settings_of(folder, SECOND, None, peers))
        return campaign, says, held


def compare(
    folder: Path, second: history.Past, held: Sequence[Held], border_us: int, meter: Meter
) -> tuple[int, list[Way]]:
    """The second provider's day without what was shared, and with it in three ways; and how much the operation wanted."""
    settings = settings_of(folder, SECOND)
    keys = {group: group_keys.by_epoch(ring) for group, ring in group_keys.load(settings.intel.keys_dir).items()}
    warned = WarningList.load(None).without
    stranger = {(GROUP, FIRST): Standing(GROUP, FIRST, FIRST, border_us)}
    known = {(GROUP, name): Standing(GROUP, name, name, border_us - 90 * DAY_US, 3) for name in (FIRST, "provider-c")}

    def watch(standings: dict[tuple[str, str], Standing], some: Sequence[Held]) -> Watch:
        return Watch(some, standings, keys, Places(), warned, border_us)

    both = [structs.replace(one, words=(*one.words, structs.replace(one.words[0], member="provider-c"))) for one in held]
    agreed = watch(stranger, [structs.replace(one, agreed=True) for one in held])
    ways = [
        Way("nothing shared"),
        Way("one reporter, no review", watch(stranger, held)),
        Way("one reporter, agreed after 30 min", watch(stranger, held), agreed, REVIEW_US),
        Way("two reporters", watch(known, both)),
    ]
    meter.stage("The second provider's day, with and without what was shared")
    total = second.outcome.run.events
    wanted = play(
        history.exchanges(second, settings),
        models.load(second.model_dir),
        border_us,
        second.operation,
        ways,
        lambda done: meter.at(done / max(1, total), done),
    )
    return wanted, ways


async def _live(settings: Settings, url: str, client: Client, past: history.Past, meter: Meter) -> None:
    """The past goes through a live worker, as the gateway would have logged it."""
    log = EventLog(url, settings.state, settings.state.data_dir / "spool")
    await log.start()
    worker = Worker(client, settings, load_analysis(settings))
    async with _running(worker):
        meter.stage("The first provider's workers judge and link")
        for number, (event, _) in enumerate(history.exchanges(past, settings), 1):
            log.append(encode(event), partition_of(event.org_id or event.key_id, settings.state.partitions))
            if number % 500 == 0:
                await log.flush()
                meter.at(number / past.outcome.run.events / 2, number)
        await log.flush()
        await log.stop()
        queues = Queues(client)
        async with asyncio.timeout(WAIT_SEC * 3):
            while left := sum((await queues.waiting(range(settings.state.partitions))).values()):
                meter.at(1 - left / past.outcome.run.events / 2, past.outcome.run.events - left)
                await asyncio.sleep(_LOOK_SEC)
            await _linked(CampaignStore(client))


async def _linked(campaigns: CampaignStore) -> None:
    """Returns when the linker has nothing new for a while: not every moment is worth a pass, so none is the last one."""
    known, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_SEC:
        if (last_us := (await campaigns.state()).last_us) != known:
            known, since = last_us, time.monotonic()
        await asyncio.sleep(_LOOK_SEC)


@asynccontextmanager
async def _running(worker: Worker) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def _publish(api: Api) -> tuple[str, Sequence[str], str]:
    """What two people do at the first provider; the credential is the second provider's."""
    api.call("PUT", f"/v1/intel/groups/{GROUP}", {"title": "Labs"})
    made = api.call("PUT", f"/v1/intel/groups/{GROUP}/members/{SECOND}", {"days": 1})
    people = [
        Api(api.url, api.call("POST", "/v1/tokens", {"name": name, "role": "admin", "days": 1})["token"])
        for name in ("Ann", "Ben")
    ]
    found = api.get("/v1/campaigns", at_least="suspect")["campaigns"]
    if not found:
        raise StillwatchError("the first provider's workers linked no campaign; this is a fault of the example")
    campaign = max(found, key=lambda one: one["keys"])
    proposal = people[0].call(
        "POST",
        "/v1/intel/publications",
        {
            "campaign_id": campaign["id"],
            "group": GROUP,
            "confirmed_by_review": campaign["level"] != "confirmed",
            "reason": "looked at its keys: one operation that collects reasoning",
        },
    )
    people[1].call(
        "POST",
        f"/v1/intel/publications/{proposal['id']}:approve",
        {"sha256": proposal["sha256"], "reason": "read what leaves: nothing of a customer is in it"},
    )
    told = f"{campaign['id']}: {campaign['level']}, {campaign['keys']} keys of {campaign['organisations']} organisations"
    return told, proposal["says"], made["token"]


async def _read(settings: Settings) -> list[Held]:
    """What the second provider's admin process holds once it has read its peer's feed."""
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(StateServer(settings.state))
        client = background_client(state.url, settings)
        stack.push_async_callback(client.aclose)
        admin = await admin_server.start(settings, state_url=state.url)
        stack.push_async_callback(admin.stop)
        indicators = Indicators(client)
        async with asyncio.timeout(WAIT_SEC):
            while not (held := await indicators.all()):  # noqa: ASYNC110 - the admin process sets it
                await asyncio.sleep(_LOOK_SEC)
            while len(more := await indicators.all()) > len(held):
                held = more
                await asyncio.sleep(1.0)
        return held
