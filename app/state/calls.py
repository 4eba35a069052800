"""How background code calls the server: one way to run a script, one way to say that it failed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from app.errors import StateUnavailable

Client = aioredis.Redis
"""A client of one server, or of a Cluster (`app.state.cluster_client`), which has the same commands. What works on both: a
command or script touches keys of one hash tag only; a pipeline may touch many, and is no transaction."""

_LUA = Path(__file__).parent / "lua"


@contextmanager
def reachable(what: str) -> Iterator[None]:
    """Turns whatever the client raises into one sentence.

    Raises:
        StateUnavailable: the server could not be reached, timed out or refused a command.
    """
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        # A server error may quote arguments, which may hold client text; the class says enough.
        raise StateUnavailable(f"{what}: the state server did not answer ({type(error).__name__})") from None
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        # uvloop says so of a connection that was just lost, where asyncio raises an OSError.
        raise StateUnavailable(f"{what}: the connection to the state server was lost") from None


@cache
def _source(name: str) -> tuple[str, str]:
    text = (_LUA / f"{name}.lua").read_text(encoding="utf-8")
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text


async def run_script(client: Client, name: str, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
    """Runs `lua/<name>.lua` by its digest, and by its text where the server does not know it.

    SCRIPT LOAD is never used: proxies block it, and a restarted server forgets it. Raises what the client raises.
    """
    digest, text = _source(name)
    try:
        return await client.evalsha(digest, len(keys), *keys, *args)
    except NoScriptError:
        return await client.eval(text, len(keys), *keys, *args)
