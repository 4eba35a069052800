"""labels: what people have found out about keys, for fitting and judging models, through the admin API."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.acting import Why, print_json, when
from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, err, out, plain_table

group = typer.Typer(help="Add, list and export labels: keys whose use was found benign or abusive.")


class FindingName(StrEnum):
    """What was found."""

    BENIGN = "benign"
    ABUSIVE = "abusive"


@group.command("add")
def add_label(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Key id, all 32 digits.")],
    label: Annotated[FindingName, typer.Argument(metavar="LABEL", help="benign or abusive.")],
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Beginning of the time it is about; ISO 8601.")],
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="End of that time; ISO 8601.")],
    reason: Why,
    weight: Annotated[float, typer.Option("--weight", help="How sure that is, above 0 and up to 1.")] = 1.0,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Say what was found out about a key. It changes nothing about the key.

    Example: [bold]stillwatch labels add $KEY abusive --since 2026-09-01T00:00 --until 2026-09-21T00:00 --reason "…"[/bold]
    """
    body = {"key_id": key_id, "label": label.value, "weight": weight, "since": since, "until": until, "reason": reason}
    made = connect(config, sets, url).call("POST", "/v1/labels", body)
    if as_json:
        print_json(made)
        return
    out.print(f"{made['key_id']}: {made['label']}", soft_wrap=True, markup=False)


@group.command("list")
def list_labels(
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="Only about this key.")] = None,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List labels, by key and then by time.

    Example: [bold]stillwatch labels list[/bold]
    """
    found = list(connect(config, sets, url).rows("/v1/labels", "labels", page=1000, key_id=key))
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("There are no such labels.")
        return
    rows = [(one["key_id"], one["label"], one["source"], f"{one['weight']:g}", one["by"], when(one["at"])) for one in found]
    plain_table(rows, ("key", "label", "source", "weight", "by", "given"))


@group.command("export")
def export_labels(url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Print all labels as JSON lines, for 'stillwatch replay --labels'.

    Example: [bold]stillwatch labels export > labels.jsonl[/bold]
    """
    count = 0
    for one in connect(config, sets, url).rows("/v1/labels", "labels", page=1000):
        print(json.dumps(one, sort_keys=True))
        count += 1
    err.print(f"{count:,} labels", soft_wrap=True)
