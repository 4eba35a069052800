"""keys: who is suspicious and why, read from the state that the workers write."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli.common import AsJson, Config, Sets, out, plain_table, settle
from app.errors import BadInput
from app.settings import Settings

if TYPE_CHECKING:
    from app.state.reading import StateReader

_T = TypeVar("_T")

group = typer.Typer(help="List the keys by suspicion, and show one with its reasons.", no_args_is_help=False)


class LevelName(StrEnum):
    """A level as people type it."""

    CLEAR = "clear"
    WATCH = "watch"
    SUSPECT = "suspect"
    CONFIRMED = "confirmed"


@group.command("list")
def list_keys(
    level: Annotated[LevelName | None, typer.Option("--level", "-l", help="Only keys at this level, worst first.")] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="ID", help="Only keys whose id starts so.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List keys: by level, or the last seen first. On a pipe the columns are separated by tabs.

    Example: [bold]stillwatch keys list --level suspect[/bold]
    """
    from app.admin import views
    from detectors.contract import Level

    wanted = None if level is None else Level[level.name]

    async def read(reader: StateReader) -> list[Any]:
        rows: list[Any] = []
        cursor = ""
        while len(rows) < limit:
            page = await reader.list_keys(wanted, prefix, limit - len(rows), cursor)
            rows += page.rows
            cursor = page.cursor
            if not cursor:
                break
        return rows

    items = [views.key_item(row) for row in _read(settle(config, sets), read)]
    if as_json:
        print(json.dumps([item.model_dump(mode="json") for item in items], indent=2))
        return
    if not items:
        out.print("No key has been seen yet." if level is None and not prefix else "No key fits.")
        return
    rows = [
        (item.key_id, item.level, "" if item.score is None else f"{item.score:.3f}", _when(item.last_seen))
        for item in items
    ]
    plain_table(rows, ("key", "level", "score", "last seen"))


@group.command("show")
def show_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Key id, or the start of one that only one key has.")],
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Show one key: level, score, reasons, what is done about it, and how its level changed.

    Example: [bold]stillwatch keys show 3f9a[/bold]
    """
    from app.admin import views
    from detectors.analysis import EntityState
    from detectors.profile import BadProfile

    settings = settle(config, sets)

    async def read(reader: StateReader) -> tuple[Any, list[dict[str, Any]]]:
        found = await reader.list_keys(prefix=key_id, limit=2)
        exact = [row for row in found.rows if row.key_id == key_id]
        rows = exact or found.rows
        if not rows:
            raise BadInput(f"no key whose id starts with {key_id[:64]!r} is known")
        if len(rows) > 1:
            raise BadInput(f"more than one key id starts with {key_id[:64]!r}; give more of it")
        stored = await reader.key_state(rows[0].key_id)
        if stored is None:
            raise BadInput("the key was forgotten this moment")
        return stored, await reader.timeline(rows[0].key_id)

    stored, changes = _read(settings, read)
    try:
        state = None if stored.state is None else EntityState.from_bytes(stored.state)
    except BadProfile:
        raise BadInput(f"what is stored about key {stored.key_id} was written by another release") from None
    verdict = None if state is None or state.verdict is None else views.verdict(state.verdict)
    action = views.action(stored.verdict, settings.enforcement, time.time_ns() // 1000)
    timeline = [views.timeline_item(item) for item in changes]
    if as_json:
        answer = {
            "key_id": stored.key_id,
            "partition": stored.partition,
            "verdict": None if verdict is None else verdict.model_dump(mode="json"),
            "action": action.model_dump(mode="json"),
            "timeline": [item.model_dump(mode="json") for item in timeline],
        }
        print(json.dumps(answer, indent=2))
        return
    out.print(f"[bold]{stored.key_id}[/bold]  partition {stored.partition}", soft_wrap=True)
    if verdict is None:
        out.print("Seen, but not judged yet.")
        return
    status = verdict.level if verdict.status == "judged" else "warming up"
    out.print(
        f"{status}, score {verdict.score:.3f}, since {_when(verdict.since)}, {verdict.leaked} valuable answers leaked"
    )
    asks = "" if action.would == action.action else f" (shadow mode: the policy asks for {action.would})"
    until = f" until {_when(action.until)}" if action.until else ""
    out.print(f"action: {action.action}{asks}{until}", soft_wrap=True)
    for reason in verdict.reasons:
        out.print(f"  • {reason.text}", soft_wrap=True, markup=False)
    for item in timeline:
        out.print(f"  {_when(item.at)}  {item.was} → {item.level}, score {item.score:.3f}")


def _read(settings: Settings, question: Callable[[StateReader], Awaitable[_T]]) -> _T:
    """Ask the state. An embedded server that does not run is started for the moment: its files are the state."""
    from app.state import meta
    from app.state.calls import reachable
    from app.state.factory import background_client
    from app.state.keys import META
    from app.state.reading import StateReader
    from app.state.server import StateServer

    async def ask() -> _T:
        async with StateServer(settings.state) as state:
            client = background_client(state.url, settings)
            try:
                with reachable("state.redis_url"):
                    used = await client.exists(META)
                if used:  # with another number of partitions a part of the keys would silently be missing
                    await meta.check(client, settings)
                return await question(StateReader(client, settings.state.partitions))
            finally:
                await client.aclose()

    if not settings.state.redis_url and not (settings.state.data_dir / "state").is_dir():
        raise BadInput(f"state.data_dir: {settings.state.data_dir} holds no state; nothing has run there yet")
    return asyncio.run(ask())


def _when(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
