"""keys: who is suspicious and why; and lifting what is done about one.

With the address of the admin API (--admin-url) it is asked, with the person's token; without it a local operator reads
the state that the workers write.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli import local_state
from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table, settle
from app.cli.key_pages import KeyPage, Ordered, campaign_line, listed, marks_line, shared_line, shown, utc
from app.cli.whole import whole_key
from app.enforcement import timeline
from app.errors import BadInput
from app.settings import Settings

if TYPE_CHECKING:
    from app.admin.models_intel_hits import SharedOut
    from app.admin.models_keys import ActionOut, HoldOut, KeyItem, TimelineItem, VerdictOut
    from app.admin.searching import Search
    from app.state.calls import Client
    from app.state.campaigns import CampaignStore
    from app.state.gateways import Mode
    from app.state.intel_hits import Hits
    from app.state.intel_indicators import Indicators
    from app.state.mark_ledger import Marked
    from app.state.reading import StateReader, StoredKey
    from detectors.campaign.contract import Campaign

_T = TypeVar("_T")

group = typer.Typer(
    help="List the keys by suspicion, show one with its reasons, lift what is done about one.", no_args_is_help=False
)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Key id, or the start of one that only one key has.")]


class LevelName(StrEnum):
    """A level as people type it; flagged: suspect and confirmed."""

    CLEAR = "clear"
    WATCH = "watch"
    SUSPECT = "suspect"
    CONFIRMED = "confirmed"
    FLAGGED = "flagged"


@dataclass(frozen=True)
class _Desk:
    """What a command may ask."""

    reader: StateReader
    search: Search
    campaigns: CampaignStore
    hits: Hits
    indicators: Indicators


@group.command("list")
def list_keys(
    level: Annotated[
        LevelName | None,
        typer.Option("--level", "-l", help="Only keys at this level, worst first; flagged: suspect and confirmed."),
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="ID", help="Only keys whose id starts so.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List keys: by level, or the last seen first. On a pipe the columns are separated by tabs.

    Example: [bold]stillwatch keys list --level flagged[/bold]
    """
    query = {"level": None if level is None else level.value, "q": prefix or None}
    items = _listed(config, sets, url, limit, query)
    if as_json:
        print(json.dumps([item.model_dump(mode="json") for item in items], indent=2))
        return
    if not items:
        out.print("No key has been seen yet." if level is None and not prefix else "No key fits.")
        return
    rows = [(item.key_id, item.level, _score(item.score), utc(item.last_seen)) for item in items]
    plain_table(rows, ("key", "level", "score", "last seen"))


@group.command("search")
def search_keys(
    prefix: Annotated[str, typer.Argument(metavar="[ID]", help="Only keys whose id starts so; such a list is by id.")] = "",
    level: Annotated[LevelName | None, typer.Option("--level", "-l", help="Only keys at this level, worst first.")] = None,
    org: Annotated[str | None, typer.Option("--org", metavar="NAME", help="Only keys of this organisation.")] = None,
    plan: Annotated[str | None, typer.Option("--plan", metavar="NAME", help="Only keys on this plan.")] = None,
    action: Annotated[
        str | None,
        typer.Option(
            "--action",
            metavar="NAME",
            help="Only keys about which this is asked for: observe, throttle, cap, step_up, suspend.",
        ),
    ] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", min=0, max=1, help="Only from this score on.")] = None,
    max_score: Annotated[float | None, typer.Option("--max-score", min=0, max=1, help="Only up to this score.")] = None,
    seen_after: Annotated[
        str | None, typer.Option("--seen-after", metavar="TIME", help="Only keys last seen then or later; ISO 8601.")
    ] = None,
    seen_before: Annotated[
        str | None, typer.Option("--seen-before", metavar="TIME", help="Only keys last seen before; ISO 8601.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Find keys: by id, organisation, plan, level, score, last use and what is asked for about them.

    Example: [bold]stillwatch keys search --org acme --action throttle[/bold]
    """
    query = {
        "level": None if level is None else level.value,
        "q": prefix or None,
        "org_id": org,
        "plan": plan,
        "action": action,
        "min_score": min_score,
        "max_score": max_score,
        "seen_after": seen_after,
        "seen_before": seen_before,
    }
    items = _listed(config, sets, url, limit, query)
    if as_json:
        print(json.dumps([item.model_dump(mode="json") for item in items], indent=2))
        return
    if not items:
        out.print("No key fits.")
        return
    rows = [
        (one.key_id, one.level, _score(one.score), one.action, one.org_id, one.plan, utc(one.last_seen)) for one in items
    ]
    plain_table(rows, ("key", "level", "score", "action", "organisation", "plan", "last seen"))


@group.command("show")
def show_key(key_id: KeyId, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Show one key: level, score, reasons, what is done about it, and how that changed.

    Example: [bold]stillwatch keys show 3f9a[/bold]
    """
    page = shown(connect(config, sets, url), key_id) if url else _page(settle(config, sets), key_id)
    if as_json:
        print(json.dumps(page.json(), indent=2))
        return
    verdict = page.verdict
    out.print(f"[bold]{page.key_id}[/bold]  partition {page.partition}", soft_wrap=True)
    if verdict is None:
        out.print("unjudged: seen, but too little for a verdict")
    elif verdict.level == "unjudged":
        out.print(f"unjudged: warming up, {verdict.evidence} answered exchanges so far")
    else:
        out.print(
            f"{verdict.level}, score {verdict.score:.3f}, since {utc(verdict.since)}, "
            f"{verdict.leaked} valuable answers leaked"
        )
    out.print(_action_line(page.action, page.hold, verdict, page.order), soft_wrap=True, markup=False)
    if page.campaign is not None:
        out.print(campaign_line(page.campaign), soft_wrap=True, markup=False)
    if page.marks is not None:
        out.print(marks_line(page.marks), soft_wrap=True, markup=False)
    if page.shared is not None:
        out.print(shared_line(page.shared), soft_wrap=True, markup=False)
    for reason in verdict.reasons if verdict else ():
        out.print(f"  • {reason.text}", soft_wrap=True, markup=False)
    for item in page.timeline:
        out.print(f"  {utc(item.at)}  {_change(item)}", soft_wrap=True, markup=False)


def _page(settings: Settings, key_id: str) -> KeyPage:
    """From the state itself.

    Raises:
        BadInput: no key is known so, or several are, or another release wrote it.
    """
    from app.admin import views, views_campaigns, views_keys
    from app.admin.deadline import answered
    from app.admin.models_keys import level_or_none
    from app.admin.routes_intel_hits import shown_by
    from detectors.analysis import EntityState
    from detectors.profile import BadProfile

    async def read(
        desk: _Desk,
    ) -> tuple[StoredKey, list[dict[str, Any]], Mode, Campaign | None, list[Marked], SharedOut | None]:
        async with answered():
            stored = await _find(desk.reader, key_id)
            name = (await desk.campaigns.of_keys([stored.key_id])).get(stored.key_id)
            group = None if name is None else await desk.campaigns.read(name)
            mode = (await desk.reader.gateways()).mode
            marked = await desk.reader.marks().of_key(stored.key_id)
            shared = await shown_by(desk.hits, desk.indicators, stored.key_id)
            return stored, await desk.reader.timeline(stored.key_id), mode, group, marked, shared

    stored, changes, mode, group, marked, shared = _ask(settings, read)
    try:
        state = None if stored.state is None else EntityState.from_bytes(stored.state)
    except BadProfile:
        raise BadInput(f"what is stored about key {stored.key_id} was written by another release") from None
    found = None if state is None else state.verdict
    return KeyPage(
        key_id=stored.key_id,
        partition=stored.partition,
        level=level_or_none(found),
        verdict=None if found is None else views_keys.verdict(found, shared),
        action=views.action(stored.verdict, mode, time.time_ns() // 1000),
        hold=views.hold(stored.order),
        order=stored.order,
        timeline=[views.timeline_item(item) for item in changes],
        campaign=None if group is None else views_campaigns.of_key(group, stored.key_id),
        marks=views_keys.marks(marked),
        shared=shared,
    )


@group.command("lift")
def lift_key(
    key_id: KeyId,
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line; kept in the audit log and with the key.")],
    hours: Annotated[float, typer.Option("--hours", help="For how long, at most 720.")] = 24.0,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Do nothing about a key for a time, from its next request on. Its level goes on being judged.

    Example: [bold]stillwatch keys lift 3f9a --reason "agreed with the customer" --hours 48[/bold]
    """
    api = connect(config, sets, url)
    name = whole_key(api, key_id)
    order = api.call("POST", f"/v1/keys/{part(name)}:lift", {"reason": reason, "hours": hours})
    until = utc(datetime.fromisoformat(order["until"]))
    out.print(f"{name}: nothing is done about it until {until}, {order['ref']}", soft_wrap=True)


def _listed(config: Path | None, sets: list[str] | None, url: str, limit: int, asked: dict[str, Any]) -> list[KeyItem]:
    """The first keys that fit, from the API where its address is given; an option that breaks its rule is named."""
    from pydantic import ValidationError

    from app.admin import views
    from app.admin.deadline import answered
    from app.admin.models_keys import KeyQuery

    async def read(desk: _Desk) -> list[KeyItem]:
        items: list[KeyItem] = []
        cursor = ""
        while len(items) < limit:
            query = KeyQuery(**asked, limit=min(500, limit - len(items)), cursor=cursor)
            async with answered():
                found, cursor = await desk.search.page(query)
            items += [views.key_item(one.row, one.account, one.plan, one.action) for one in found]
            if not cursor:
                break
        return items

    try:
        KeyQuery(**asked)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        rule = str(fault["msg"]).removeprefix("Value error, ").replace("Input should ", "must ", 1)
        name = {"q": "ID", "org_id": "--org"}.get(str(fault["loc"][0]), f"--{str(fault['loc'][0]).replace('_', '-')}")
        raise typer.BadParameter(rule, param_hint=name) from None
    return listed(connect(config, sets, url), limit, asked) if url else _ask(settle(config, sets), read)


async def _find(reader: StateReader, start: str) -> StoredKey:
    """The one key whose id starts so."""
    found = await reader.list_keys(prefix=start, limit=2)
    rows = [row for row in found.rows if row.key_id == start] or list(found.rows)
    if not rows:
        raise BadInput(f"no key whose id starts with {start[:64]!r} is known")
    if len(rows) > 1:
        raise BadInput(f"more than one key id starts with {start[:64]!r}; give more of it")
    stored = await reader.key_state(rows[0].key_id)
    if stored is None:
        raise BadInput("the key was forgotten this moment")
    return stored


_HELD_BACK = {
    "shadow": "shadow mode:",
    "no_gateway": "no gateway is running;",
    "kill_switch": "the kill switch is on;",
    "allow_list": "it is on the allow-list;",
    "share": "outside the enforced percentage;",
}


def _action_line(action: ActionOut, hold: HoldOut | None, verdict: VerdictOut | None, order: Ordered | None = None) -> str:
    """What is done about the key, and why not more."""
    if hold is not None:
        return f"action: none, lifted until {utc(hold.until)} by {hold.by} under {hold.ref}: {hold.reason}"
    if verdict is not None and verdict.authorised and verdict.level not in ("unjudged", "clear"):
        return "action: observe (authorised use: only observed)"
    until = f" until {utc(action.until)}" if action.until else ""
    if action.would == "observe":
        return "action: observe"
    asks = "a person" if action.by == "person" else "the policy"
    if action.held_back is not None:
        return f"action: observe ({_HELD_BACK[action.held_back]} {asks} asks for {action.would}{until}){_ordered(order)}"
    if action.by == "person":
        return f"action: {action.action}{until}{_ordered(order)}"
    some = " (only some of the gateways act: the others are in shadow mode)" if action.mode == "mixed" else ""
    return f"action: {action.action}{until}{some}"


def _ordered(order: Ordered | None) -> str:
    """Who ordered it, and why; nothing where policy asks."""
    return "" if order is None else f", ordered by {order.by} under {order.ref}: {order.reason}"


def _change(item: TimelineItem) -> str:
    """What a line of the timeline says."""
    by = item.by or item.who  # items of an earlier release have no name
    under = f" under {item.ref}" if item.ref else ""
    if item.what == timeline.LIFTED:
        return f"lifted until {utc(item.until)} by {by}{under}: {item.note}"
    if item.what == timeline.ORDERED:
        return f"{item.action} until {utc(item.until)}, ordered by {by}{under}: {item.note}"
    if item.what == timeline.ORDER_ENDED:
        after = f"{item.action} until {utc(item.until)} stands" if item.action else "what policy asks for is done"
        return f"order{item.ref and f' {item.ref}'} ended by {by}{f': {item.note}' if item.note else ''}; {after} again"
    if item.what == timeline.LIFT_ENDED:
        return f"lift{item.ref and f' {item.ref}'} taken back by {by}"
    if item.what == timeline.AUTHORISED:
        covered = item.who != "worker" or item.authorised
        why = f": {item.note}" if item.note else ""
        return f"authorised use: only observed{why}" if covered else f"no authorised use any more: {item.action}"
    if item.what == timeline.LEAK:
        return f"leak alarm: {item.action}" if item.leaking else f"no leak alarm any more: {item.action}"
    use = ", authorised use: only observed" if item.authorised and item.level != "clear" else ""
    return f"{item.was} → {item.level}, score {item.score:.3f}{use}"


def _ask(settings: Settings, question: Callable[[_Desk], Awaitable[_T]]) -> _T:
    """As `local_state.ask`, with the readers of keys."""
    from app.admin.searching import Search
    from app.state.accounts import AccountStore
    from app.state.campaigns import CampaignStore
    from app.state.intel_hits import Hits
    from app.state.intel_indicators import Indicators
    from app.state.reading import StateReader

    async def asked(client: Client) -> _T:
        number = settings.state.partitions
        reader, accounts = StateReader(client, number), AccountStore(client)
        search = Search(reader, accounts, number, settings.identity.default_plan)
        return await question(_Desk(reader, search, CampaignStore(client), Hits(client), Indicators(client)))

    return local_state.ask(settings, asked)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"
