"""One line of a request log as a typed record, or the rule it breaks.

The shape is that of the benchmark (`requests.schema.json`): time, key, path, address, headers, the client's JSON body,
and what the provider knows of the answer. Fields we do not know are skipped, so a richer log is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from app.errors import BadInput
from app.offline.source import MAX_LINE_BYTES, LogFile

Count = Annotated[int, msgspec.Meta(ge=0)]
KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]  # below the year 5138: milliseconds by mistake are refused
Millis = Annotated[float, msgspec.Meta(ge=0)]
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider billed them."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_tokens: Count = 0
    cached_tokens: Count = 0


class Response(msgspec.Struct, frozen=True):
    """What is known of the answer. `text`: None where it was not stored; `body`: the whole answer where the log has it."""

    status: Status
    latency_ms: Millis = 0.0
    error: str = ""
    model: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    text: str | None = None
    refusal: bool = False
    tool_calls: list[Any] = []
    ttft_ms: Millis | None = None
    body: dict[str, Any] | None = None


class Record(msgspec.Struct, frozen=True):
    """One exchange of a request log. `ts` in unix seconds; `request` is the body as the client sent it."""

    ts: Seconds
    key: KeyName
    path: str
    request: dict[str, Any]
    response: Response
    ip: str = ""
    headers: dict[str, str] = {}


Parser = Callable[[bytes], Record]
"""Bytes of a line → Record; raises BadInput with the rule, never with the content."""


class _Time(msgspec.Struct):
    ts: Seconds


_decoder = msgspec.json.Decoder(Record)
_time_decoder = msgspec.json.Decoder(_Time)


def parse(line: bytes) -> Record:
    """A line in the benchmark's format.

    Raises:
        BadInput: it is no JSON object of that shape; the message names the field and the rule.
    """
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(rule_of(error)) from None


def parse_time(line: bytes) -> float:
    """Only the time of a line, for the quick pass that finds a log's span; BadInput as `parse`."""
    try:
        return _time_decoder.decode(line).ts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(rule_of(error)) from None


_MISSING = re.compile(r"Object missing required field `(\w+)`(?: - at `\$\.(\w+)`)?")


def rule_of(error: Exception) -> str:
    """The rule a decoder's error states. msgspec names types, fields and limits, never values."""
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        if text.endswith("at `$.ts`"):
            return "ts must be unix seconds (for other units use a mapping file, [time] unit)"
        if missing := _MISSING.fullmatch(text):
            field = f"{missing[2]}.{missing[1]}" if missing[2] else missing[1]
            return f"field {field} is missing (for a log of another format say with --mapping where its fields are)"
        return text
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    return "not a complete JSON value in UTF-8"


@dataclass
class BadLines:
    """Lines that could not be used: how many, and the first few with their rules.

    Attributes:
        max_share: share of all lines above which the input is refused: it is probably in another format.
        few: as many bad lines are always borne, if there are good ones as well: a short log must not fail on one line.
    """

    max_share: float
    few: int = 20
    total: int = 0
    bad: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)
    keep: int = 20

    def add(self, number: int, rule: str) -> None:
        """Count a bad line.

        Raises:
            BadInput: more of at least 200 lines are bad than may be.
        """
        self.bad += 1
        if len(self.examples) < self.keep:
            self.examples.append((number, rule))
        if self.total >= 200:
            self.check()

    def check(self) -> None:
        """Refuse when too many lines are bad; called along the way and at the end.

        Raises:
            BadInput: as `add`.
        """
        if self.total and (self.bad > max(self.few, self.max_share * self.total) or self.bad == self.total):
            number, rule = self.examples[0]
            raise BadInput(
                f"{self.bad:,} of the first {self.total:,} lines break the format (at most {self.max_share:.1%} may); "
                f"the first is line {number}: {rule}"
            )


def read(log: LogFile, bad: BadLines, parser: Parser = parse) -> Iterator[tuple[int, Record]]:
    """(line number, record) of every good line; the others go to `bad`."""
    for number, line in log.lines():
        bad.total += 1
        if len(line) > MAX_LINE_BYTES:
            bad.add(number, f"line is longer than {MAX_LINE_BYTES:,} bytes")
            continue
        try:
            record = parser(line)
        except BadInput as error:
            bad.add(number, str(error))
            continue
        yield number, record
    bad.check()
