"""campaigns: groups of keys that act as one: look at them, act about all their members at once, and undo it."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.acting import ORDERS, Yes, counted, print_json, span_sec, sure, tell, when
from app.cli.api import AdminUrl, Api, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.cli.order_words import POLL_SEC, effect_lines, follow
from app.cli.orders import ActionName, LevelName
from app.cli.whole import whole_key

group = typer.Typer(help="Groups of keys that act as one: list, show, act about all members, undo.")

SHOWN = 20
"""Members that `show` prints; all of them are in `members`."""


def _id(given: str) -> str:
    """An id of that shape, before anybody is asked about it."""
    if not re.fullmatch("c-[0-9a-f]{12}", given):
        raise typer.BadParameter("the id of a campaign is c- and 12 hex digits")
    return given


Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the campaign, c- and 12 hex digits.", callback=_id)]


class ModeName(StrEnum):
    """Whether it is done."""

    SHADOW = "shadow"
    REAL = "real"


@group.command("list")
def list_campaigns(
    at_least: Annotated[
        LevelName, typer.Option("--at-least", metavar="LEVEL", help="At this level (watch, suspect, confirmed) or above.")
    ] = LevelName.SUSPECT,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that have ended, or were merged.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List campaigns: level, keys, what they took, and what is done about them.

    Example: [bold]stillwatch campaigns list --at-least watch[/bold]
    """
    api = connect(config, sets, url)
    found = list(api.rows("/v1/campaigns", "campaigns", limit, at_least=at_least.value, ended="true" if ended else None))
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("No campaign fits.")
        return
    rows = [
        (
            one["id"],
            _level(one),
            f"{one['score']:.3f}",
            f"{one['keys']:,}",
            f"{one['organisations']:,}",
            f"{one['leaked']:,}",
            when(one["since"]),
            _act_word(one["act"]),
        )
        for one in found
    ]
    plain_table(rows, ("campaign", "level", "score", "keys", "organisations", "leaked", "since", "action"))


@group.command("show")
def show_campaign(
    campaign: Id, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Show one campaign: what ties its keys beside how common that is, how it came to be, its members.

    Example: [bold]stillwatch campaigns show c-0123456789ab[/bold]
    """
    api = connect(config, sets, url)
    found = api.get(f"/v1/campaigns/{part(campaign)}")
    if as_json:
        print_json(found)
        return
    traffic = found["traffic"]
    out.print(f"[bold]{found['id']}[/bold]  {_level(found)}, score {found['score']:.3f}, since {when(found['since'])}")
    out.print(
        f"{counted(found['keys'], 'key')}, {counted(found['organisations'], 'organisation')}, "
        f"{found['requests']:,} requests, {found['leaked']:,} valuable answers leaked"
    )
    out.print(
        f"{traffic['requests_share']:.2%} of the last day's requests"
        if traffic["known"]
        else "share of the last day's requests: not known (the admin process has no archive to read)"
    )
    if found["template"]:
        runs = " _ ".join(" ".join(run) for run in found["template"])
        out.print(f"shared template, words as hashes: {runs}", soft_wrap=True, markup=False)
    out.print(f"action: {_act_line(found['act'])}", soft_wrap=True, markup=False)
    evidence = [
        (one["channel"], one["kind"], f"{one['nats']:.1f}", f"{one['share']:.0%}", f"{one['honest']:.2%}", one["text"])
        for one in found["evidence"]
    ]
    out.print("\nevidence")
    plain_table(evidence, ("channel", "kind", "nats", "members", "honest keys", "what"))
    out.print("\ntimeline")
    for turn in found["timeline"]:
        out.print(f"  {when(turn['at'])}  {_turn(turn)}", soft_wrap=True, markup=False)
    members = list(api.rows(f"/v1/campaigns/{part(campaign)}/members", "members", SHOWN))
    out.print("\nmembers")
    _print_members(members)
    if found["keys"] > len(members):
        out.print(f"{found['keys'] - len(members):,} more: stillwatch campaigns members {found['id']}")


@group.command("members")
def list_members(
    campaign: Id,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 1000,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List the keys of a campaign, the surest first: why each belongs, and its share in what is done.

    Example: [bold]stillwatch campaigns members c-0123456789ab --json[/bold]
    """
    found = list(connect(config, sets, url).rows(f"/v1/campaigns/{part(campaign)}/members", "members", limit))
    if as_json:
        print_json(found)
    else:
        _print_members(found)


@group.command("act")
def act_about_campaign(
    campaign: Id,
    action: Annotated[
        ActionName,
        typer.Option("--action", metavar="ACTION", help="observe, throttle, cap, step_up or suspend, as for orders."),
    ],
    ttl: Annotated[
        str, typer.Option("--for", metavar="SPAN", help="How long, such as 30m, 24h or 7d; at most 30d.")
    ] = "24h",
    code: Annotated[str, typer.Option("--code", metavar="CODE", help="Kind of reason, as for orders give.")] = "extraction",
    reason: Annotated[
        str, typer.Option("--reason", help="Why, in one line of at least 10 characters; for audit log and timelines.")
    ] = "",
    mode: Annotated[
        ModeName,
        typer.Option("--mode", metavar="MODE", help="shadow: only show whom it would be about. real: give the orders."),
    ] = ModeName.SHADOW,
    factor: Annotated[float, typer.Option("--factor", help="Share of its budgets that a throttled key keeps.")] = 0.25,
    per_min: Annotated[
        float, typer.Option("--requests-per-min", help="Ceiling for a throttled key whose plan has none.")
    ] = 20.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show whom it would touch, and do nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Act about all members, and about those who join while it stands. Shows first whom it touches, and asks.

    Members on the allow-list or with a contracted use are left out. About more than 100 keys it becomes a proposal.

    Example: [bold]stillwatch campaigns act c-0123456789ab --action throttle --mode real --reason "one operation"[/bold]
    """
    seconds = span_sec(ttl, "--for", ORDERS)
    api = connect(config, sets, url)
    where = f"/v1/campaigns/{part(campaign)}"
    if dry_run or not yes:
        effect = api.call("POST", f"{where}:preview", {"action": action.value})
        if dry_run and as_json:
            print_json(effect)
            return
        lines = [effect["sentence"], *effect_lines(effect)]
        if dry_run:
            for line in lines:
                out.print(line, soft_wrap=True, markup=False)
            return
        tell(lines)
        sure(f"{action.value} about campaign {campaign} for {ttl}, {mode.value}?", yes)
    body = {
        "action": action.value,
        "mode": mode.value,
        "factor": factor,
        "requests_per_min": per_min,
        "ttl_sec": seconds,
        "reason_code": code,
        "reason": reason,
    }
    made = api.call("POST", f"{where}:act", body)
    if as_json:
        print_json(made)
        return
    out.print(f"{counted(made['keys'], 'key')}, {made['left_out']:,} left out: {_act_line(made['act'])}", soft_wrap=True)
    if made["act"]["status"] == "proposed":
        out.print(f"  stillwatch proposals approve {made['act']['bulk']} --reason …", markup=False)
    out.print(f"All of it is undone with: stillwatch campaigns undo {campaign}")


@group.command("undo")
def undo_campaign(
    campaign: Id,
    reason: Annotated[str, typer.Option("--reason", help="Why; for audit log and timelines.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Take back what is done about a campaign, for every key that has a share in it.

    Example: [bold]stillwatch campaigns undo c-0123456789ab --reason "one customer's own keys"[/bold]
    """
    api = connect(config, sets, url)
    sure(f"Undo what is done about campaign {campaign}?", yes)
    done = api.call("DELETE", f"/v1/campaigns/{part(campaign)}:act", query={"reason": reason or None}, wait_sec=120.0)
    if done["act"]["status"] == "ending":
        done["act"] = _until_ended(api, campaign, done["act"])
    if as_json:
        print_json(done)
    else:
        out.print(f"{campaign}: {done['act']['action']} ended for {counted(done['keys'], 'key')}")


def _until_ended(api: Api, campaign: str, act: dict[str, Any]) -> dict[str, Any]:
    """Waits until an action is taken back about every key, and tells how far it is."""
    if act["bulk"]:
        follow(api, act["bulk"])
    while act["status"] == "ending":  # those who joined come last
        time.sleep(POLL_SEC)
        act = api.get(f"/v1/campaigns/{part(campaign)}")["act"]
    return act


@group.command("confirm")
def confirm_member(
    campaign: Id,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key id, or the start of one.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line of at least 10 characters.")],
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Make the action real about a key that joined, before its time in shadow is over.

    Example: [bold]stillwatch campaigns confirm c-0123456789ab 3f9a --reason "the same texts"[/bold]
    """
    _decide(connect(config, sets, url), campaign, key, "confirm", reason)


@group.command("lift")
def lift_member(
    campaign: Id,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key id, or the start of one.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line of at least 10 characters.")],
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Take one key out of the action about its campaign, for as long as that stands.

    Example: [bold]stillwatch campaigns lift c-0123456789ab 3f9a --reason "an integrator of ours"[/bold]
    """
    _decide(connect(config, sets, url), campaign, key, "lift", reason)


def _decide(api: Api, campaign: str, key: str, what: str, reason: str) -> None:
    key_id = whole_key(api, key)
    done = api.call("POST", f"/v1/campaigns/{part(campaign)}/members/{part(key_id)}:{what}", {"reason": reason})
    out.print(f"{key_id}: {_share(done['share'])}", soft_wrap=True)


def _print_members(found: list[dict[str, Any]]) -> None:
    if not found:
        out.print("No key belongs to it.")
        return
    rows = [
        (
            one["key_id"],
            one["org"] if one["org"] != one["key_id"] else "",
            f"{one['strength']:.2f}",
            f"{one['requests']:,}",
            f"{one['leaked']:,}",
            when(one["joined"]),
            _share(one["share"]),
            ", ".join(one["channels"]),
        )
        for one in found
    ]
    plain_table(rows, ("key", "organisation", "strength", "requests", "leaked", "joined", "action", "why"))


def _level(one: dict[str, Any]) -> str:
    if one["merged_into"]:
        return f"merged into {one['merged_into']}"
    return "ended" if one["closed"] else str(one["level"])


def _act_word(act: dict[str, Any] | None) -> str:
    return "" if act is None or act["status"] == "ended" else f"{act['action']} ({act['mode']}, {act['status']})"


def _act_line(act: dict[str, Any] | None) -> str:
    if act is None:
        return "none"
    bulk = f", {act['bulk']}" if act["bulk"] else ""
    by = f" by {act['ended_by']}" if act["ended_by"] else ""
    end = f"ended{by}" if act["status"] == "ended" else f"{act['status']} until {when(act['until'])}"
    return f"{act['action']} in {act['mode']} by {act['by']}, {end}{bulk}: {act['reason']}"


def _share(share: dict[str, Any] | None) -> str:
    if share is None:
        return ""
    later = f", real at {when(share['real_at'])}" if share["real_at"] else ""
    by = f" by {share['by']}" if share["by"] else ""
    return f"{share['state']}{by}{later}"


def _turn(turn: dict[str, Any]) -> str:
    match turn["what"]:
        case "level":
            return f"level {turn['level']}"
        case "merged":
            return f"merged with {turn['other']}, {counted(turn['keys'], 'key')}"
        case "split":
            return f"split, {counted(turn['keys'], 'key')} ({turn['other']})"
        case what:
            return f"{what}, {counted(turn['keys'], 'key')}"
