"""watermark served, watermark student: contexts that were served to whom, and whether a suspect model learned from them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.acting import counted, print_json
from app.cli.common import AsJson, Config, Sets, err, out, plain_table
from app.cli.inputs import Quiet
from app.cli.watermark import ProfileId, Profiles, Secrets, TokenizerFile, marks_of


class Mode(StrEnum):
    """How a student is asked."""

    CLOSED = "closed"
    READING = "reading"


def served(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            exists=True,
            help="Own answers: JSON Lines, plain or gzip, or Parquet, with tenant and answer; a file or a folder of them.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Folder of contexts; it is made, or added to."),
    ],
    profile: ProfileId = "",
    tokenizer: TokenizerFile = None,
    profiles: Profiles = None,
    secrets: Secrets = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Keep which contexts each tenant was served, as keyed hashes: the answers themselves need not be kept.

    A day's log after the other adds up. An answer is a text or a list of tokens, without its prompt.

    Example: [bold]stillwatch watermark served answers.jsonl.gz --tokenizer tokenizer.json --out served[/bold]
    """
    from app.offline.progress import meter
    from app.watermark.served_log import build

    marks = marks_of(config, sets, profile, profiles, secrets)
    with meter(None if quiet else err, "answers") as progress:
        made = build(log, target, marks.profile, marks.secret, tokenizer, meter=progress).manifest
    if as_json:
        print_json({"folder": str(target), "answers": made.answers, "tenants": len(made.keys)})
        return
    out.print(f"{counted(made.answers, 'answer')} to {counted(len(made.keys), 'tenant')} so far.", soft_wrap=True)
    out.print(f"  {target}", soft_wrap=True, markup=False)


def student(
    said: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="JSON Lines of the student. closed: answer and, where known, prompt; reading: text, and predicted: the "
            "token it holds likeliest at each place of the text.",
        ),
    ],
    tenants: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Keys that are asked, a tenant a line."),
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", "-t", metavar="TENANT", help="A key that is asked; may be repeated.")
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="Tenants with a group's mark: a tenant, a comma, its group."
        ),
    ] = None,
    served_folder: Annotated[
        Path | None,
        typer.Option(
            "--served",
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Folder of 'watermark served': only contexts that were served count, each key's own for each key. Finds "
            "several times weaker traces.",
        ),
    ] = None,
    mode: Annotated[Mode, typer.Option("--mode", help="closed: its answers; reading: its predictions.")] = Mode.CLOSED,
    fwer: Annotated[
        float, typer.Option("--fwer", min=1e-12, max=0.5, help="Probability that any innocent is named, at most.")
    ] = 1e-3,
    profile: ProfileId = "",
    tokenizer: TokenizerFile = None,
    profiles: Profiles = None,
    secrets: Secrets = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Say whether a suspect model was trained on our answers, and on those to which keys.

    Ask few keys: each one more makes the evidence against the others a little weaker.

    Example: [bold]stillwatch watermark student said.jsonl --tenants suspects.txt --served served[/bold]
    """
    import msgspec

    from app.errors import BadInput
    from app.offline.progress import meter
    from app.watermark.chances import power
    from app.watermark.roll import Roll, read_roll, roll
    from app.watermark.served_log import load
    from app.watermark.student import examine, sentences

    asked: Roll
    if tenants is not None:
        asked = read_roll(tenants, groups)
        asked = roll([*asked.tenants, *(tenant or ())], asked.groups)
    elif groups is not None:
        raise BadInput("--groups needs --tenants, which says who is asked")
    else:
        asked = roll(tenant or ())
    marks = marks_of(config, sets, profile, profiles, secrets)
    folder = load(served_folder, marks.profile, marks.secret) if served_folder is not None else None
    with meter(None if quiet else err, "lines") as progress:
        found = examine(said, mode.value, marks.profile, marks.secret, asked, tokenizer, folder, fwer, progress)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    out.print(sentences(found), soft_wrap=True, markup=False)
    out.print(
        f"  {found.windows:,} places; left out: {found.copied:,} copied, {found.unserved:,} never served, "
        f"{found.repeated:,} repeated; the model's channel: {found.model.counted:,} n-grams, z = {found.model.z:.1f}",
        soft_wrap=True,
    )
    rows = [
        (key.name, "named" if key.named else "", power(key.log10_p), f"{key.fits.z:.1f}", f"{key.fits.counted:,}",
         power(key.log10_knows))
        for key in found.keys
    ]  # fmt: skip
    plain_table(rows, ("key", "", "p", "z", "n-grams", "p of knowing it"))
