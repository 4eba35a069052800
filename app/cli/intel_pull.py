"""intel pull: a document from a file or an address goes in, through the admin API."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from app.cli.acting import print_json
from app.cli.api import AdminUrl, Api, connect, part
from app.cli.common import AsJson, Config, Sets, err, out
from app.cli.intel_verify import Key, Source
from app.errors import BadInput, StateUnavailable
from app.offline.progress import meter

ANSWER_SEC = 120.0
_PAUSE_SEC = 1.0
_STILL_SEC = 120.0
"""How long the sender's queue may stay full before the command gives up."""


def pull(
    file: Source,
    group: Annotated[str, typer.Option("--group", "-g", metavar="NAME", help="Trust group that it was shared in.")],
    member: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="MEMBER",
            help="Member whose registered key has signed it, and whose report it counts as. Default: it counts as yours.",
        ),
    ] = "",
    key: Key = "",
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Take a bundle, an envelope or a signed feed in. TLP:RED is left out; the same document again changes nothing.

    Example: [bold]stillwatch intel pull https://feeds.acme.example/labs.json --group labs --as acme[/bold]
    """
    from app.cli.intel_documents import fetched, opened

    found = opened(fetched(file), key)
    if member and found.signed is None:
        raise BadInput("signature: the document bears none, so it counts as nobody's report but yours: leave --as out")
    api = connect(config, sets, url)
    path = f"/v1/intel/groups/{part(group)}/imports"
    done = _sent(api, path, member, found.raw, len(found.document))
    if as_json:
        print_json(done)
        return
    if done["known"]:
        out.print(f"taken before, as {done['member']}: nothing to do", soft_wrap=True, markup=False)
        return
    left = [f"{done[name]:,} {what}" for name, what in (("red", "marked TLP:RED"), ("dropped", "unfit")) if done[name]]
    more = f"; left out: {', '.join(left)}" if left else ""
    out.print(f"{done['queued']:,} objects taken as {done['member']}{more}", soft_wrap=True, markup=False)


def _sent(api: Api, path: str, member: str, raw: bytes, total: int) -> dict[str, Any]:
    """Sends the document, again and again from where there was no more place, until all of it is in the queue."""
    done = {"queued": 0, "red": 0, "dropped": 0}
    first, moved = 0, time.monotonic()
    with meter(err if total > 5_000 else None, "objects") as shown:
        shown.stage("pull")
        while True:
            query = {"member": member or None, "first": first or None}
            headers = {"content-type": "application/json"}
            answer = api.call("POST", path, query=query, content=raw, headers=headers, wait_sec=ANSWER_SEC)
            for name in done:
                done[name] += answer[name]
            shown.at(answer["next"] / max(1, answer["objects"]), answer["next"])
            if answer["next"] >= answer["objects"]:
                return {**answer, **done}
            if answer["next"] > first:
                first, moved = answer["next"], time.monotonic()
            elif time.monotonic() - moved > _STILL_SEC:
                raise StateUnavailable(
                    f"{first:,} of {answer['objects']:,} objects are taken, and the queue stays full: send it again later"
                )
            else:
                time.sleep(_PAUSE_SEC)
