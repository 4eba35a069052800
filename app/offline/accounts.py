"""Accounts beside a log: who owns a key, since when, on which plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.errors import BadInput
from app.gateway.account_file import AccountLine, parse
from app.gateway.identity import Hasher, Identity
from app.offline.source import LogFile


def load(path: Path, hasher: Hasher, default_plan: str, hashed: bool = False) -> Mapping[str, Identity]:
    """Accounts file (JSONL, plain or gzip) → identity by key, under the name that the log has for it.

    Unlike a log, every line must be right: a key that silently loses its organisation would be judged as someone else.

    Args:
        path: the file.
        hasher: of payment tokens, and of credentials.
        default_plan: plan of an account that names none.
        hashed: the log holds credentials and is read under their hashes, so `key` here is a credential too.

    Raises:
        BadInput: the file cannot be read, or a line breaks a rule; the message names the line.
    """
    log = LogFile(path)
    found: dict[str, Identity] = {}
    for number, line in log.lines():
        try:
            identity = _identity(parse(line), hasher, default_plan, hashed)
        except BadInput as error:
            raise BadInput(f"accounts file {path}, line {number}: {error}") from None
        if identity.key_id in found:
            raise BadInput(f"accounts file {path}, line {number}: this key already has an earlier line")
        found[identity.key_id] = identity
    if log.damage:
        raise BadInput(f"accounts file {path}: {log.damage}")
    return found


def _identity(account: AccountLine, hasher: Hasher, default_plan: str, hashed: bool) -> Identity:
    """The account as the gateway would know it; the payment token only as its keyed hash."""
    return Identity(
        key_id=hasher.key(account.key) if hashed and account.key else account.key or account.key_id,
        org_id=account.org,
        plan=account.plan or default_plan,
        key_created_us=account.created_us,
        payment_id=hasher.payment(account.payment_hash) if account.payment_hash else "",
        authorised=account.authorised,
        country=account.country.upper(),
    )
