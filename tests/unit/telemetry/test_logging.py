"""What may be in a log and what may not."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.errors import StateUnavailable
from app.settings import load
from app.telemetry import logging as logs

KEY = "sk-canaryK3yQzx771"
PROMPT = "qzxcanary my grandmother's recipe"

Lines = Callable[[], str]


@pytest.fixture(params=["plain", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """What was written so far, with logging set up in each form; everything is as before afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, {name: logging.getLogger(name).level for name in logs.OURS})
    stream = io.StringIO()
    logs.setup("DEBUG", request.param, stream)
    yield stream.getvalue
    root.handlers[:], level, sys.excepthook, levels = before
    root.setLevel(level)
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)


def test_our_own_sentences_are_written(written: Lines) -> None:
    """A message of ours appears with its arguments, its level, its logger and the extra fields that are on the list."""
    logging.getLogger("app.worker").info("applied %d of %s", 7, "many", extra={"partition": 3, "prompt": PROMPT})
    line = written()
    for part in ("applied 7 of many", "app.worker", "partition", "3"):
        assert part in line
    assert "canary" not in line


def test_json_is_one_object_per_line() -> None:
    """The machine form has a time, a level, a logger and a message, and stays one line whatever is in it."""
    record = logging.LogRecord("app.x", logging.ERROR, "file.py", 1, "two\nlines %s", ('"quoted"',), None)
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("at").endswith("Z")
    assert found == {"level": "error", "logger": "app.x", "message": 'two\\nlines "quoted"'}


def test_a_line_cannot_be_forged(written: Lines) -> None:
    """A line break inside a value does not start a line of its own."""
    logging.getLogger("app").warning("upstream said %s", "x\n2026-01-01 INFO app: all is well\r\n")
    assert written().count("\n") == 1


def test_foreign_exceptions_are_their_class_and_place(written: Lines) -> None:
    """An exception is logged by class and frames; its own words, which may quote a body, are not."""
    log = logging.getLogger("app.gateway")
    try:
        int(PROMPT)
    except ValueError as error:
        log.exception("a request failed: %s", error)
        log.error("again", exc_info=True, extra={"rule": error})
    assert "ValueError" in written()
    assert "test_logging.py" in written()
    assert "canary" not in written()


def test_our_own_exceptions_speak(written: Lines) -> None:
    """The sentence of an error of ours is written, the reason of the system too."""
    log = logging.getLogger("app.worker")
    log.warning("the worker waits: %s", StateUnavailable("accounts: the state server did not answer (TimeoutError)"))
    log.warning("no file: %s", FileNotFoundError(2, "No such file or directory", PROMPT))
    assert "accounts: the state server did not answer" in written()
    assert "FileNotFoundError: No such file or directory" in written()
    assert "canary" not in written()


def test_other_loggers_say_only_the_fixed_part(written: Lines) -> None:
    """A library's message is cut to its first line without arguments, and is written from WARNING on."""
    library = logging.getLogger("somelib.http")
    library.info("nobody needs this")
    library.warning("bad request: %s", PROMPT)
    library.error(f"Task exception was never retrieved\nfuture: <Task exception=ValueError({PROMPT!r})>")
    library.error(ValueError(PROMPT))
    assert "nobody needs this" not in written()
    assert "bad request: %s" in written()
    assert "Task exception was never retrieved" in written()
    assert "canary" not in written()


def test_credentials_are_removed_from_our_own_lines(written: Lines) -> None:
    """Even where our own code slips, keys, bearer tokens and passwords of addresses do not get through."""
    log = logging.getLogger("app.gateway")
    log.info("key %s", KEY)
    log.info("header authorization: Bearer canarytoken")
    log.info("address redis://admin:canarypassword@db:6379/0", extra={"route": f"chat {KEY}"})
    assert "canary" not in written()
    assert written().count(logs._REMOVED) >= 4
    assert "@db:6379" in written()


def test_a_record_that_does_not_format_shows_its_place(written: Lines) -> None:
    """A wrong format string costs a note with file and line; its arguments are not shown."""
    (handler,) = (one for one in logging.getLogger().handlers if isinstance(one, logs._Handler))  # beside pytest's own
    handler.handle(logging.LogRecord("app.gateway", logging.INFO, __file__, 1, "%d tokens", (PROMPT,), None))
    assert "could not be written" in written()
    assert "test_logging.py" in written()
    assert "canary" not in written()


async def test_a_task_that_nobody_awaited(written: Lines) -> None:
    """asyncio's report about a failed task, which quotes the exception, comes without its words."""

    async def fail() -> None:
        raise ValueError(PROMPT)

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    await asyncio.sleep(0)
    assert "Task exception was never retrieved" in written()
    assert "canary" not in written()


def test_the_last_word_of_a_process(written: Lines) -> None:
    """An exception that ends the process is logged like any other."""
    try:
        raise RuntimeError(PROMPT)
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert "RuntimeError" in written()
    assert "canary" not in written()


def test_settings_choose_level_and_form(written: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """`log.level` and `log.format` are what a process sets up."""
    seen: list[Any] = []
    monkeypatch.setattr(logs, "setup", lambda *args, **more: seen.append((args, more)))
    logs.configure(load(environ={"STILLWATCH_LOG__LEVEL": "WARNING", "STILLWATCH_LOG__FORMAT": "json"}), "worker")
    assert seen == [(("WARNING", "json"), {"process": "worker"})]


def test_every_line_tells_whose_it_is() -> None:
    """The lines of several processes that write to one place can be told apart, in both forms."""
    record = logging.LogRecord("app.state.link", logging.WARNING, "file.py", 1, "it is away", (), None)
    assert logs.PlainFormatter("worker").format(record).split(" ", 1)[1] == "WARNING worker app.state.link: it is away"
    assert json.loads(logs.JsonFormatter("worker").format(record))["process"] == "worker"
    assert logs.PlainFormatter().format(record).split(" ", 1)[1] == "WARNING app.state.link: it is away"
