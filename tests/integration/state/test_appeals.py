"""Appeals and labels as they are stored, over a real state server."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.errors import BadInput, Conflict
from app.state import appeals as stored
from app.state import labels as label_store
from app.state.appeals import Appeal, Appeals, Words, new_id
from app.state.keys import LABELS, UNBOUNDED_OK
from app.state.labels import Label, Labels

AT_US = 1_790_000_000_000_000
KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def _appeal(number: int = 0, key_id: str = KEY, **changes: Any) -> Appeal:
    fields: dict[str, Any] = {
        "id": new_id(),
        "ref": f"sw-reference{number:02d}",
        "key_id": key_id,
        "at_us": AT_US + number,
        "by_person": False,
        "action": "throttle",
        "level": "suspect",
        "flagged_us": AT_US - 60_000_000,
    }
    return Appeal(**{**fields, **changes})


def _decided(found: Appeal, number: int = 0) -> Appeal:
    return msgspec.structs.replace(found, outcome="upheld", decided_us=AT_US + 1000 + number, decided_by="ann")


async def _all(page: Any) -> list[str]:
    found, cursor = [], ""
    while True:
        part, cursor = await page(cursor, 2)
        found += [one.id for one in part]
        if not cursor:
            return found


async def test_an_appeal_waits_is_decided_once_and_stays_known(client: Any) -> None:
    """Open ones by waiting time, decided ones by decision; of two people who decide at once one is told."""
    appeals = Appeals(client, 3600)
    filed = [_appeal(number) for number in range(5)]
    for one in filed:
        await appeals.file(one, Words("mail@example.org", "CANARY: I only run evaluations."))
    assert await _all(appeals.open) == [one.id for one in filed]
    assert await appeals.waiting() == (5, AT_US)
    assert await appeals.get(filed[0].id) == (filed[0], Words("mail@example.org", "CANARY: I only run evaluations."))
    won = await asyncio.gather(*(appeals.decide(filed[0], _decided(filed[0], n)) for n in range(2)))
    assert sorted(won) == [False, True]
    for number, one in enumerate(filed[1:4], 2):
        assert await appeals.decide(one, _decided(one, number))
    assert await _all(appeals.open) == [filed[4].id]
    assert await _all(appeals.decided) == [one.id for one in reversed(filed[:4])]
    assert await appeals.waiting() == (1, AT_US + 4)
    assert [one.id for one in await appeals.of_key(KEY)] == [one.id for one in reversed(filed)]
    assert await appeals.get(new_id()) is None
    assert await appeals.of_key(OTHER) == []


async def test_one_open_appeal_for_a_reference(client: Any) -> None:
    """A second one is refused with the first one's id; after a decision another may come."""
    appeals = Appeals(client, 3600)
    first, second = _appeal(), _appeal()
    await appeals.file(first, Words("", "a"))
    with pytest.raises(Conflict, match=first.id):
        await appeals.file(second, Words("", "b"))
    assert await appeals.decide(first, _decided(first))
    await appeals.file(second, Words("", "b"))


async def test_appeals_are_bounded(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the most open ones are refused, and old decisions leave the list."""
    monkeypatch.setattr(stored, "MAX_OPEN", 2)
    appeals = Appeals(client, 3600)
    filed = [_appeal(number) for number in range(3)]
    await appeals.file(filed[0], Words("", "a"))
    await appeals.file(filed[1], Words("", "a"))
    with pytest.raises(BadInput, match="2 appeals are open"):
        await appeals.file(filed[2], Words("", "a"))
    assert await appeals.decide(filed[0], _decided(filed[0]))
    late = msgspec.structs.replace(filed[1], outcome="partly", decided_us=AT_US + 401 * 86_400_000_000)
    assert await appeals.decide(filed[1], late)
    assert await _all(appeals.decided) == [filed[1].id]


async def test_words_end_before_the_appeal_and_all_of_it_can_be_erased(client: Any) -> None:
    """Text and contact have a life of their own; erasing a key leaves no name that an appeal made."""
    appeals = Appeals(client, 3600)
    first, second, other = _appeal(0), _appeal(1), _appeal(2, OTHER)
    for one in (first, second, other):
        await appeals.file(one, Words("mail@example.org", "CANARY"))
    assert await appeals.decide(first, _decided(first))
    names = await client.keys("*")
    lives = {name.decode(): await client.ttl(name) for name in names}
    assert all(life > 0 or name.endswith(UNBOUNDED_OK) for name, life in lives.items())
    assert max(life for name, life in lives.items() if ":w:" in name) <= 3600
    assert await appeals.erase(KEY) == 5  # two records, two texts, and the reference that was still open
    assert [one.id for one in await appeals.of_key(OTHER)] == [other.id]
    assert await _all(appeals.open) == [other.id]
    assert await _all(appeals.decided) == []
    left = [name.decode() for name in await client.keys("*")]
    assert not [name for name in left if KEY in name or first.id in name or second.id in name]
    await client.delete(f"sw:{{apl}}:w:{other.id}")
    assert await appeals.get(other.id) == (other, None)


def _label(key_id: str, number: int, **changes: Any) -> Label:
    fields: dict[str, Any] = {
        "key_id": key_id,
        "label": "benign",
        "source": "analyst",
        "weight": 1.0,
        "from_us": AT_US - 10,
        "until_us": AT_US,
        "at_us": AT_US + number,
        "by": "ann",
    }
    return Label(**{**fields, **changes})


async def test_labels_are_listed_by_key_and_erased_by_key(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page starts anywhere; the same label twice is one; beyond the bound they are refused."""
    labels = Labels(client)
    given = sorted((_label(key, n) for key in (KEY, OTHER) for n in range(3)), key=lambda one: (one.key_id, one.at_us))
    for one in (*reversed(given), given[0]):
        await labels.add(one)
    assert [one async for one in labels.all()] == given
    assert await labels.of_key(KEY) == given[:3]
    first, cursor = await labels.page("", 4)
    rest, end = await labels.page(cursor, 4)
    assert (first + rest, end) == (given, "")
    monkeypatch.setattr(label_store, "MAX_LABELS", 6)
    with pytest.raises(BadInput, match="6 labels already"):
        await labels.add(_label("a" * 32, 9))
    assert await labels.erase(KEY) == 3
    assert [one async for one in labels.all()] == given[3:]
    await client.zadd(LABELS, {"of another release": 0})
    assert [one async for one in labels.all()] == given[3:]
