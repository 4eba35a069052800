"""Tenants that share a second watermark: stored, bounded, and known to every gateway at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.enforcement.control import Control
from app.errors import BadInput
from app.gateway.marking import Marking
from app.settings import WatermarkSettings, load
from app.state import mark_groups as module
from app.state.accounts import AccountStore
from app.state.adoption import Adoption
from app.state.factory import background_client
from app.state.keys import CONTROL_CHANGES
from app.state.mark_groups import MarkGroups
from app.watermark.sources import Sources
from detectors.watermark.keys import KeyRing, MasterSecret, issued, to_wire
from detectors.watermark.registry import MarkProfile, Registry

KEY = "0123456789abcdef" * 2
SECRET = MasterSecret(bytes(32))
PROFILE = MarkProfile("g1", "gumbel", "ab" * 32, "e1")


async def test_a_tenant_has_one_group_until_it_is_taken_away(client: Any) -> None:
    """Putting another replaces it; what is no name is refused."""
    groups = MarkGroups(client)
    assert await groups.put(KEY, "cmp-1")
    assert not await groups.put(KEY, "cmp-2")
    assert await groups.put("acme.example", "cmp-2")
    assert await groups.all() == {KEY: "cmp-2", "acme.example": "cmp-2"}
    assert await groups.get_many([KEY, "nobody"]) == {KEY: "cmp-2", "nobody": ""}
    assert await groups.delete(KEY)
    assert not await groups.delete(KEY)
    for tenant, group in (("", "a"), ("a b", "a"), ("a" * 129, "a"), (KEY, ""), (KEY, "a\x00b"), (KEY, "a" * 65)):
        with pytest.raises(BadInput, match=r"^(tenant|group): must be"):
            await groups.put(tenant, group)


async def test_there_are_only_so_many(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process holds all of them."""
    monkeypatch.setattr(module, "MAX_GROUPED", 1)
    groups = MarkGroups(client)
    await groups.put(KEY, "a")
    with pytest.raises(BadInput, match="1 tenants have a group, and no more can"):
        await groups.put("other", "a")
    assert not await groups.put(KEY, "b")


async def test_the_next_answer_is_marked_with_the_group(redis_db: str, client: Any, tmp_path: Path) -> None:
    """A gateway follows, also when it missed changes, and when the group goes again."""
    groups = MarkGroups(client)
    await groups.put("before", "cmp-0")
    settings = load(None, {}, {"state.data_dir": tmp_path, "control.poll_ms": 50})
    own = background_client(redis_db, settings)
    control = Control(settings, own)
    await control.start()
    tree = WatermarkSettings(engine="vllm", profile=("g1",), profiles_file=tmp_path, secrets_file=tmp_path)
    marking = Marking(tree, Sources(Registry((PROFILE,)), KeyRing({"e1": SECRET})), control.mark_group)

    async def marked(group: str) -> None:
        wanted = to_wire(issued(SECRET, KEY, 128, 16, group), 16)
        async with asyncio.timeout(10):
            while marking.fields(PROFILE, KEY)["vllm_xargs"]["wm_code"] != wanted:  # noqa: ASYNC110 - the copy follows
                await asyncio.sleep(0.005)

    try:
        assert control.mark_group("before") == "cmp-0"
        await marked("")
        await groups.put(KEY, "cmp-1")
        await marked("cmp-1")
        await groups.delete(KEY)
        await marked("")
        await client.xtrim(CONTROL_CHANGES, maxlen=0)
        await groups.put("another", "x")
        await client.xtrim(CONTROL_CHANGES, maxlen=0)
        await groups.put(KEY, "cmp-2")
        await marked("cmp-2")
        assert control.mark_group("another") == "x"
    finally:
        await control.stop()
        await own.aclose()


async def test_a_group_goes_with_its_key_to_a_new_pepper(client: Any) -> None:
    """Unless the new id has one of its own."""
    groups, adoption = MarkGroups(client), Adoption(client, AccountStore(client), 16)
    new, other = "f" * 32, "e" * 32
    await groups.put(KEY, "cmp-1")
    await groups.put(other, "cmp-2")
    await adoption.adopt(KEY, new)
    await adoption.adopt(KEY, other)
    assert await groups.get_many([new, other]) == {new: "cmp-1", other: "cmp-2"}
