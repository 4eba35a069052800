"""intel indicators, reporters, agree, disagree: what others have reported, whom to believe, and what we say back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.acting import Why, Yes, counted, print_json, sure, when
from app.cli.api import AdminUrl, Api, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.errors import BadInput

_HEADS = ("group", "id", "kind", "reporter", "score", "voices", "for", "against", "until", "now", "we")

Group = Annotated[str, typer.Argument(metavar="GROUP", help="Trust group that it was shared in.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="STIX id, as 'stillwatch intel indicators' shows it.")]


def indicators(
    indicator: Annotated[str, typer.Argument(metavar="[ID]", help="Show this one, with who says what about it.")] = "",
    of_group: Annotated[str, typer.Option("--group", help="Of this trust group.")] = "",
    reporter: Annotated[str, typer.Option("--reporter", help="Sent by this member.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Of this kind: template, contract, settings, asn, …")] = "",
    state: Annotated[
        str,
        typer.Option("--now", help="What becomes of them: looked for, taken back, set aside, ended, warned, common here."),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most to list.")] = 100,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List received indicators, or show one: who stands behind it, who says that it is wrong, and how many keys show it.

    Example: [bold]stillwatch intel indicators --now "looked for"[/bold]
    """
    api = connect(config, sets, url)
    if indicator:
        _show(api, indicator, of_group, as_json)
        return
    asked = {"group": of_group, "reporter": reporter, "kind": kind, "now": state}
    query: dict[str, Any] = {name: value or None for name, value in asked.items()}
    found = list(api.rows("/v1/intel/indicators", "indicators", limit + 1, **query))
    found, more = found[:limit], len(found) > limit
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("Nothing of this has been reported.")
        return
    plain_table([_row(one) for one in found], _HEADS)
    if more:
        out.print("There are more; --limit shows them.")


def reporters(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List who has reported anything: how often it was right here, and how far it is believed.

    Example: [bold]stillwatch intel reporters[/bold]
    """
    found = connect(config, sets, url).get("/v1/intel/reporters")["reporters"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("Nobody has reported anything yet.")
        return
    rows = [
        (
            *(one["group"], one["member"], one["organisation"], when(one["since"])),
            *(f"{one['confirmed']:,}", f"{one['disputed']:,}", f"{one['trust']:.2f}"),
            *("yes" if one["independent"] else "not yet", f"{one['held']:,}"),
        )
        for one in found
    ]
    plain_table(
        rows, ("group", "member", "organisation", "since", "right", "wrong", "trust", "counts as one of two", "held")
    )


def agree(
    of_group: Group,
    indicator: Id,
    reason: Why,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Say that an indicator is right: it counts for its reporter, and the group is told that we agree, not why.

    Example: [bold]stillwatch intel agree a indicator--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10 --reason "seen here too"[/bold]
    """
    sure(f"Agree with {indicator}, and tell {of_group}?", yes)
    _say(connect(config, sets, url), of_group, indicator, "agree", reason, as_json)


def disagree(
    of_group: Group,
    indicator: Id,
    reason: Why,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Say that an indicator is wrong: nothing is looked for by it here, it counts against its reporters, the group is told.

    Example: [bold]stillwatch intel disagree a indicator--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10 --reason "honest app"[/bold]
    """
    sure(f"Set {indicator} aside, and tell {of_group} that we disagree?", yes)
    _say(connect(config, sets, url), of_group, indicator, "disagree", reason, as_json)


def _say(api: Api, of_group: str, indicator: str, word: str, reason: str, as_json: bool) -> None:
    path = f"/v1/intel/indicators/{part(of_group)}/{part(indicator)}:{word}"
    made = api.call("POST", path, {"reason": reason})
    if as_json:
        print_json(made)
        return
    right = [f"{name} was right" for name in made["confirmed"]] + [f"{name} was wrong" for name in made["disputed"]]
    out.print(f"We {word}: {'; '.join(right) or 'it counts for nobody'}.", markup=False, soft_wrap=True)
    if made["shared"]:
        peers = f", and waits to be sent to {', '.join(made['peers'])}" if made["peers"] else ""
        out.print(f"It is told to the group {of_group}{peers}.", markup=False, soft_wrap=True)
    if made["note"]:
        out.print(f"{made['note'][:1].upper()}{made['note'][1:]}.", markup=False, soft_wrap=True)


def _show(api: Api, indicator: str, of_group: str, as_json: bool) -> None:
    groups = [of_group] if of_group else sorted({one["group"] for one in api.get("/v1/intel/reporters")["reporters"]})
    found = []
    for name in groups:
        try:
            found.append(api.get(f"/v1/intel/indicators/{part(name)}/{part(indicator)}"))
        except BadInput:
            if of_group:
                raise
    if not found:
        raise BadInput("no such indicator is held")
    if as_json:
        print_json(found)
        return
    for one in found:
        plain_table([_row(one)], _HEADS)
        shown = counted(one["keys"], "key")
        facts = [
            f"TLP:{one['tlp'].upper()}, {counted(one['tokens'], 'token')}, confidence {one['confidence']}, shown by {shown}"
        ]
        facts += [f"campaign {one['campaign']}"] if one["campaign"] else []
        facts += [f"names {', '.join(one['values'])}"] if one["values"] else []
        if one["listed"]:
            facts.append(f"not looked for: on the warning list: {', '.join(one['listed'])}")
        if said := one["said"]:
            facts.append(f"we {said['word']} since {when(said['at'])} (token {said['by']})")
        for line in facts:
            out.print(line, markup=False, soft_wrap=True)
        rows = [
            (
                *(word["member"], word["organisation"], "agrees" if word["agrees"] else "disagrees"),
                *(f"{word['trust']:.2f}", f"{word['confidence']}", f"{word['weight']:.1f}", when(word["at"])),
            )
            for word in one["words"]
        ]
        plain_table(rows, ("member", "organisation", "says", "trust", "confidence", "adds", "at"))


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        *(one["group"], one["id"], one["kind"], one["reporter"], f"{one['score']:.1f}", str(one["voices"])),
        *(str(one["agree"]), str(one["disagree"]), when(one["valid_until"])[:10], one["now"], one["ours"] or ""),
    )
