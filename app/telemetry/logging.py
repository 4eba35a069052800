"""Logging without secrets: set up once per process, as lines for people or as JSON for machines.

Four rules keep client text and credentials out, whatever a library puts into its messages:
an exception is its class and where it was raised, never its message (a parser's message quotes what it parsed), unless it
is one of ours, whose messages hold no secret by contract; of loggers that are not ours only the fixed part of a message is
written; of extra fields only those in FIELDS; and what still looks like a credential is replaced.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

import orjson

from app.errors import StillwatchError
from app.settings import Settings

OURS = ("app", "detectors", "stillwatch", "__main__")
"""Loggers whose messages may hold their arguments."""

FIELDS = frozenset(("worker", "partition", "key_id", "org_id", "route", "outcome", "rule", "count", "seconds"))
"""Extra fields (`log.info(…, extra={…})`) that are written."""

MAX_MESSAGE_CHARS = 2000

_CREDENTIALS = re.compile(
    r"(?i:\bbearer\s+\S+)"  # an Authorization header
    r"|\b(?:sk|pk|rk|key|api)-[A-Za-z0-9_\-]{8,}"  # keys of the usual providers
    r"|(?<=://)[^\s/@]*:[^\s/@]*(?=@)"  # user:password of an address
)
_REMOVED = "[removed]"


def configure(settings: Settings, process: str = "") -> None:
    """Set up as the settings say, for one kind of process."""
    setup(settings.log.level, settings.log.format, process=process)


def setup(
    level: str = "INFO", fmt: Literal["plain", "json"] = "plain", stream: TextIO | None = None, *, process: str = ""
) -> None:
    """Make the root logger write to `stream` (standard error), and nothing else.

    Args:
        level: least level of our own loggers; others are written from WARNING on.
        fmt: plain for people, json for one object per line.
        stream: where to.
        process: its kind, in every line: those of `stillwatch all` write to one place. "" leaves it out.
    """
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(process) if fmt == "json" else PlainFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    sys.excepthook = _excepthook


class PlainFormatter(logging.Formatter):
    """``2026-11-25T14:03:07.123Z WARNING worker app.worker.worker: the worker waits: … partition=3``."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = f"{process} " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and one for each frame of an exception."""
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = f"{_moment(record)} {record.levelname} {self._process}{record.name}: {message_of(record)}{extras}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f" ({describe(record.exc_info[1])})\n" + "\n".join(f"  {place}" for place in _places(record))
        return line.rstrip("\n")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: at, level, process, logger, message, extra fields, and error and trace of an exception."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "at": _moment(record),
            "level": record.levelname.lower(),
            **self._process,
            "logger": record.name,
            "message": message_of(record),
            **_extras(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
            line["trace"] = _places(record)
        return orjson.dumps(line, default=str).decode()


def message_of(record: logging.LogRecord) -> str:
    """The message of a record as it may be written, on one line."""
    if record.name.partition(".")[0] not in OURS:
        # "Task exception was never retrieved" goes on with the exception's own words on the next line.
        text = str(record.msg).partition("\n")[0] if isinstance(record.msg, str) else type(record.msg).__name__
    else:
        text = str(_safe(record.msg))
        if record.args:
            args = record.args if isinstance(record.args, tuple) else (record.args,)
            text = text % tuple(map(_safe, args))
    text = _CREDENTIALS.sub(_REMOVED, text[:MAX_MESSAGE_CHARS])
    return text.replace("\r", "\\r").replace("\n", "\\n")


def describe(error: BaseException) -> str:
    """An exception in words that quote nothing: our own sentences, the system's, else the class."""
    if isinstance(error, StillwatchError):
        return _CREDENTIALS.sub(_REMOVED, str(error))
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


def _safe(value: object) -> object:
    return describe(value) if isinstance(value, BaseException) else value


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: value for name, value in record.__dict__.items() if name in FIELDS}
    return {
        name: _CREDENTIALS.sub(_REMOVED, value[:MAX_MESSAGE_CHARS]) if isinstance(value, str) else _safe(value)
        for name, value in found.items()
    }


def _places(record: logging.LogRecord) -> list[str]:
    """Where an exception passed, "file:line function", innermost last. No source lines and no values."""
    frames = traceback.extract_tb(record.exc_info[2]) if record.exc_info else []
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the library's
        """The library would print the arguments of a record that does not format; the place is enough to find it."""
        self.stream.write(f"a log record of {record.name}, {record.filename}:{record.lineno}, could not be written\n")


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("app").critical("the process ends by an unexpected error", exc_info=(kind, error, trace))
