"""Accounts beside a log: who owns a key, since when, on which plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from app.errors import BadInput
from app.gateway.identity import Hasher, Identity
from app.offline.records import KeyName, rule_of
from app.offline.source import LogFile

Short = Annotated[str, msgspec.Meta(max_length=128)]


class AccountLine(msgspec.Struct, frozen=True):
    """One line of an accounts file, in the benchmark's words; fields we do not use are skipped."""

    key: KeyName
    org: Short = ""
    created_at: Annotated[float, msgspec.Meta(lt=1e11)] | None = None  # unix seconds
    plan: Short = ""
    payment_hash: Short = ""
    country: Short = ""
    authorised: tuple[Short, ...] = ()


_decoder = msgspec.json.Decoder(AccountLine)


def load(path: Path, hasher: Hasher, default_plan: str) -> Mapping[str, Identity]:
    """Accounts file (JSONL, plain or gzip) → identity by key.

    Unlike a log, every line must be right: a key that silently loses its organisation would be judged as someone else.

    Raises:
        BadInput: the file cannot be read, or a line breaks a rule; the message names the line.
    """
    log = LogFile(path)
    found: dict[str, Identity] = {}
    for number, line in log.lines():
        try:
            account = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadInput(f"accounts file {path}, line {number}: {rule_of(error)}") from None
        if account.key in found:
            raise BadInput(f"accounts file {path}, line {number}: this key already has an earlier line")
        found[account.key] = identity_of(account, hasher, default_plan)
    if log.damage:
        raise BadInput(f"accounts file {path}: {log.damage}")
    return found


def identity_of(account: AccountLine, hasher: Hasher, default_plan: str) -> Identity:
    """The account as the gateway would know it; the payment token only as its keyed hash."""
    return Identity(
        key_id=account.key,
        org_id=account.org,
        plan=account.plan or default_plan,
        key_created_us=None if account.created_at is None else round(account.created_at * 1_000_000),
        payment_id=hasher.payment(account.payment_hash) if account.payment_hash else "",
        authorised=account.authorised,
        country=account.country[:2].upper(),
    )
