"""Pages hold every key exactly once, whatever the scores are and wherever the keys live."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.errors import BadInput
from app.state.keys import PartitionKeys, partition_of
from app.state.reading import StateReader
from detectors.contract import Level


def _key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}"


async def _fill(desk: Any, seen: dict[str, int], flagged: dict[str, float] | None = None) -> None:
    """Puts keys into the indexes, as commits do."""
    pipe = desk.state.pipeline(transaction=False)
    for key_id, at_ms in seen.items():
        names = PartitionKeys(partition_of(key_id, desk.settings.state.partitions))
        pipe.zadd(names.seen, {key_id: at_ms})
        if flagged and key_id in flagged:
            pipe.zadd(names.flagged, {key_id: flagged[key_id]})
    await pipe.execute()


@pytest.mark.parametrize("ties", [1, 3, 1000], ids=["no ties", "few times", "one time"])
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_hold_every_key_once(desk: Any, ties: int, limit: int) -> None:
    """Over all pages every key comes once, newest first, also where many were seen in the same millisecond."""
    count = 40 if limit == 1 else 150
    seen = {_key(number): 1_790_000_000_000 + number // ties for number in range(count)}
    await _fill(desk, seen)
    pages = await desk.pages(limit=limit)
    listed = [item["key_id"] for page in pages for item in page]
    assert listed == sorted(seen, key=lambda key_id: (seen[key_id], key_id), reverse=True)
    assert {len(page) for page in pages[:-1]} <= {limit}


@pytest.mark.parametrize("skew", [1.0, 0.9, 0.5])
async def test_pages_are_whole_where_one_partition_holds_most(desk: Any, skew: float) -> None:
    """A page that must take most of its keys from one partition is as full and as exact as any other."""
    dice = random.Random(7)
    seen = {_key(number): 1_790_000_000_000 + dice.randrange(200) for number in range(400)}
    pipe = desk.state.pipeline(transaction=False)
    for key_id, at_ms in seen.items():
        pipe.zadd(PartitionKeys(2 if dice.random() < skew else dice.randrange(4)).seen, {key_id: at_ms})
    await pipe.execute()
    pages = await desk.pages(limit=120)
    assert [len(page) for page in pages] == [120, 120, 120, 40]
    listed = [item["key_id"] for page in pages for item in page]
    assert listed == sorted(seen, key=lambda key_id: (seen[key_id], key_id), reverse=True)


async def test_flagged_pages_hold_every_key_once(desk: Any) -> None:
    """The same for a level, where scores tie and the neighbouring levels begin at the very next number."""
    dice = random.Random(5)
    seen = {_key(number): 1_790_000_000_000 + number for number in range(200)}
    flagged = {key_id: dice.choice((1, 2, 3)) * 2 + dice.choice((0.0, 0.25, 0.25, 1.0)) for key_id in seen}
    await _fill(desk, seen, flagged)
    listed: list[str] = []
    for name, level in (("watch", 1), ("suspect", 2), ("confirmed", 3)):
        found = [item["key_id"] for page in await desk.pages(level=name, limit=9) for item in page]
        wanted = [key_id for key_id, rank in flagged.items() if level * 2 <= rank <= level * 2 + 1]
        assert found == sorted(wanted, key=lambda key_id: (flagged[key_id], key_id), reverse=True)
        listed += found
    assert sorted(listed) == sorted(seen)


async def test_clear_pages_skip_flagged_keys(desk: Any) -> None:
    """Pages of clear keys are full although most keys between them are flagged, and none comes twice."""
    seen = {_key(number): 1_790_000_000_000 + number // 4 for number in range(300)}
    clear = {key_id for number, key_id in enumerate(seen) if number % 7 == 0}
    await _fill(desk, seen, dict.fromkeys(seen.keys() - clear, 4.5))
    pages = await desk.pages(level="clear", limit=10)
    listed = [item["key_id"] for page in pages for item in page]
    assert sorted(listed) == sorted(clear)
    assert [len(page) for page in pages[:4]] == [10, 10, 10, 10]


async def test_a_key_that_moved_is_listed_where_it_was_seen_last(desk: Any) -> None:
    """A key whose account moved is in two partitions' memory, and counts once, in lists, in a search and on its page."""
    key_id, other = _key(1), _key(2)
    await desk.judged(key_id, Level.SUSPECT, partition=0, at_us=1_790_000_000_000_000)
    await desk.judged(key_id, Level.WATCH, partition=3, at_us=1_790_000_100_000_000)
    await desk.judged(other, Level.SUSPECT, partition=1)
    for params in ({}, {"q": key_id[:8]}):
        listed = [item for page in await desk.pages(**params) for item in page if item["key_id"] == key_id]
        assert [(item["level"], item["key_id"]) for item in listed] == [("watch", key_id)]
    assert [item["key_id"] for item in (await desk.get("/v1/keys?level=suspect"))["keys"]] == [other]
    found = await desk.get(f"/v1/keys/{key_id}")
    assert found["partition"] == 3
    assert found["verdict"]["level"] == "watch"


async def test_a_search_finds_by_the_start_of_the_id(desk: Any) -> None:
    """A prefix finds exactly the keys that start so, by id, at most the limit, and at one level when one is asked for."""
    seen = {_key(number): 1_790_000_000_000 + number for number in range(400)}
    flagged = {key_id: 4.5 for number, key_id in enumerate(seen) if number % 3 == 0}
    await _fill(desk, seen, flagged)
    for prefix in ("0", "a", "7f", _key(9), _key(9)[:20]):
        wanted = sorted(key_id for key_id in seen if key_id.startswith(prefix))
        answer = await desk.get("/v1/keys", params={"q": prefix, "limit": 500})
        assert [item["key_id"] for item in answer["keys"]] == wanted
        assert answer["next_cursor"] is None
        suspects = await desk.get("/v1/keys", params={"q": prefix, "limit": 500, "level": "suspect"})
        assert [item["key_id"] for item in suspects["keys"]] == [key_id for key_id in wanted if key_id in flagged]
        few = await desk.get("/v1/keys", params={"q": prefix, "limit": 2})
        assert [item["key_id"] for item in few["keys"]] == wanted[:2]
    assert (await desk.get("/v1/keys", params={"q": "f" * 32}))["keys"] == []


async def test_a_pattern_is_no_prefix(desk: Any) -> None:
    """What the server would read as a pattern finds nothing, so a search cannot be made to look at something else."""
    await _fill(desk, {_key(1): 1})
    reader = StateReader(desk.state, desk.settings.state.partitions)
    for prefix in ("*", "?", "[0-9a-f]", "\\", "a*", "", " "):
        page = await reader.list_keys(prefix=prefix)
        assert bool(page.rows) is (prefix == "")
        assert await reader.find(prefix) is None
    for pattern in ("*", "?", "[a-f]"):
        await desk.get("/v1/keys", status=422, params={"q": pattern})


@given(cursor=st.text(min_size=1, max_size=40) | st.from_regex(r"(nan|inf|-inf|1e999|1_0|):[0-9a-f]{1,32}", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
async def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    """Text that no page gave is refused before anything is asked of the server."""
    assume(not re.fullmatch(r"\s*[-+]?[\d_.]+(e[-+]?\d+)?\s*:[0-9A-Za-z_.:-]+", cursor, re.IGNORECASE))
    with pytest.raises(BadInput, match="cursor: must be the next_cursor of a page of this list"):
        await StateReader(None, 1).list_keys(cursor=cursor)  # type: ignore[arg-type]
