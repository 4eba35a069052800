"""figures.json and report.md of `calibrate`, `train` and `evaluate`: one document, rendered again by `report model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import BadInput
from app.offline import curves
from app.offline.curves import percent
from app.offline.figures import Figures, Group
from app.offline.report import cell

FIGURES, REPORT = "figures.json", "report.md"
FILES = (FIGURES, *curves.PICTURES, REPORT)
MAX_FILE_BYTES = 16 << 20

Kind = Literal["calibration", "training", "evaluation"]

_TITLES: dict[Kind, str] = {
    "calibration": "Calibration report",
    "training": "Training report",
    "evaluation": "Evaluation report",
}
_ALT = {
    curves.ROC: "Recall over false positives, log axis",
    curves.RELIABILITY: "Promised and realised share of honest keys above a score",
    curves.GROUPS: "False positives by stratum and recall by kind of abuse",
    curves.ABLATION: "Recall lost without each scorer",
    curves.DETECTION: "Share of abusive keys flagged over their requests",
}


class Table(msgspec.Struct, frozen=True):
    """A table that only one kind of report has."""

    title: str
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a report says.

    Attributes:
        kind: which command wrote it.
        model: id of the model.
        source: name of the log.
        facts: name and text.
        figures: of labelled keys; None without labels.
        tables: what else there is.
        notes: sentences that a person should read.
    """

    kind: Kind
    model: str
    source: str
    facts: tuple[tuple[str, str], ...] = ()
    figures: Figures | None = None
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def write(out: Path, document: Document) -> tuple[Path, ...]:
    """Write figures.json, the pictures and report.md into an existing folder; returns what was written, the report last.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        (out / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
        return (out / FIGURES, *render(out, document))
    except OSError as error:
        raise BadInput(f"{out}: {error.strerror or 'cannot be written'}") from None


def read(folder: Path) -> Document:
    """The document of an earlier `write`.

    Raises:
        BadInput: there is none, or it is not one of this release; the message names file and rule.
    """
    path = folder / FIGURES
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadInput(f"{path} is larger than {MAX_FILE_BYTES:,} bytes")
        return msgspec.json.decode(path.read_bytes(), type=Document)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from None


def render(out: Path, document: Document) -> tuple[Path, ...]:
    """Pictures and report.md. A picture of an earlier report that this one has nothing for goes."""
    drawn = []
    for name, draw in curves.PICTURES.items():
        if document.figures is not None and draw(document.figures, out / name):
            drawn.append(name)
        else:
            (out / name).unlink(missing_ok=True)
    (out / REPORT).write_text("\n".join(_parts(document, drawn)), encoding="utf-8")
    return tuple(out / name for name in (*drawn, REPORT))


def _parts(document: Document, drawn: Sequence[str]) -> Iterator[str]:
    facts = (("Log", document.source), ("Model", document.model), *document.facts)
    yield f"# {_TITLES[document.kind]}\n\n" + _table(("", ""), facts)
    if document.figures is not None:
        yield from _figures(document.figures, drawn)
    for table in document.tables:
        yield f"## {table.title}\n\n{table.text}\n\n{_table(table.head, table.rows)}"
    if document.notes:
        yield "## Notes\n\n" + "\n".join(f"- {cell(note)}" for note in document.notes) + "\n"


def _figures(found: Figures, drawn: Sequence[str]) -> Iterator[str]:
    rows = [("AUROC", "–" if found.auroc.value is None else _plain(found.auroc.value, found.auroc.low, found.auroc.high))]
    for recall in found.recalls:
        mark = "" if recall.supported else " (fewer than one honest key)"
        rows.append((f"Recall at {100 * recall.rate:g} % false positives{mark}", percent(recall.found)))
    rows += [
        ("Recall at the policy's level", percent(found.own_recall)),
        ("False positives at the policy's level", percent(found.own_false)),
        ("Requests until flagged, of those flagged", _count(found.to_flag.value, found.to_flag.low, found.to_flag.high)),
        ("Hours until flagged", _plain(found.hours_to_flag.value, found.hours_to_flag.low, found.hours_to_flag.high)),
        ("Exchanges taken until flagged, or in all", _count(found.taken.value, found.taken.low, found.taken.high)),
    ]
    yield (
        f"## Figures\n\n{found.abusive:,} abusive and {found.honest:,} honest keys of {found.units:,} organisations and "
        "campaigns. In brackets: 95 % intervals, from drawing organisations and campaigns anew; quartiles where a median "
        "is told.\n\n" + _table(("Figure", "Value"), rows)
    )
    yield from (
        f"![{_ALT[name]}]({name})\n" for name in (curves.ROC, curves.DETECTION, curves.RELIABILITY) if name in drawn
    )
    for title, abusive in (("False positives by stratum", False), ("Recall by kind of abuse", True)):
        groups = [group for group in found.groups if group.abusive == abusive]
        if groups:
            yield f"## {title}\n\n" + _table(
                ("Group", "Keys", "Units", "Flagged", "Above the 1 % score"), [_group(group) for group in groups]
            )
    if curves.GROUPS in drawn:
        yield f"![{_ALT[curves.GROUPS]}]({curves.GROUPS})\n"
    if found.ablation:
        yield "## Without each scorer\n\n" + _table(
            ("Without", "Recall at 1 % false positives", "Recall at own level", "False positives at own level"),
            [(one.without, _share(one.recall), _share(one.own_recall), _share(one.own_false)) for one in found.ablation],
        )
    if curves.ABLATION in drawn:
        yield f"![{_ALT[curves.ABLATION]}]({curves.ABLATION})\n"


def _group(group: Group) -> tuple[str, ...]:
    return group.name, f"{group.keys:,}", f"{group.units:,}", percent(group.flagged), percent(group.above)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: list[Sequence[str]] = [head, ["---", *["---:" if any(head) else "---"] * (len(head) - 1)]]
    lines += [[cell(text) for text in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(value: float | None, low: float | None, high: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" + ("" if low is None or high is None else f" ({low:.3g}–{high:.3g})")


def _count(value: float | None, low: float | None, high: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" + ("" if low is None or high is None else f" ({low:,.0f}–{high:,.0f})")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
