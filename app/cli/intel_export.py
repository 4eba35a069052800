"""intel export: a bundle in the formats of others."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.acting import tell
from app.cli.api import AdminUrl, connect, part
from app.cli.common import Config, Sets, settle
from app.errors import BadInput, ConfigError

_DAY_SEC = 86_400
_SENT = ("published", "replaced")


class Form(StrEnum):
    """What is written."""

    STIX = "stix"
    FEED = "feed"
    MISP = "misp"
    CSV = "csv"


def export(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A bundle or signed feed: a file, an https:// address, - for input.")
    ] = "",
    form: Annotated[
        Form, typer.Option("--format", "-f", metavar="FORM", help="stix, feed (signed), misp (an event) or csv.")
    ] = Form.STIX,
    publication: Annotated[
        str, typer.Option("--publication", metavar="ID", help="What was published under this id, from the admin API.")
    ] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="For how long others may take a signed feed.")] = 30,
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, metavar="FILE", help="Write there. Default: standard output."),
    ] = None,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Write a bundle as it is, as a signed feed (intel.signing_key_file), as an event of MISP or as CSV.

    TLP:RED is never written, and nothing that does not hold.

    Example: [bold]stillwatch intel export --publication pub-0f1e2d3c4b5a --format feed --out feed.json[/bold]
    """
    from app.cli.intel_documents import fetched, opened
    from app.intel import content

    if bool(file) == bool(publication):
        raise ConfigError("FILE or --publication must be given, one of the two")
    raw = _published(publication, url, config, sets) if publication else fetched(file)
    found, now_us = opened(raw, "").document, time.time_ns() // 1000
    told = content.content(found, now_us)
    content.may_leave(told)
    if form is Form.STIX:
        data = found.data
    elif form is Form.FEED:
        data = _signed(found.data, now_us, days, config, sets)
    elif form is Form.MISP:
        from app.intel import export_misp

        data = export_misp.exported(told, now_us).encode() + b"\n"
    else:
        from app.intel import export_csv

        data = export_csv.exported(told).encode()
    if told.others and form in (Form.MISP, Form.CSV):
        tell([f"{told.others:,} indicators are of a sort that this release does not know, and are left out"])
    _write(data, target)


def _published(name: str, url: str, config: Path | None, sets: list[str] | None) -> bytes:
    """The exact bytes of a publication: those that left, or those that took them back."""
    found = connect(config, sets, url).get(f"/v1/intel/publications/{part(name)}")
    if found["revocation"]:
        return str(found["revocation"]).encode()
    if found["status"] not in _SENT:
        raise BadInput("publication: a second person has not approved it, and nothing of it leaves before")
    return str(found["bundle"]).encode()


def _signed(data: bytes, now_us: int, days: int, config: Path | None, sets: list[str] | None) -> bytes:
    from app.intel import documents, signing

    settings = settle(config, sets)
    if settings.intel.signing_key_file is None:
        raise ConfigError("intel.signing_key_file must be set to sign a feed; 'stillwatch intel keygen' makes a key")
    feed = signing.signed(data, signing.read_private(settings.intel.signing_key_file), now_us, days * _DAY_SEC)
    if len(feed) > documents.MAX_BYTES:
        raise BadInput(f"feed: would have {len(feed):,} bytes, and nobody takes more than {documents.MAX_BYTES:,}")
    return feed


def _write(data: bytes, target: Path | None) -> None:
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)  # a reader of the file, such as a web server, never sees half of it
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadInput(f"--out: {error.strerror or 'cannot be written'}") from None
