"""Live workers compare keys with what other providers shared, and do no more about them than the rules of trust allow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from app.enforcement.policy import SHARING, reference
from app.settings import Settings
from app.state.control import AllowEntry, ControlStore
from app.state.erasures import Erasures
from app.state.intel_hits import Hits
from app.state.intel_indicators import Held, Indicators, Standing, Word
from app.state.intel_words import OurWord, OurWords
from app.state.orders import Orders
from detectors.sharing.indicator import DAY_US, Indicator
from tests.integration.sharing_traffic import RING, acting, indicators, keys_folder, send
from tests.integration.sharing_traffic import hits as _hits
from tests.integration.sharing_traffic import order as _order
from tests.integration.sharing_traffic import until as _until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker.worker.SHARE_CHECK_SEC", 0.02)
    monkeypatch.setattr("app.worker.sharing.REFRESH_SEC", 0.02)
    monkeypatch.setattr("app.worker.sharing.RECHECK_SEC", 0.05)


@pytest.fixture(scope="module")
def shared() -> list[Indicator]:
    """What another provider distilled from its own keys: a template and settings."""
    return indicators()


async def _hold(lab: Any, shared: Sequence[Indicator], *members: str, standing: int = 3, **fields: Any) -> list[Held]:
    """Has the indicators held, reported by members of long standing that were right `standing` times."""
    now_us, store = time.time_ns() // 1000, Indicators(lab.client)
    words = tuple(Word(member, now_us, now_us, 90, told=True) for member in members)
    held = [Held(one, "labs", members[0], now_us, "amber+strict", words, **fields) for one in shared]
    for member in members:
        await store.put_standing(Standing("labs", member, member, now_us - 90 * DAY_US, standing, 0))
    await store.put(held)
    return held


async def _say(lab: Any, held: Sequence[Held], word: OurWord) -> None:
    for one in held:
        await OurWords(lab.client).say(one, word, "tokenone", 1, time.time_ns() // 1000)


async def _send(lab: Any, key: int, *, ring: bool, first: int = 0, count: int = 1) -> None:
    await send(lab, key, RING if ring else None, first=first, count=count)


@pytest.fixture
def keys_dir(tmp_path: Path) -> str:
    """A folder with the group's key."""
    return keys_folder(tmp_path / "keys")


@pytest.fixture
def real(keys_dir: str) -> dict[str, str]:
    """Settings under which policy acts about what was shared."""
    return acting(keys_dir)


async def test_first_request_raises_priority(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """One reporter's operation is seen at a key's first request; nothing is ordered, and nobody else is named."""
    await _hold(lab, shared, "acme")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        found = await _until(lab, 1, "effect", "priority")
        await _send(lab, 2, ring=False, count=4)
        assert {one.kind for one in found.seen} >= {"template", "settings"}
        assert (found.voices, found.acted, found.local) == (1, "", "")
        assert 0 < found.score <= 60
        assert await _hits(lab, 2) is None
        assert await _order(lab, 1) is None


async def test_two_reporters_act_until_taken_back(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """Two independent reporters lead to policy's action about suspects; a retraction ends it while the key is silent."""
    held = await _hold(lab, shared, "acme", "birch")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        found = await _until(lab, 1, "acted", "real")
        order = await _order(lab, 1)
        assert (order.by, order.action, order.ref) == (SHARING, "throttle", reference(f"{1:032x}", found.since_us))
        await Indicators(lab.client).put([structs.replace(one, revoked=True) for one in held])
        await lab.until(lambda: _hits(lab, 1), None)
        assert await _order(lab, 1) is None


async def test_shadow_by_default(lab: Any, shared: list[Indicator], keys_dir: str) -> None:
    """Without the operator's word what would be done is recorded, and nothing is ordered."""
    await _hold(lab, shared, "acme", "birch")
    async with lab.worker(STILLWATCH_INTEL__KEYS_DIR=keys_dir, STILLWATCH_ENFORCEMENT__MODE="enforce") as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        found = await _until(lab, 1, "acted", "shadow")
        assert found.effect == "automatic"
        assert await _order(lab, 1) is None


async def test_person_agreed_is_own_evidence(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """One reporter suffices once a person here has looked and agreed; that a person disagrees ends it."""
    held = await _hold(lab, shared, "acme", standing=0)
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        await _until(lab, 1, "effect", "priority")
        await _say(lab, held, "agree")
        found = await _until(lab, 1, "acted", "real")
        assert "agreed" in found.local
        await _say(lab, held, "disagree")
        await lab.until(lambda: _hits(lab, 1), None)
        assert await _order(lab, 1) is None


async def test_keys_of_before_are_compared(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """A key that was there before the indicator came is found when it comes, without a request of its own."""
    async with lab.worker(**real):
        await _send(lab, 1, ring=True, count=3)
        await _send(lab, 2, ring=False, count=3)
        await _hold(lab, shared, "acme")
        await _until(lab, 1, "effect", "priority")
        assert await _hits(lab, 2) is None


async def test_allow_list_wins(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """Nothing follows for a key on the allow-list, and what was ordered before it came there ends."""
    await _hold(lab, shared, "acme", "birch")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        await _until(lab, 1, "acted", "real")
        now_us = time.time_ns() // 1000
        entry = AllowEntry(
            subject=f"key:{1:032x}", owner="o", reason="r", expires_us=now_us + DAY_US, by="p", created_us=now_us
        )
        await ControlStore(lab.client).allow_put(entry)
        found = await _until(lab, 1, "excuse", "allow_list")
        assert (found.effect, found.acted) == ("nothing", "")
        assert await _order(lab, 1) is None


async def test_person_takes_it_back(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """An order that a person ended is not given again, whatever the key goes on to do."""
    await _hold(lab, shared, "acme", "birch")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        found = await _until(lab, 1, "acted", "real")
        ref = reference(f"{1:032x}", found.since_us)
        assert await Orders(lab.client).end(f"{1:032x}", range(lab.partitions), {"what": "order_ended"}, ref=ref)
        await _until(lab, 1, "acted", "lifted")
        await _send(lab, 1, ring=True, first=1, count=3)
        assert (await _until(lab, 1, "acted", "lifted")).effect == "automatic"
        assert await _order(lab, 1) is None


async def test_order_lost_in_a_crash_is_given(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """What was written down and not given, because the worker died in between, is given by the next one."""
    await _hold(lab, shared, "acme", "birch")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        worker._sharing._orders.give = _nothing
        await _send(lab, 1, ring=True)
        found = await _until(lab, 1, "acted", "real", given=False)
        assert await _order(lab, 1) is None
    async with lab.worker("w2", **real):
        await lab.until(lambda: _ref(lab, 1), reference(f"{1:032x}", found.since_us))


async def test_template_alone_and_pairs_of_a_liar(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """Neither a template of two trusted reporters nor everything from a pair without a past leads to more than a look."""
    template = [one for one in shared if one.kind == "template"]
    await _hold(lab, template, "acme", "birch")
    await _hold(lab, [one for one in shared if one.kind != "template"], "liar-1", "liar-2", standing=0)
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True, count=3)
        found = await _until(lab, 1, "effect", "priority")
        assert len({one.kind for one in found.seen}) >= 2
        assert await _order(lab, 1) is None


async def test_erased_key_is_forgotten(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """An erasure takes a key's hits with it."""
    await _hold(lab, shared, "acme")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 1, ring=True)
        await _until(lab, 1, "effect", "priority")
        erasures = Erasures(lab.client, lab.partitions)
        await erasures.ask(f"{1:032x}", time.time_ns() // 1000)
        await lab.until(lambda: _hits(lab, 1), None)
        assert await _hits(lab, 1) is None
        assert await Hits(lab.client).count() == 0


async def _ref(lab: Any, key: int) -> str:
    order = await _order(lab, key)
    return "" if order is None else order.ref


async def _nothing(found: object) -> None:
    """In place of what a dying worker did not do any more."""


def _looked_for(worker: Any) -> Any:
    async def measure() -> bool:
        return len(worker._sharing._watch) > 0

    return measure


def test_settings_default_to_shadow() -> None:
    """Nothing is ordered by what others say unless the operator says so."""
    assert Settings().intel.automatic == "shadow"


async def test_seldom_harvest_is_compared_at_once(lab: Any, shared: list[Indicator], real: dict[str, str]) -> None:
    """A key that hides the operation among other requests is found at the first one of it, though no score is due."""
    await _hold(lab, shared, "acme")
    async with lab.worker(**real) as worker:
        await lab.until(_looked_for(worker), True)
        await _send(lab, 2, ring=False, count=6)
        assert await _hits(lab, 2) is None
        await _send(lab, 2, ring=True, first=6)
        await _until(lab, 2, "effect", "priority")
