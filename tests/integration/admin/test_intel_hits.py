"""The queue of keys that show what other providers shared, the same on a key's page, and what is common here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from app.state.intel_common import CommonHere
from app.state.intel_hits import Hits, KeyHits, Seen
from app.state.intel_indicators import Held, Indicators, Standing, Word
from app.state.intel_keys import INTEL_HITS
from detectors.contract import Level
from detectors.sharing.indicator import DAY_US, Indicator

KEY = "0123456789abcdef" * 2
SETTINGS = "indicator--00000000-0000-4000-8000-000000000001"
TEMPLATE = "indicator--00000000-0000-4000-8000-000000000002"
CAMPAIGN = "campaign--00000000-0000-4000-8000-000000000003"


def _held(name: str, kind: str, now_us: int) -> Held:
    one = Indicator(
        name,
        kind,
        ("0a" * 12,),
        now_us - DAY_US,
        now_us + DAY_US,
        "stillwatch-marks-1",
        "2026q4",
        (5.0,),
        80,
        CAMPAIGN,  # type: ignore[arg-type]
    )
    return Held(one, "labs", "acme", now_us, "amber+strict", (Word("acme", now_us, now_us, 80),))


def _hits(key_id: str, effect: str, score: float, now_us: int, **more: Any) -> KeyHits:
    seen = tuple(
        Seen(name, "labs", CAMPAIGN, kind, 1.0, 5.0, now_us - 1000, now_us)
        for name, kind in ((SETTINGS, "settings"), (TEMPLATE, "template"))
    )
    return KeyHits(key_id, 0, seen, effect=effect, score=score, voices=1, at_us=now_us, **more)


@pytest.fixture
async def queue(desk: Any) -> list[str]:
    """Seven keys that show two indicators of one member, in the order in which they are to be looked at."""
    now_us, indicators = time.time_ns() // 1000, Indicators(desk.state)
    await indicators.put_standing(Standing("labs", "acme", "Acme Corp", now_us - 90 * DAY_US, 3, 0))
    await indicators.put([_held(SETTINGS, "settings", now_us), _held(TEMPLATE, "template", now_us)])
    effects = ["automatic"] * 2 + ["priority"] * 3 + ["nothing"] * 2
    found = [
        _hits(f"{number:032x}", effect, score, now_us)
        for number, (effect, score) in enumerate(zip(effects, (9.0, 8.0, 60.0, 50.0, 40.0, 100.0, 1.0), strict=True))
    ]
    await Hits(desk.state).put(reversed(found))
    return [one.key_id for one in found]


async def _pages(desk: Any, **query: Any) -> list[list[str]]:
    pages, cursor = [], "0"
    while cursor is not None:
        found = await desk.get("/v1/intel/hits", params={**query, "cursor": cursor})
        pages.append([one["key_id"] for one in found["hits"]])
        cursor = found["next_cursor"]
    return pages


@pytest.mark.parametrize(
    ("query", "sizes"),
    [
        ({"limit": 3}, [3, 3, 1]),
        ({"limit": 7}, [7]),
        ({"limit": 2, "effect": "priority"}, [2, 2, 1]),
        ({"limit": 4, "effect": "automatic"}, [2]),
    ],
)
async def test_pages_by_rank(desk: Any, queue: Sequence[str], query: dict[str, Any], sizes: list[int]) -> None:
    """Pages hold every key once, by what may follow and then by score; a filter ends the list where the rest is less."""
    pages = await _pages(desk, **query)
    assert [len(page) for page in pages] == sizes
    assert [key_id for page in pages for key_id in page] == queue[: sum(sizes)]


async def test_unreadable_ends_no_list(desk: Any, queue: Sequence[str]) -> None:
    """A row that another release wrote is passed over, and the list goes on behind it."""
    await desk.state.hset(INTEL_HITS, queue[1], b"\xc1")
    assert [key_id for page in await _pages(desk, limit=2) for key_id in page] == [queue[0], *queue[2:]]


async def test_who_told_and_who_may_see(desk: Any, queue: Sequence[str]) -> None:
    """A row says who reported it, and with which trust; a viewer sees no row."""
    first = (await desk.get("/v1/intel/hits", params={"limit": 1}))["hits"][0]
    assert [one["kind"] for one in first["seen"]] == ["settings", "template"]
    told = first["seen"][0]["reporters"]
    assert [(one["member"], one["organisation"], one["trust"], one["confidence"]) for one in told] == [
        ("acme", "Acme Corp", 0.571, 80)
    ]
    assert first["seen"][0]["tlp"] == "amber+strict"
    viewer = await desk.token("viewer")
    assert (await desk.as_(viewer, "GET", "/v1/intel/hits")).status_code == 403
    assert (await desk.call("GET", "/v1/intel/hits", params={"cursor": "x"})).status_code == 422


async def test_on_page_of_key(desk: Any) -> None:
    """A key's page has what it shows, and the verdict one reason more, with source and confidence; not for a viewer."""
    now_us, indicators = time.time_ns() // 1000, Indicators(desk.state)
    await indicators.put_standing(Standing("labs", "acme", "Acme Corp", now_us - 90 * DAY_US, 3, 0))
    await indicators.put([_held(SETTINGS, "settings", now_us), _held(TEMPLATE, "template", now_us)])
    await desk.judged(KEY, Level.WATCH, 0.5)
    plain = await desk.get(f"/v1/keys/{KEY}")
    assert plain["shared"] is None
    await Hits(desk.state).put([_hits(KEY, "priority", 45.7, now_us, local="our own verdict is watch")])
    page = await desk.get(f"/v1/keys/{KEY}")
    assert page["shared"]["effect"] == "priority"
    assert {one["indicator"] for one in page["shared"]["seen"]} == {SETTINGS, TEMPLATE}
    *reasons, added = page["verdict"]["reasons"]
    assert reasons == plain["verdict"]["reasons"]
    assert (added["feature"], added["value"], added["weight"]) == ("shared", 45.7, 0.0)
    assert added["text"] == (
        "fits settings and wordings of an operation reported by acme (trust 0.57, confidence 80): 46 of 100; "
        "our own verdict is watch"
    )
    assert page["verdict"]["level"] == "watch"
    viewer = await desk.token("viewer")
    answer = (await desk.as_(viewer, "GET", f"/v1/keys/{KEY}")).json()
    assert answer["shared"] is None
    assert answer["verdict"]["reasons"] == plain["verdict"]["reasons"]


async def test_common_here_is_told(desk: Any, queue: Sequence[str]) -> None:
    """An indicator that a worker has found common is told not to be looked for, in the list and by itself, for a day."""
    assert queue
    now_us, common = time.time_ns() // 1000, CommonHere(desk.state)
    await common.put([f"labs {TEMPLATE}"], now_us)
    await common.put([f"labs {SETTINGS}"], now_us - 2 * DAY_US)
    asked = await desk.get("/v1/intel/indicators", params={"now": "common here"})
    assert [one["id"] for one in asked["indicators"]] == [TEMPLATE]
    assert (await desk.get(f"/v1/intel/indicators/labs/{TEMPLATE}"))["now"] == "common here"
    assert (await desk.get(f"/v1/intel/indicators/labs/{SETTINGS}"))["now"] == "looked for"
    await common.drop([f"labs {TEMPLATE}"])
    assert (await desk.get(f"/v1/intel/indicators/labs/{TEMPLATE}"))["now"] == "looked for"
