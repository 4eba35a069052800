"""Files of accounts, a line each: key id, a space, address. Nothing of a line is ever repeated: it may be an address."""

from __future__ import annotations

import re
from pathlib import Path

from app.cli.acting import read_bytes
from app.errors import BadInput

_LINE = re.compile(r"([0-9a-f]{32})\s+(\S{3,254})")


def read_accounts(path: Path, most_bytes: int) -> tuple[list[int], list[dict[str, str]]]:
    """(numbers of the lines, the key_id and address in each); empty lines and those that begin with # say nothing.

    Args:
        path: of the file.
        most_bytes: a larger one is refused.

    Raises:
        BadInput: the file cannot be read, or a line is none; it is named by its number.
    """
    try:
        text = read_bytes(path, most_bytes).decode()
    except UnicodeDecodeError:
        raise BadInput("--identities: must be text in UTF-8") from None
    numbers, found = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise BadInput(
                f"--identities: line {number} must be a key id of 32 hex digits, a space and an address without spaces"
            )
        numbers.append(number)
        found.append({"key_id": match[1], "address": match[2]})
    return numbers, found
