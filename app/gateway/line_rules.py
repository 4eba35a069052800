"""Lines of the files an operator gives, as typed records, or the rule that a line breaks in an operator's words."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from app.errors import BadInput

T = TypeVar("T", bound=msgspec.Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_TIME = re.compile(r"Expected `float` [<>]=? .* - at `\$\.(\w+)`")


def parse(decoder: msgspec.json.Decoder[T], line: bytes) -> T:
    """Bytes of a line → its record.

    Raises:
        BadInput: it breaks a rule; the message names the field and the rule, never a value.
    """
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise BadInput(_rule(str(error), decoder.type)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput("not a complete JSON value in UTF-8") from None


def _rule(message: str, known: type[msgspec.Struct]) -> str:
    """A name that looks like none is not repeated: in a file that maps credentials to accounts, they are the names."""
    if unknown := _UNKNOWN.match(message):
        name = f" {unknown[1]}" if re.fullmatch(r"[A-Za-z_]{1,32}", unknown[1]) else ""
        return f"unknown field{name}; known are {', '.join(known.__struct_encode_fields__)}"
    if time := _TIME.match(message):  # the only numbers with bounds are times
        return f"{time[1]} must be unix seconds"
    return message
