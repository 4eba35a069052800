"""The admin API on a real socket, over a real state server that real workers and commits have filled.

Every answer that a test gets through `desk.call` is held against the API's own description, so each test is a contract
test too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from jsonschema import Draft202012Validator

from app.admin import server as admin_server
from app.admin.server import AdminServer
from app.gateway.services import Services
from app.settings import Settings, load
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.ownership import Ownership
from app.state.partition import Batch, PartitionStore
from app.worker.effects import add_verdicts
from app.worker.flags import add_flags
from app.worker.worker import Worker, load_analysis
from detectors.analysis import EntityState
from detectors.contract import Level, Reason, Score, ScoreStatus, Status, Verdict
from detectors.event import Event, encode
from detectors.features import features
from detectors.fingerprint import fingerprint
from detectors.model import rules_only
from detectors.profile import Profile
from detectors.watermark.registry import WORDS, MarkProfile, Registry

TOKEN = "admin-token-of-the-tests-0123456789"
START_US = 1_790_000_000_000_000
PARTITIONS = 4
PROBLEM = "application/problem+json"


class Description:
    """The OpenAPI document, and whether an answer follows it."""

    _known: ClassVar[Description | None] = None

    @classmethod
    async def of(cls, server: AdminServer) -> Description:
        """What the first server of this pytest process says: no setting changes it, and to write it takes half a second."""
        if cls._known is None:
            cls._known = await cls.fetched(server)
        return cls._known

    @classmethod
    async def fetched(cls, server: AdminServer) -> Description:
        """What this server says."""
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30.0) as http:
            answer = await http.get("/v1/openapi.json", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text
        return cls(answer.json())

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = [
            (re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))), operations, "}:" in template)
            for template, operations in sorted(document["paths"].items(), key=lambda path: len(path[0]))
        ]

    def check(self, response: httpx2.Response) -> None:
        """The answer is declared for its route, and its body has the declared shape; what has no route is a problem."""
        media_type = response.headers.get("content-type", "").partition(";")[0]
        path = response.request.url.raw_path.decode().partition("?")[0]
        found = [(verb, operations) for pattern, operations, verb in self._paths if pattern.fullmatch(path)]
        found.sort(key=lambda item: not item[0])  # an address with a verb, …:lift, looks like an id too
        operation = found[0][1].get(response.request.method.lower()) if found else None
        if operation is None:
            assert response.status_code in (404, 405, 413, 415), (response.request.method, path, response.status_code)
            self.validate(response.json(), {"$ref": "#/components/schemas/Problem"})
            return
        declared = operation["responses"].get(str(response.status_code))
        assert declared is not None, (path, response.status_code, response.text)
        if response.status_code == 204:
            assert not response.content
            return
        assert media_type in declared["content"], (path, response.status_code, media_type)
        schema = declared["content"][media_type].get("schema", {})
        if media_type.endswith("ndjson"):
            for line in response.text.splitlines():
                self.validate(json.loads(line), schema)
        elif media_type.endswith("json"):
            self.validate(response.json(), schema)

    def validate(self, value: object, schema: dict[str, Any]) -> None:
        """The value follows a schema of the document."""
        root = {"$schema": Draft202012Validator.META_SCHEMA["$id"], "components": self.document["components"], **schema}
        Draft202012Validator(root).validate(value)


class Desk:
    """An operator's view: a running admin API and what is behind it."""

    def __init__(self, server: AdminServer, settings: Settings, url: str, client: Any, description: Description) -> None:
        self.server = server
        self.settings = settings
        self.state_url = url
        self.state = client
        self.description = description
        self._numbers = itertools.count(1)
        self.http = httpx2.AsyncClient(
            base_url=server.url, trust_env=False, headers={"authorization": f"Bearer {TOKEN}"}, timeout=30.0
        )

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """One request with the token; the answer follows the description."""
        response = await self.http.request(method, path, **more)
        self.description.check(response)
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        return response

    async def get(self, path: str, status: int = 200, **more: Any) -> Any:
        """The JSON at a path, which is answered with this status."""
        response = await self.call("GET", path, **more)
        assert response.status_code == status, response.text
        return response.json()

    async def token(self, role: str, name: str = "", **more: Any) -> str:
        """A new token with a role, and a name of its own if none is given."""
        name = name or f"a test {next(self._numbers)}"
        answer = await self.call("POST", "/v1/tokens", json={"name": name, "role": role, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def as_(self, token: str, method: str, path: str, **more: Any) -> httpx2.Response:
        """One request with another token, or with none ("")."""
        headers = {**({"authorization": f"Bearer {token}"} if token else {"authorization": ""}), **more.pop("headers", {})}
        return await self.call(method, path, headers=headers, **more)

    async def pages(self, **params: Any) -> list[list[dict[str, Any]]]:
        """Every page of a key list."""
        found = []
        cursor = ""
        while True:
            page = await self.get("/v1/keys", params={**params, "cursor": cursor})
            found.append(page["keys"])
            cursor = page["next_cursor"]
            if cursor is None:
                return found
            assert len(found) < 1000

    def event(self, number: int, key_id: str, org_id: str = "") -> Event:
        """The `number`-th event of a key."""
        dice = random.Random(f"{key_id} {number}")
        words = " ".join(dice.choice(("derive", "integral", "river", "invoice", "poem", "kernel")) for _ in range(30))
        return Event(
            event_id=f"{number:016x}",
            at_us=START_US + number * 1_700_000,
            key_id=key_id,
            org_id=org_id,
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
            user_chars=len(words),
            finish_reason="stop",
            input_tokens=40,
            output_tokens=dice.randrange(20, 600),
            answer_chars=800,
            answer_digest=dice.getrandbits(64),
            latency_us=900_000,
            ip_prefix_id=key_id,
            user_head=f"Solve step by step and show your reasoning: {words}",
            user_tail=words,
            answer_head=words,
        )

    def profile(self, key_id: str, org_id: str = "", events: int = 6) -> Profile:
        """What the analysis remembers of a key after a few events."""
        profile = Profile.new(key_id, "key")
        for number in range(events):
            event = self.event(number, key_id, org_id)
            profile.update(event, fingerprint(event))
        return profile

    async def work(self, events: Sequence[Event]) -> None:
        """Appends events as a gateway does, and lets a real worker apply them."""
        for event in events:
            stream = PartitionKeys(partition_of(event.org_id or event.key_id, PARTITIONS)).stream
            await self.state.xadd(stream, {"e": encode(event)})
        stop = asyncio.Event()
        worker = Worker(self.state, self.settings, load_analysis(self.settings), "w1")
        task = asyncio.create_task(worker.run(stop))
        async with asyncio.timeout(30):
            while any([await self.state.xlen(PartitionKeys(number).stream) for number in range(PARTITIONS)]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stop.set()
        await task

    async def judged(
        self,
        key_id: str,
        level: Level,
        score: float = 0.5,
        *,
        partition: int | None = None,
        seen_ms: int | None = None,
        at_us: int = START_US,
        was: Level = Level.CLEAR,
        authorised: bool = False,
        status: Status = Status.JUDGED,
        scores: tuple[Score, ...] = (),
        text: str = "asks for the same skeleton in 97 % of 1,200 exchanges",
    ) -> None:
        """Commits a verdict about a key as a worker does: state, rank, action, timeline and flag."""
        number = partition_of(key_id, PARTITIONS) if partition is None else partition
        verdict = Verdict(
            entity_id=key_id,
            entity_kind="key",
            status=status,
            score=score,
            level=level,
            at_us=at_us,
            since_us=at_us - 60_000_000,
            flagged_us=at_us if level >= Level.SUSPECT else None,
            reasons=(Reason("skeleton_top_share", 0.97, 99.5, "high", 0.6, text),),
            scores=scores
            or (
                Score("rules", "1", ScoreStatus.SCORED, score),
                Score("anomaly", "1", ScoreStatus.NOT_APPLICABLE),
            ),
            leaked=321,
            evidence=1200,
            authorised=authorised,
            model_id="00112233445566aa",
        )
        lease = await Ownership(self.state, "tester", 60_000).acquire(number)
        assert lease is not None
        store = PartitionStore(self.state, lease)
        cursor = await store.cursor()
        first, _, _ = cursor.partition("-")
        batch = Batch(cursor=cursor, last=f"{max(int(first), at_us // 1000)}-{random.randrange(1, 2**40)}")
        profile = self.profile(key_id)
        batch.states["key", key_id] = EntityState(profile, verdict).to_bytes()
        batch.seen[key_id] = at_us // 1000 if seen_ms is None else seen_ms
        before, policy = {key_id: was}, self.settings.enforcement
        add_verdicts(batch, [verdict], before, policy)
        add_flags(batch, [verdict], [features(profile, profile.last_at_us)], before, rules_only(), policy)
        await store.commit(batch)


PROFILES = (
    MarkProfile(id="words", scheme="gumbel", tokenizer=WORDS, epoch="2026q4", context_width=2),
    MarkProfile(id="tokens", scheme="gumbel", tokenizer="0" * 64, epoch="2026q4"),
    MarkProfile(id="old", scheme="green", tokenizer=WORDS, epoch="2026q1", valid_until="2026-03-31"),
)
EPOCH_SECRET = "5e" * 32


def _group_keys(folder: Path) -> Path:
    """A folder with the keys of two trust groups."""
    keys = folder / "group-keys"
    keys.mkdir(exist_ok=True)
    for group in ("labs", "old"):
        file = keys / f"{group}.json"
        file.write_text(json.dumps({"2026q4": EPOCH_SECRET}))
        file.chmod(0o600)
    return keys


def settings_for(folder: Path, **more: str) -> Settings:
    """A small deployment whose admin API listens on a free port. It knows profiles of marks, and marks nothing."""
    profiles = folder / "profiles.json"
    profiles.write_text(Registry(PROFILES).dumped())
    return load(
        environ={
            "STILLWATCH_INTEL__PROVIDER": "Provider A",
            "STILLWATCH_INTEL__KEYS_DIR": str(_group_keys(folder)),
            "STILLWATCH_WATERMARK__PROFILES_FILE": str(profiles),
            "STILLWATCH_WATERMARK__SECRETS": json.dumps({"2026q4": EPOCH_SECRET}),
            "STILLWATCH_STATE__DATA_DIR": str(folder),
            "STILLWATCH_STATE__PARTITIONS": str(PARTITIONS),
            "STILLWATCH_ADMIN__TOKEN": TOKEN,
            "STILLWATCH_ADMIN__PORT": "0",
            "STILLWATCH_WORKER__POLL_MS": "10",
            "STILLWATCH_WORKER__LEASE_MS": "1000",
            **more,
        }
    )


@asynccontextmanager
async def opened(state_url: str, settings: Settings) -> AsyncIterator[Desk]:
    """A desk over a state server; everything is closed with the block."""
    client = background_client(state_url, settings)
    server = await admin_server.start(settings, state_url=state_url)
    try:
        desk = Desk(server, settings, state_url, client, await Description.of(server))
        async with desk.http:
            yield desk
    finally:
        await server.stop()
        await client.aclose()


@pytest.fixture
def new_desk(redis_db: str, tmp_path: Path) -> Any:
    """Opens desks with settings of their own: `async with new_desk(STILLWATCH_…="…") as desk`."""
    return lambda **more: opened(redis_db, settings_for(tmp_path, **more))


@pytest.fixture
async def desk(new_desk: Any) -> AsyncIterator[Desk]:
    """A desk over an empty database."""
    async with new_desk() as made:
        yield made


@pytest.fixture
def gateway(redis_db: str, tmp_path: Path) -> Any:
    """Runs a gateway's services in a mode, for the time of a block: `async with gateway("enforce") as services`."""

    @asynccontextmanager
    async def running(mode: str, **more: str) -> AsyncIterator[Services]:
        pepper = {"STILLWATCH_PEPPER": "a pepper of some length", "STILLWATCH_ENFORCEMENT__MODE": mode}
        services = await Services.start(settings_for(tmp_path, **pepper, **more), redis_db)
        try:
            yield services
        finally:
            await services.stop()

    return running


@pytest.fixture
def admin_settings(tmp_path: Path) -> Any:
    """Settings of a small deployment, for tests that start the server themselves."""
    return lambda **more: settings_for(tmp_path, **more)


@pytest.fixture
def token() -> str:
    """The right token."""
    return TOKEN
