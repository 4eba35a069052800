"""watermark investigations: search a data set on the machine that holds the secrets, through the admin API."""

from __future__ import annotations

import hashlib
import re
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.acting import MaybeWhy, Why, Yes, print_json, read_bytes, when
from app.cli.api import AdminUrl, Api, connect
from app.cli.common import AsJson, Config, Sets, err, out, plain_table
from app.errors import BadInput
from app.offline.progress import meter

group = typer.Typer(help="Search data sets through the admin API: upload, run, report. No secret is needed here.")

HOME = "/v1/watermark/investigations"
PART_BYTES = 4 << 20
"""One request of an upload; a connection that breaks costs as much."""

POLL_SEC = 1.0
SUM_SEC = 300.0
"""For the last part, whose answer waits for the SHA-256 of all of them."""

MAX_TENANTS_BYTES = 64 << 20


class Form(StrEnum):
    """Of a data set."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    TEXT = "text"


class Texts(StrEnum):
    """How text files become documents."""

    AUTO = "auto"
    BLANK_LINES = "blank-lines"
    FILE = "file"


_FORMS = {
    ".jsonl": Form.JSONL, ".ndjson": Form.JSONL, ".parquet": Form.PARQUET,
    ".txt": Form.TEXT, ".text": Form.TEXT, ".md": Form.TEXT,
}  # fmt: skip


def _id(given: str) -> str:
    if not re.fullmatch("wi-[a-z2-7]{13}", given):
        raise typer.BadParameter("the id of an investigation is wi- and 13 letters and digits")
    return given


Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the investigation, as 'list' shows it.", callback=_id)]
DataSet = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="The data set.")]
Fwer = Annotated[
    float, typer.Option("--fwer", min=1e-12, max=0.05, help="Probability that any innocent tenant is named, at most.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the search is over.")]


@group.command("start")
def start(
    file: DataSet,
    profile: Annotated[str, typer.Option("--profile", "-p", metavar="ID", help="Mark profile that is looked for.")],
    reason: Why,
    name: Annotated[str, typer.Option("--name", help="What it is called in the report. Default: the file's name.")] = "",
    form: Annotated[
        Form | None, typer.Option("--form", metavar="FORM", help="jsonl, parquet or text. Default: by the file's name.")
    ] = None,
    field: Annotated[
        str, typer.Option("--field", help="Field or column with the text or the tokens. Default: text, or else tokens.")
    ] = "",
    texts: Annotated[
        Texts,
        typer.Option("--texts", metavar="HOW", help="A text file is one document (file), or its parts (blank-lines)."),
    ] = Texts.AUTO,
    fwer: Fwer = 1e-3,
    wait: Wait = True,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Announce a data set, upload it, and search it. An upload that breaks off is taken up with 'upload' and 'run'.

    Example: [bold]stillwatch watermark investigations start shard.jsonl -p chat-2026q4 --reason "sold by a reseller"[/bold]
    """
    api = connect(config, sets, url)
    size, digest = _sum(file)
    about = {"name": name or file.name, "profile": profile, "format": form or _form(file), "field": field, "texts": texts}
    made = api.call("POST", HOME, {**about, "bytes": size, "sha256": digest, "reason": reason})
    err.print(f"{made['id']}: {size:,} bytes to upload", soft_wrap=True, markup=False)
    _upload(api, made, file)
    _told(_run(api, made["id"], fwer, wait), as_json)


@group.command("upload")
def upload(
    name: Id,
    file: DataSet,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Go on with an upload that broke off, where it did.

    Example: [bold]stillwatch watermark investigations upload wi-q7m2kd5xw3aha shard.jsonl[/bold]
    """
    api = connect(config, sets, url)
    found = api.get(f"{HOME}/{name}")
    size, digest = _sum(file)
    if (size, digest) != (found["bytes"], found["sha256"]):
        raise BadInput(f"{file}: is not the data set that was announced: its size or its SHA-256 is another")
    _told(_upload(api, found, file), as_json)


@group.command("tenants")
def tenants(
    name: Id,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A tenant a line; - reads standard input.")],
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Name tenants that are asked about beside those that are known, such as keys of last year.

    Example: [bold]stillwatch watermark investigations tenants wi-q7m2kd5xw3aha issued-2025.txt[/bold]
    """
    api = connect(config, sets, url)
    found = api.call("PUT", f"{HOME}/{name}/tenants", content=read_bytes(file, MAX_TENANTS_BYTES), wait_sec=SUM_SEC)
    out.print(f"{name}: {found['tenants']:,} tenants are asked about beside those that are known", soft_wrap=True)


@group.command("run")
def run(
    name: Id,
    fwer: Fwer = 1e-3,
    wait: Wait = True,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Search an uploaded data set, or search its evidence again for tenants that came since.

    Example: [bold]stillwatch watermark investigations run wi-q7m2kd5xw3aha --fwer 1e-6[/bold]
    """
    _told(_run(connect(config, sets, url), name, fwer, wait), as_json)


@group.command("list")
def list_investigations(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List investigations, the newest first.

    Example: [bold]stillwatch watermark investigations list[/bold]
    """
    found = connect(config, sets, url).get(HOME)["investigations"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("There is no investigation.")
        return
    rows = [
        (one["id"], one["name"], one["profile"], f"{one['bytes']:,}", _state(one), one["by"], when(one["made"]))
        for one in found
    ]
    plain_table(rows, ("investigation", "name", "profile", "bytes", "state", "by", "made"))


@group.command("show")
def show(name: Id, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Show how far an investigation is, and whom it named.

    Example: [bold]stillwatch watermark investigations show wi-q7m2kd5xw3aha[/bold]
    """
    _told(connect(config, sets, url).get(f"{HOME}/{name}"), as_json)


@group.command("report")
def report(
    name: Id,
    folder: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder for the report and its pictures.")
    ],
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Save the report: report.md with its pictures, and findings.json with everything it is drawn from.

    Example: [bold]stillwatch watermark investigations report wi-q7m2kd5xw3aha --out report[/bold]
    """
    api = connect(config, sets, url)
    page = b"".join(api.lines(f"{HOME}/{name}/report"))
    pictures = re.findall(rb"\]\(report\.png\?picture=(\w+)\)", page)
    files = {"findings.json": b"".join(api.lines(f"{HOME}/{name}/report?form=json"))}
    for picture in map(bytes.decode, dict.fromkeys(pictures)):
        files[f"{picture}.png"] = b"".join(api.lines(f"{HOME}/{name}/report.png?picture={picture}"))
    files["report.md"] = re.sub(rb"\]\(report\.png\?picture=(\w+)\)", rb"](\1.png)", page)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror or 'cannot be written'}") from None
    out.print(f"{folder / 'report.md'}", soft_wrap=True, markup=False)


@group.command("erase")
def erase(
    name: Id,
    reason: MaybeWhy = "",
    yes: Yes = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Erase an investigation: what was uploaded, its evidence and its report. It cannot be taken back.

    Example: [bold]stillwatch watermark investigations erase wi-q7m2kd5xw3aha --reason "case closed"[/bold]
    """
    api = connect(config, sets, url)
    if not yes:
        typer.confirm(f"Erase the investigation {name}, its evidence and its report, for good?", abort=True, err=True)
    api.call("DELETE", f"{HOME}/{name}", query={"reason": reason or None}, wait_sec=SUM_SEC)
    out.print(f"{name}: erased", soft_wrap=True)


def _sum(file: Path) -> tuple[int, str]:
    """(size in bytes, SHA-256) of a file."""
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
            return opened.tell(), digest.hexdigest()
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or 'cannot be read'}") from None


def _form(file: Path) -> Form:
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    found = _FORMS.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise BadInput(f"{file}: its name does not tell its form; --form says whether it is jsonl, parquet or text")
    return found


def _upload(api: Api, found: dict[str, Any], file: Path) -> dict[str, Any]:
    size = found["bytes"]
    with meter(err) as told, file.open("rb") as opened:
        told.stage("upload", found["received"] / size)
        while found["state"] == "waiting":
            start = found["received"]
            opened.seek(start)
            part = opened.read(PART_BYTES)
            headers = {
                "content-type": "application/octet-stream",
                "content-range": f"bytes {start}-{start + len(part) - 1}/{size}",
            }
            path = f"{HOME}/{found['id']}/corpus"
            found = api.call("PUT", path, content=part, headers=headers, wait_sec=SUM_SEC)
            told.at(found["received"] / size, 0)
    return found


def _run(api: Api, name: str, fwer: float, wait: bool) -> dict[str, Any]:
    found: dict[str, Any] = api.call("POST", f"{HOME}/{name}:run", {"fwer": fwer}, wait_sec=SUM_SEC)
    if not wait:
        return found
    stage = ""
    with meter(err) as told:
        while found["state"] in ("queued", "running"):
            progress = found["progress"] or {"stage": found["state"], "share": 0.0}
            if progress["stage"] != stage:
                stage = progress["stage"]
                told.stage(stage, progress["share"])
            told.at(progress["share"], 0)
            time.sleep(POLL_SEC)
            found = api.get(f"{HOME}/{name}")
    if found["state"] == "failed":
        raise BadInput(f"{name}: {found['error']}")
    return found


def _state(one: dict[str, Any]) -> str:
    if one["state"] == "waiting":
        return f"waiting, {one['received']:,} bytes here"
    progress = one["progress"]
    return f"{progress['stage']}, {progress['share']:.0%}" if progress else str(one["state"])


def _told(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    lines = [f"{found['id']}  {found['name']}: {_state(found)}"]
    if found["error"]:
        lines.append(found["error"])
    findings = found["findings"]
    if findings:
        lines.append(
            f"{findings['documents']:,} documents, {findings['tokens']:,} tokens; {findings['tested']:,} tenants and "
            f"groups tested; the model's mark: p = 10^{findings['model_log10_p']:.1f}"
        )
        named = [key for key in findings["keys"] if key["named"]]
        lines += [_key_line(key) for key in named] or ["nobody is named; that clears nobody"]
        lines += findings["notes"]
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


def _key_line(key: dict[str, Any]) -> str:
    documents = "" if key["documents"] is None else f", in {key['documents']:,} documents"
    share = "" if key["share"] is None else f", {key['share']:.0%} of the marked text"
    return f"named: {key['kind']} {key['name']}, p = 10^{key['log10_p']:.1f}{documents}{share}"
