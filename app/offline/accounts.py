"""Accounts beside a log: who owns a key, since when, on which plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.errors import BadInput
from app.gateway.account_file import AccountLine, parse
from app.gateway.identity import Hasher, Identity
from app.offline.source import LogFile


def load(path: Path, hasher: Hasher, default_plan: str) -> Mapping[str, Identity]:
    """Accounts file (JSONL, plain or gzip) → identity by key, under the name that the log has for it.

    Unlike a log, every line must be right: a key that silently loses its organisation would be judged as someone else.

    Raises:
        BadInput: the file cannot be read, or a line breaks a rule; the message names the line.
    """
    log = LogFile(path)
    found: dict[str, Identity] = {}
    for number, line in log.lines():
        try:
            identity = identity_of(parse(line), hasher, default_plan)
        except BadInput as error:
            raise BadInput(f"accounts file {path}, line {number}: {error}") from None
        if identity.key_id in found:
            raise BadInput(f"accounts file {path}, line {number}: this key already has an earlier line")
        found[identity.key_id] = identity
    if log.damage:
        raise BadInput(f"accounts file {path}: {log.damage}")
    return found


def identity_of(account: AccountLine, hasher: Hasher, default_plan: str) -> Identity:
    """The account as the gateway would know it; the payment token only as its keyed hash."""
    return Identity(
        key_id=account.key or account.key_id,
        org_id=account.org,
        plan=account.plan or default_plan,
        key_created_us=account.created_us,
        payment_id=hasher.payment(account.payment_hash) if account.payment_hash else "",
        authorised=account.authorised,
        country=account.country[:2].upper(),
    )
