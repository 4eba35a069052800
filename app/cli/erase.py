"""erase: what is known of a key, through the admin API; and held: what that is, and until when."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, err, out, plain_table
from app.errors import StillwatchError

POLL_SEC = 1.0
WAIT_SEC = 120.0
"""Longest wait for the workers; a large archive takes longer, and --no-wait or a second look tells how far it is."""


def erase(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The whole key id, 32 hex digits; see 'stillwatch id'.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log. At least 10 characters.")] = "",
    account: Annotated[bool, typer.Option("--account", help="Delete the key's account as well.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the workers are done.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only tell how far an erasure is.")] = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Erase everything that is known of what a key did until now. It cannot be taken back.

    Example: [bold]stillwatch erase 5f0c… --reason "request of the data subject, ticket 481"[/bold]
    """
    api = connect(config, sets, url)
    path = f"/v1/keys/{part(key_id)}:erase"
    if status:
        found = api.get(path)
    else:
        if not yes:
            typer.confirm(f"Erase what key {key_id} did, in state and archive, for good?", abort=True, err=True)
        found = api.call("POST", path, {"reason": reason, "account": account})
        if wait:
            found = _follow(api, path, found)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    out.print(_sentence(found))


def held(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The whole key id, 32 hex digits; see 'stillwatch id'.")],
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Tell what is held about a key, by kind, and until when. Never what is in it.

    Example: [bold]stillwatch held 5f0c…[/bold]
    """
    found = connect(config, sets, url).get(f"/v1/keys/{part(key_id)}/held")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [
        (
            one["what"],
            "" if one["partition"] is None else str(one["partition"]),
            one["until"][:16].replace("T", " ") if one["until"] else "it is deleted",
        )
        for one in found["records"]
    ]
    plain_table(rows, ("record", "partition", "kept until (UTC)"))
    kept = f"{found['archive_days']} days" if found["archive_days"] else "for ever"
    err.print(
        f"Exchanges stay in the archive {kept}; what people did about the key in the audit log {found['audit_days']} days."
    )


def _follow(api: Any, path: str, found: Any) -> Any:
    until = time.monotonic() + WAIT_SEC
    told = -1
    while not found["complete"]:
        if time.monotonic() > until:
            raise StillwatchError(f"{_sentence(found)} The workers go on; look again with --status. Do all of them run?")
        if found["partitions_done"] != told:
            told = found["partitions_done"]
            err.print(f"  {told} of {found['partitions']} partitions done")
        time.sleep(POLL_SEC)
        found = api.get(path)
    return found


def _sentence(found: Any) -> str:
    how_far = "complete" if found["complete"] else f"{found['partitions_done']} of {found['partitions']} partitions done"
    return f"Erasure of {found['key_id']}: {how_far}; {found['records']:,} records and {found['rows']:,} exchanges deleted."
