"""What the commands that change something share: spans of time, the preview before a question, and the question."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.common import err
from app.errors import BadInput, ConfigError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Why = Annotated[str, typer.Option("--reason", help="Why, in one line of at least 10 characters; kept in the audit log.")]
MaybeWhy = Annotated[str, typer.Option("--reason", help="Why, in one line; kept in the audit log.")]

_SPAN = re.compile(r"(-?\d{1,7})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans that an option takes; the admin API refuses others too, with the same words.

    Attributes:
        least_sec, most_sec: bounds, both taken.
        short, long: what is said of one below and of one above.
    """

    least_sec: int
    most_sec: int
    short: str
    long: str


ORDERS = Spans(60, 30 * 86_400, "must be at least 1 minute", "must be at most 30 days")
_ALLOWED = "must be in the future, and at most 400 days from now"
ALLOWED = Spans(1, 400 * 86_400, _ALLOWED, _ALLOWED)


def span_sec(text: str, option: str, spans: Spans) -> int:
    """ "90s", "30m", "24h" or "7d" → seconds.

    Raises:
        BadParameter: it is none of these. ConfigError: it is shorter or longer than it may be.
    """
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter("must be a span of time such as 30m, 24h or 7d", param_hint=option)
    seconds = int(found[1]) * _SECONDS[found[2]]
    if not spans.least_sec <= seconds <= spans.most_sec:
        raise ConfigError(f"{option}: {spans.short if seconds < spans.least_sec else spans.long}")
    return seconds


def when(text: str | None) -> str:
    """A time of the API for people."""
    return "" if text is None else f"{text[:19].replace('T', ' ')} UTC"


def counted(number: int, name: str) -> str:
    """ "1 gateway", "2 gateways"."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def print_json(value: Any) -> None:
    """For programs."""
    print(json.dumps(value, indent=2))


def tell(lines: Sequence[str]) -> None:
    """Remarks, on standard error, as they are."""
    for line in lines:
        err.print(line, soft_wrap=True, markup=False)


def sure(question: str, yes: bool) -> None:
    """Ask; anything but yes ends the program with status 130 and nothing done."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def read_bytes(path: Path, most: int) -> bytes:
    """A file's content, "-" for standard input.

    Raises:
        BadInput: it cannot be read, or is too long.
    """
    try:
        with path.open("rb") if str(path) != "-" else typer.get_binary_stream("stdin") as file:
            data: bytes = file.read(most + 1)
    except OSError as error:
        raise BadInput(f"file {path}: {error.strerror or 'cannot be read'}") from None
    if len(data) > most:
        raise BadInput(f"file {path}: must be at most {most:,} bytes")
    return data
