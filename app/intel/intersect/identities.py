"""Accounts in a file → keyed tokens of their addresses, and back for the side whose file it is."""

from __future__ import annotations

from app.errors import BadInput
from app.intel.intersect.bounds import LEAST
from detectors.sharing.tokens import GroupKey

MAX_CHARS = 320
"""Of an account: the longest e-mail address (RFC 3696, erratum 1690)."""

MAX_BYTES = 1 << 25


def tokens(data: bytes, key: GroupKey, most: int) -> dict[str, str]:
    """Token → account as it was first written, in the order of tokens, which says nothing about the order in the file.

    Args:
        data: UTF-8, an account a line; empty lines and those that begin with # are passed over. Accounts that differ in
            case, form or surrounding spaces are one.
        key: of the trust group in the epoch of the run.
        most: accounts.

    Raises:
        BadInput: it is no such file, or has too few or too many accounts. No account is in the message.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInput("accounts: must be UTF-8 text, an account a line") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        account = line.strip()
        if not account or account.startswith("#"):
            continue
        if len(account) > MAX_CHARS or not account.isprintable():
            raise BadInput(f"accounts: line {number:,} must be at most {MAX_CHARS} characters that print")
        found.setdefault(key.identity(account), account)
        if len(found) > most:
            raise BadInput(f"accounts: must be at most {most:,}, and are more")
    if len(found) < LEAST:
        raise BadInput(f"accounts: must be at least {LEAST}, and are {len(found)}: a smaller set is a guess at its members")
    return dict(sorted(found.items()))
