"""watermark: marks in answers, and whose answers a suspect data set is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from app.cli.acting import counted, print_json, read_bytes
from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, err, out, settle
from app.cli.inputs import Quiet
from app.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from app.watermark.corpus import Reading
    from app.watermark.findings import Findings
    from app.watermark.store import Stored
    from detectors.watermark.keys import MasterSecret
    from detectors.watermark.registry import MarkProfile

group = typer.Typer(help="Marks in answers: make one, search a data set for all of them, test a text or a student.")

MOST_TEXT_BYTES = 1 << 26
GATHER_SEC = 150.0
"""Longest wait for everybody's names: longer than the admin process takes at most."""


class Form(StrEnum):
    """Of a corpus."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    TEXT = "text"


class Texts(StrEnum):
    """How text files become documents."""

    AUTO = "auto"
    BLANK_LINES = "blank-lines"
    FILE = "file"


class Engine(StrEnum):
    """What reads a mark."""

    VLLM = "vllm"
    SGLANG = "sglang"
    SGLANG_NATIVE = "sglang-native"


ProfileId = Annotated[
    str,
    typer.Option("--profile", "-p", metavar="ID", help="Mark profile that is looked for. Default: the only one there is."),
]
Profiles = Annotated[
    Path | None,
    typer.Option(dir_okay=False, metavar="FILE", help="All mark profiles, in place of watermark.profiles_file."),
]
Secrets = Annotated[
    Path | None,
    typer.Option(dir_okay=False, metavar="FILE", help="Master secrets by epoch, in place of watermark.secrets_file."),
]
TokenizerFile = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        dir_okay=False,
        metavar="FILE",
        help="tokenizer.json of the model that made the marks; its SHA-256 must be the profile's. Not needed for lists of "
        "tokens, nor where the profile counts words.",
    ),
]
Field = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Field of JSON Lines or column of Parquet with the text or the list of tokens. Default: text, or else tokens.",
    ),
]
CorpusForm = Annotated[
    Form | None, typer.Option("--form", help="What the corpus is, where its name does not tell: jsonl, parquet or text.")
]
TextFiles = Annotated[
    Texts,
    typer.Option(
        "--texts",
        help="file: a text file is one document; blank-lines: what stands between blank lines is; auto: a file in a folder "
        "is one document, a file by itself is divided.",
    ),
]
LimitKib = Annotated[
    int, typer.Option("--limit-kib", min=1, max=1 << 20, help="KiB read of one document; how many were cut is reported.")
]
FilterMib = Annotated[
    int | None,
    typer.Option(
        "--filter-mib",
        min=1,
        max=1 << 16,
        help="MiB of memory for the filter of repeated n-grams, a power of two. Default: by the corpus, at most 256; more "
        "from some 100 million tokens on.",
    ),
]
Group = Annotated[
    str, typer.Option("--group", metavar="NAME", help="Group the tenant belongs to, whose mark it shares. Default: none.")
]


class Marks(NamedTuple):
    """What marks are looked for with: a profile, and its epoch's secret."""

    profile: MarkProfile
    secret: MasterSecret


@group.command("tag")
def tag(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Key id or organisation that the mark is of.")],
    profile: ProfileId = "",
    group_name: Group = "",
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine",
            help="Whose request fields: vllm; sglang with our processor; sglang-native: its own marks, which no "
            "codeword is found by.",
        ),
    ] = Engine.VLLM,
    profiles: Profiles = None,
    secrets: Secrets = None,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Print the request fields by which an engine marks answers to a tenant: for operators, who send requests themselves.

    Whoever holds a tenant's codeword can have text marked as its; it belongs into no log and no ticket.

    Example: [bold]stillwatch watermark tag 1e1c62b667e743a8fcef373929cf7839 --profile chat-h4[/bold]
    """
    from app.gateway.marking import sglang_key
    from app.watermark.engines.request import MarkRequest
    from detectors.watermark.keys import issued

    marks = marks_of(config, sets, profile, profiles, secrets)
    found = marks.profile
    if found.scheme == "choice":
        raise ConfigError(f"--profile {found.id}: the gateway itself chooses among answers; no engine is told anything")
    if engine is Engine.SGLANG_NATIVE:
        key = sglang_key(marks.secret, tenant)
        fields: dict[str, Any] = {"watermark": {"enabled": True, "key": key, "context_window": found.context_width}}
    else:
        request = MarkRequest.of(found, issued(marks.secret, tenant, found.positions, found.symbols, group_name))
        fields = dict(request.for_vllm() if engine is Engine.VLLM else request.for_sglang())
    if as_json:
        print_json({"tenant": tenant, "group": group_name, "profile": found.id, "engine": engine.value, "fields": fields})
    else:
        print(json.dumps(fields))


@group.command("scan")
def scan(
    corpus: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS", exists=True, help="JSON Lines, Parquet or text, plain or gzip, or a folder of such files."
        ),
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Folder for the evidence; it is made.")
    ],
    profile: ProfileId = "",
    tokenizer: TokenizerFile = None,
    field: Field = "",
    form: CorpusForm = None,
    texts: TextFiles = Texts.AUTO,
    limit_kib: LimitKib = 1024,
    filter_mib: FilterMib = None,
    profiles: Profiles = None,
    secrets: Secrets = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Read a suspect data set once and keep what is evidence; memory does not grow with it, and a killed scan goes on.

    The same command again takes up a scan that was killed. The evidence holds keyed hashes: keep it like a secret.

    Example: [bold]stillwatch watermark scan suspect.jsonl.gz --tokenizer tokenizer.json --out evidence[/bold]
    """
    marks = marks_of(config, sets, profile, profiles, secrets)
    stored = _scanned(corpus, target, marks, tokenizer, _reading(field, form, texts, limit_kib), filter_mib, quiet)
    facts = stored.manifest.corpus
    if as_json:
        import msgspec

        print_json({"store": str(target), "profile": marks.profile.id, "corpus": msgspec.to_builtins(facts)})
        return
    cut = f", {facts.cut:,} of them cut" if facts.cut else ""
    out.print(
        f"{facts.documents:,} documents{cut}, {facts.tokens:,} tokens: {facts.ngrams:,} n-grams of evidence, "
        f"{facts.repeated:,} repeated ones left out.",
        soft_wrap=True,
    )
    out.print(f"  {target}", soft_wrap=True, markup=False)


@group.command("attribute")
def attribute(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", exists=True, help="Evidence folder of 'watermark scan', or a corpus.")
    ],
    tenants: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="All tenants that answers were marked for, one a line: every one of them, not only the suspected.",
        ),
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Folder for the report; it is made.")
    ],
    groups: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="Tenants with a group's mark: a tenant, a comma, its group."
        ),
    ] = None,
    fwer: Annotated[
        float, typer.Option("--fwer", min=1e-12, max=0.5, help="Probability that any innocent is named, at most.")
    ] = 1e-3,
    decoys: Annotated[
        int | None,
        typer.Option(
            "--decoys",
            min=100,
            max=1_000_000,
            help="Codewords never issued that are scored beside the others. Default: 10,000, fewer for more than 10,000 "
            "documents.",
        ),
    ] = None,
    locate: Annotated[
        list[str] | None,
        typer.Option(
            "--locate",
            metavar="PLACE",
            help="Find the marked stretches of a document, such as suspect.jsonl:121, as the report names it; may be "
            "repeated. Reads the corpus again.",
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", exists=True, metavar="FILE", help="For --locate: the corpus that the evidence is of."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence", file_okay=False, metavar="DIR", help="Folder for the evidence of a corpus. Default: in --out."
        ),
    ] = None,
    profile: ProfileId = "",
    tokenizer: TokenizerFile = None,
    field: Field = "",
    form: CorpusForm = None,
    texts: TextFiles = Texts.AUTO,
    limit_kib: LimitKib = 1024,
    filter_mib: FilterMib = None,
    profiles: Profiles = None,
    secrets: Secrets = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Say whether a data set is ours, and through which keys it came, and write report.md, findings.json and pictures.

    Exit status 0, whether or not anybody is named.

    Example: [bold]stillwatch watermark attribute evidence --tenants tenants.txt --out report[/bold]
    """
    from app.offline.progress import meter
    from app.watermark import report, store
    from app.watermark.investigate import Ask, investigate
    from app.watermark.locate import tokens_at
    from app.watermark.roll import read_roll

    roll = read_roll(tenants, groups)
    is_store = source.is_dir() and (source / store.MANIFEST).exists()
    marks = marks_of(config, sets, profile or (_profile_of(source) if is_store else ""), profiles, secrets)
    if is_store:
        stored = store.load(source)
        if store.profile_fields(marks.profile) != stored.manifest.profile:
            raise ConfigError(f"--profile {marks.profile.id}: is not the profile that {source} was made with")
    else:
        reading = _reading(field, form, texts, limit_kib)
        stored = _scanned(source, evidence or target / "evidence", marks, tokenizer, reading, filter_mib, quiet)
    looked = {}
    if locate:
        found = corpus or (None if is_store else source)
        if found is None:
            raise BadInput("--locate needs the corpus that the evidence is of (--corpus)")
        with meter(None if quiet else err, "documents") as progress:
            looked = tokens_at(stored, found, locate, tokenizer, progress)
    with meter(None if quiet else err, "comparisons") as progress:
        findings = investigate(stored, marks.secret, roll, Ask(fwer=fwer, decoys=decoys), progress, looked)
    paths = report.write(findings, target)
    if as_json:
        print_json(_named(findings) | {"files": [str(path) for path in paths]})
        return
    out.print(report.summary(findings), soft_wrap=True, markup=False)
    for path in paths:
        out.print(f"  {path}", soft_wrap=True, markup=False)


@group.command("verify")
def verify(
    text: Annotated[Path, typer.Argument(metavar="FILE", help="The text, UTF-8; '-' for standard input.")],
    tenant: Annotated[str, typer.Option("--tenant", "-t", metavar="TENANT", help="Whose mark is looked for.")],
    profile: ProfileId = "",
    group_name: Group = "",
    tokenizer: TokenizerFile = None,
    listed: Annotated[bool, typer.Option("--tokens", help="The file holds the text's tokens, as a JSON list.")] = False,
    profiles: Profiles = None,
    secrets: Secrets = None,
    as_json: AsJson = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Test one text against one key that was suspected before, and say what the probability means.

    For one key alone: who tries many keys on a text must use 'watermark attribute', which accounts for their number.

    Example: [bold]stillwatch watermark verify answer.txt --tenant acme --tokenizer tokenizer.json[/bold]
    """
    from app.watermark.chances import power
    from app.watermark.verify import verify as verified

    marks = marks_of(config, sets, profile, profiles, secrets)
    done = verified(marks.profile, marks.secret, tenant, group_name, _tokens(text, marks.profile, tokenizer, listed))
    if as_json:
        print_json({"tenant": tenant, "profile": marks.profile.id, "carries_mark": done.through_key} | asdict(done))
        return
    out.print(done.said(tenant), soft_wrap=True, markup=False)
    out.print(
        f"  {done.tokens:,} tokens, {done.ngrams:,} n-grams, {done.model_ngrams:,} of them on the channel of the model\n"
        f"  this key against the other symbols: p = {power(done.log10_key)}\n"
        f"  our model at all: p = {power(done.log10_model)}\n"
        f"  both together, exact tail: p = {power(done.log10_together)}",
        soft_wrap=True,
        markup=False,
    )


@group.command("tenants")
def tenants(
    target: Annotated[
        Path, typer.Option("--out", "-o", dir_okay=False, metavar="FILE", help="File for the tenants, one a line.")
    ],
    groups: Annotated[
        Path, typer.Option("--groups", dir_okay=False, metavar="FILE", help="File for those that share a group's mark.")
    ],
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Write down everybody whose answers may have been marked, as the admin API knows them, for 'attribute'.

    Accounts, keys that were seen, and members of campaigns that share a mark.

    Example: [bold]stillwatch watermark tenants --out tenants.txt --groups groups.csv[/bold]
    """
    found = connect(config, sets, url).call("GET", "/v1/watermark/tenants", wait_sec=GATHER_SEC)
    if not found["tenants"]:
        raise BadInput("no tenant is known: no account, and no key that was seen")
    try:
        target.write_text("".join(f"{name}\n" for name in found["tenants"]), encoding="utf-8")
        groups.write_text("".join(f"{name},{of}\n" for name, of in found["groups"].items()), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror or 'cannot be written'}") from None
    who = counted(len(found["tenants"]), "tenant")
    out.print(f"{who}, {len(found['groups']):,} of them with a group's mark.", soft_wrap=True)


def marks_of(
    config: Path | None, sets: Sequence[str] | None, profile: str, profiles: Path | None, secrets: Path | None
) -> Marks:
    """The profile and its epoch's secret."""
    from app.watermark.sources import read_sources

    settings = settle(config, sets, watermark__profiles_file=profiles, watermark__secrets_file=secrets).watermark
    sources = read_sources(settings)
    if not profile:
        names = [one.id for one in sources.registry]
        if len(names) > 1:
            raise ConfigError(f"--profile must say which of {', '.join(names)}")
        profile = names[0]
    try:
        found = sources.registry.of(profile)
        return Marks(found, sources.ring.of(found.epoch))
    except ValueError as error:
        raise ConfigError(f"--profile: {str(error).removeprefix('profile: ')}") from None


def _profile_of(folder: Path) -> str:
    from app.watermark.store import read_manifest

    manifest = read_manifest(folder)
    return str(manifest.profile.get("id", "")) if manifest else ""


def _reading(field: str, form: Form | None, texts: Texts, limit_kib: int) -> Reading:
    from app.watermark.corpus import Reading

    return Reading(
        field=field, form=form.value if form else None, texts=texts.value, limit_bytes=limit_kib << 10,
    )  # fmt: skip


def _scanned(
    corpus: Path,
    folder: Path,
    marks: Marks,
    tokenizer: Path | None,
    reading: Reading,
    filter_mib: int | None,
    quiet: bool,
) -> Stored:
    from app.offline.progress import meter
    from app.watermark.scan import ScanJob, scan

    job = ScanJob(corpus, folder, reading, tokenizer, filter_mib << 20 if filter_mib else None)
    with meter(None if quiet else err, "documents") as progress:
        return scan(job, marks.profile, marks.secret, progress)


def _tokens(path: Path, profile: MarkProfile, tokenizer: Path | None, listed: bool) -> Any:
    from app.watermark.tokens import Tokens, token_list

    data = read_bytes(path, MOST_TEXT_BYTES)
    if listed:
        try:
            values = json.loads(data)
        except ValueError:
            values = None
        if not isinstance(values, list):
            raise BadInput(f"{path}: must be a JSON list of whole numbers")
        return token_list(str(path), "tokens", values)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - data.rfind(b"\n", 0, error.start)
        raise BadInput(f"{path}: line {line}, byte {byte}: must be UTF-8") from None
    return Tokens(profile, tokenizer).of([text], [str(path)])[0]


def _named(findings: Findings) -> dict[str, Any]:
    import msgspec

    from app.watermark.report import is_ours

    return {
        "named": [msgspec.to_builtins(key) for key in findings.named],
        "tested": findings.tested,
        "fwer": findings.fwer,
        "ours": is_ours(findings),
        "log10_p_model": findings.model.log10_p,
        "corpus": msgspec.to_builtins(findings.corpus),
    }
