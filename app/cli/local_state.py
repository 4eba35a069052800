"""How a local operator's command asks the state that the workers write, without the admin API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from app.errors import BadInput, StateUnavailable
from app.settings import Settings

if TYPE_CHECKING:
    from app.state.calls import Client

_T = TypeVar("_T")

ANSWER_SEC = 3.5
"""Longest wait for a state server that runs already; one that we start may read its files first."""


def exists(settings: Settings) -> bool:
    """There is a state to ask: an address is set, or something has run in the data folder."""
    return bool(settings.state.redis_url) or (settings.state.data_dir / "state").is_dir()


def ask(settings: Settings, question: Callable[[Client], Awaitable[_T]]) -> _T:
    """Ask the state. An embedded server that does not run is started for the moment: its files are the state.

    Raises:
        BadInput: there is none.
        StateUnavailable: the server does not answer in time.
    """
    from app.state import meta
    from app.state.calls import reachable
    from app.state.factory import background_client
    from app.state.keys import META
    from app.state.server import StateServer

    async def ask() -> _T:
        now = asyncio.get_running_loop().time
        server = StateServer(settings.state)
        ours = server.embedded and not server.is_held
        async with asyncio.timeout(None if ours else ANSWER_SEC) as limit, server:
            if ours:
                limit.reschedule(now() + ANSWER_SEC)
            client = background_client(server.url, settings)
            try:
                with reachable("state.redis_url"):
                    used = await client.exists(META)
                if used:  # with another number of partitions a part of the keys would silently be missing
                    await meta.check(client, settings)
                limit.reschedule(None)  # each question has its own deadline from here on
                return await question(client)
            finally:
                await client.aclose()

    if not exists(settings):
        raise BadInput(f"state.data_dir: {settings.state.data_dir.resolve()} holds no state; nothing has run there yet")
    try:
        return asyncio.run(ask())
    except TimeoutError:
        where = "state.redis_url" if settings.state.redis_url else "state.data_dir"
        raise StateUnavailable(f"{where}: the state server did not answer within {ANSWER_SEC:g} s") from None
