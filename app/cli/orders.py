"""orders: act about keys, see first whom it touches, look at what stands, and undo it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.acting import ORDERS, Yes, counted, print_json, read_bytes, span_sec, sure, tell, when
from app.cli.api import AdminUrl, Api, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.cli.order_words import effect_lines, follow, print_fields
from app.cli.whole import whole_key

group = typer.Typer(help="Act about keys: preview, give, list and undo orders.")

MAX_FILE_BYTES = 1024 * 1024


class ActionName(StrEnum):
    """What to do, as people type it."""

    OBSERVE = "observe"
    THROTTLE = "throttle"
    CAP = "cap"
    STEP_UP = "step_up"
    SUSPEND = "suspend"


class LevelName(StrEnum):
    """A level above clear."""

    WATCH = "watch"
    SUSPECT = "suspect"
    CONFIRMED = "confirmed"


Action = Annotated[
    ActionName,
    typer.Argument(
        metavar="ACTION",
        help="observe: nothing is done, whatever the policy asks for. throttle: smaller budgets. cap: also fewer features. "
        "step_up: refused until the customer is verified. suspend: refused.",
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", "-k", metavar="ID", help="Key id, or the start of one that only one key has; may be repeated."),
]
KeysFile = Annotated[
    Path | None, typer.Option("--keys-file", metavar="FILE", help="Key ids, one a line; - for standard input.")
]
Org = Annotated[str | None, typer.Option("--org", metavar="ORG", help="Every key of this organisation's accounts.")]
AtLeast = Annotated[
    LevelName | None,
    typer.Option("--at-least", metavar="LEVEL", help="Every key at this level (watch, suspect, confirmed) or above."),
]
MinScore = Annotated[float, typer.Option("--min-score", min=0, max=1, help="With --at-least: and with this score or more.")]
Prefix = Annotated[str | None, typer.Option("--prefix", metavar="ID", help="With --at-least: and whose id starts so.")]
Ref = Annotated[str, typer.Argument(metavar="REF", help="Reference of an order, or id of a bulk order.")]
MaybeRef = Annotated[str | None, typer.Argument(metavar="[REF]", help="Reference of an order, or id of a bulk order.")]


@group.command("list")
def list_orders(
    action: Annotated[ActionName | None, typer.Option("--action", metavar="ACTION", help="Only this action.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only of this person.")] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", metavar="ID", help="Only about this key.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50_000, help="About so many.")] = 200,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List the orders that stand: about whom, what, until when, by whom and why.

    Example: [bold]stillwatch orders list --action suspend[/bold]
    """
    api = connect(config, sets, url)
    key = None if key is None else whole_key(api, key)
    found = list(api.rows("/v1/orders", "orders", limit, action=action and action.value, by=by, key_id=key))
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("No order stands." if not (action or by or key) else "No order that stands fits.")
        return
    rows = [(one["key_id"], one["action"], when(one["until"]), one["by"], one["ref"], one["reason"]) for one in found]
    plain_table(rows, ("key", "action", "until", "by", "reference", "reason"))


@group.command("show")
def show_order(ref: Ref, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Show one order by its reference, also one that ended within the last week.

    Example: [bold]stillwatch orders show sw-b3x7qk2m5aduc[/bold]
    """
    found = connect(config, sets, url).get(f"/v1/orders/{part(ref)}")
    if as_json:
        print_json(found)
        return
    ended = "has ended, overturned on appeal" if found["overturned"] else "has ended"
    out.print(f"[bold]{found['ref']}[/bold]  {'stands' if found['standing'] else ended}")
    print_fields(
        found,
        ("key_id", "action", "factor", "requests_per_min", "level", "reason_code", "reason", "by", "bulk", "replaces"),
    )
    out.print(f"  {'since':<16} {when(found['since'])}\n  {'until':<16} {when(found['until'])}")


@group.command("preview")
def preview_order(
    action: Action,
    keys: Keys = None,
    keys_file: KeysFile = None,
    org: Org = None,
    at_least: AtLeast = None,
    min_score: MinScore = 0.0,
    prefix: Prefix = None,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Show whom an order would touch: keys, customers, traffic, what is done already. Nothing is done.

    Example: [bold]stillwatch orders preview throttle --at-least suspect[/bold]
    """
    api = connect(config, sets, url)
    found = _preview(api, _subjects(api, keys, keys_file, org, at_least, min_score, prefix), action)
    if as_json:
        print_json(found)
        return
    for line in effect_lines(found):
        out.print(line, soft_wrap=True, markup=False)


@group.command("give")
def give_order(
    action: Action,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, in one line of at least 10 characters; for audit log and timeline.")
    ],
    code: Annotated[
        str,
        typer.Option(
            "--code",
            metavar="CODE",
            help="Kind of reason: extraction, leaked_key, fraud, terms, investigation, load, agreement, false_alarm, "
            "appeal, legal or other.",
        ),
    ],
    ttl: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long, such as 30m, 24h or 7d; at most 30d.")],
    keys: Keys = None,
    keys_file: KeysFile = None,
    org: Org = None,
    at_least: AtLeast = None,
    min_score: MinScore = 0.0,
    prefix: Prefix = None,
    factor: Annotated[float, typer.Option("--factor", help="Share of its budgets that a throttled key keeps.")] = 0.25,
    per_min: Annotated[
        float, typer.Option("--requests-per-min", help="Ceiling for a throttled key whose plan has none.")
    ] = 20.0,
    name: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="NAME", help="Name of this order, so that a repeat does nothing."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Act about keys, each from its next request on. Shows first whom it touches, and asks.

    About more than 100 keys it becomes a proposal, which another person has to approve.

    Example: [bold]stillwatch orders give suspend -k 3f9a… --for 24h --code leaked_key --reason "found in public"[/bold]
    """
    seconds = span_sec(ttl, "--for", ORDERS)
    api = connect(config, sets, url)
    subjects = _subjects(api, keys, keys_file, org, at_least, min_score, prefix)
    body = {
        "subjects": subjects,
        "action": action.value,
        "factor": factor,
        "requests_per_min": per_min,
        "ttl_sec": seconds,
        "reason_code": code,
        "reason": reason,
    }
    if not yes:
        tell(effect_lines(_preview(api, subjects, action)))
        sure(f"{action.value} for {ttl}?", yes)
    made = api.call("POST", "/v1/orders", body, headers={"idempotency-key": name} if name else None)
    if as_json:
        print_json(made)
    elif "orders" not in made:
        out.print(
            f"Proposed as {made['id']}: {counted(made['keys'], 'key')} wait for another person until "
            f"{when(made['expires'])}."
        )
        out.print(f"  stillwatch proposals approve {made['id']} --reason …", markup=False)
    else:
        for one in made["orders"]:
            out.print(f"{one['key_id']}: {one['action']} until {when(one['until'])}, {one['ref']}", soft_wrap=True)
        if made["bulk"]:
            out.print(f"All of it is undone with: stillwatch orders undo {made['bulk']}")


@group.command("undo")
def undo_order(
    ref: MaybeRef = None,
    all_: Annotated[
        bool, typer.Option("--all", help="With --key: end the key's order and all that it replaced, none of which returns.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--key", "-k", metavar="ID", help="With --all: the key, or the start of its id.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; for audit log and timeline.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Undo an order: what stood before is done again from the next request on. Says first what that is, and asks.

    Example: [bold]stillwatch orders undo sw-b3x7qk2m5aduc --reason "wrong key"[/bold]
    """
    if (ref is None) == (key is None) or all_ != (key is not None):
        raise typer.BadParameter("give a reference, or --all with --key")
    api = connect(config, sets, url)
    if key is not None:
        _end_all(api, whole_key(api, key), reason, yes, as_json)
        return
    assert ref is not None
    if not yes:
        if not ref.startswith("bulk-"):
            tell([_what_then(api.get(f"/v1/orders/{part(ref)}"))])
        sure(f"Undo {ref}?", yes)
    done = api.call("DELETE", f"/v1/orders/{part(ref)}", query={"reason": reason or None}, wait_sec=120.0)
    if done["status"] == "undoing":
        follow(api, ref)
        done["status"] = "undone"
    if as_json:
        print_json(done)
        return
    again = f"; {done['reinstated']} stands again" if done["reinstated"] else ""
    out.print(f"{ref}: {done['status']}, {counted(done['keys'], 'key')}{again}", soft_wrap=True)


def _what_then(found: dict[str, Any]) -> str:
    """What is done about the key when the order is undone."""
    if not found["standing"]:
        return f"{found['ref']} does not stand any more."
    then = found["reinstates"]
    stands = (
        f"{then['action']} by {then['by']} until {when(then['until'])} stands again ({then['ref']})"
        if then
        else "what policy asks for is done again"
    )
    return f"{found['action']} of key {found['key_id']} by {found['by']}: when it is undone, {stands}."


def _end_all(api: Api, key_id: str, reason: str, yes: bool, as_json: bool) -> None:
    """End the stack of orders about a key."""
    sure(f"End all orders about {key_id}? What policy asks for is done again.", yes)
    done = api.call("DELETE", "/v1/orders", query={"key_id": key_id, "reason": reason or None})
    if as_json:
        print_json(done)
        return
    out.print(f"{key_id}: ended {', '.join(done['ended'])}; what policy asks for is done again", soft_wrap=True)


def _subjects(
    api: Api,
    keys: list[str] | None,
    keys_file: Path | None,
    org: str | None,
    at_least: LevelName | None,
    min_score: float,
    prefix: str | None,
) -> dict[str, Any]:
    """Which keys, as the API is asked; it checks them."""
    named = [whole_key(api, key) for key in keys or ()]
    if keys_file is not None:
        named += [line.strip() for line in read_bytes(keys_file, MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()]
    named = [name for name in named if name]
    if sum((bool(named), org is not None, at_least is not None)) != 1:
        raise typer.BadParameter("give exactly one of --key (or --keys-file), --org and --at-least")
    if named:
        return {"keys": named}
    if org is not None:
        return {"org_id": org}
    assert at_least is not None
    return {"match": {"at_least": at_least.value, "min_score": min_score, "prefix": prefix}}


def _preview(api: Api, subjects: dict[str, Any], action: ActionName) -> dict[str, Any]:
    found: dict[str, Any] = api.call("POST", "/v1/orders:preview", {"subjects": subjects, "action": action.value})
    return found
