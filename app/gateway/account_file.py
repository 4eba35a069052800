"""Lines of an accounts file. The same file serves beside a log, where `key` is the name that the log uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from app.errors import BadInput
from app.gateway import line_rules
from app.gateway.identity import Hasher
from app.state.accounts import Account, check, check_uses

Short = Annotated[str, msgspec.Meta(max_length=128)]


class AccountLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. A field of another name is refused: a mistyped `org` would silently leave the key without its organisation.

    Attributes:
        key: the credential itself, which is hashed at once; beside a log, the key's name in the log.
        key_id: instead of `key`, its keyed hash as the service shows it.
        org: organisation.
        created_at: when the key was created, unix seconds.
        plan: name under limits.plans.
        payment_hash: token of the means of payment, in whatever form the operator has it; only its keyed hash is kept.
        email_domain_class: told by some exports of accounts; not used.
        country: ISO 3166 code.
        authorised: uses that the contract allows, of `detectors.contract.USES`.
    """

    key: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    key_id: Short = ""
    org: Short = ""
    created_at: Annotated[float, msgspec.Meta(ge=0, lt=1e11)] | None = None
    plan: Short = ""
    payment_hash: Short = ""
    email_domain_class: Short = ""
    country: Short = ""
    authorised: tuple[Short, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.key) == bool(self.key_id):
            raise ValueError("needs either `key` or `key_id`, and not both")
        if len(self.country) not in (0, 2):
            raise ValueError("country must be an ISO 3166 code of two letters")

    @property
    def created_us(self) -> int | None:
        """`created_at` in µs."""
        return None if self.created_at is None else round(self.created_at * 1_000_000)


_decoder = msgspec.json.Decoder(AccountLine)


def parse(line: bytes) -> AccountLine:
    """Bytes of a line → what it says.

    Raises:
        BadInput: it breaks a rule; the message names the field and the rule, never a value.
    """
    found = line_rules.parse(_decoder, line)
    check_uses(found.authorised)
    return found


def account_of(line: AccountLine, hasher: Hasher) -> tuple[str, Account]:
    """(key id, account) of a line of a live service.

    Raises:
        BadInput: a name has characters that no name here may have.
    """
    key_id = line.key_id or hasher.key(line.key)
    account = Account(
        org_id=line.org,
        plan=line.plan,
        created_us=line.created_us,
        payment_id=hasher.payment(line.payment_hash) if line.payment_hash else "",
        authorised=line.authorised,
        country=line.country.upper(),
    )
    check(key_id, account)
    return key_id, account


def load(path: Path, hasher: Hasher) -> dict[str, Account]:
    """An accounts file (JSONL) → account by key id.

    Every line must be right: a key that silently loses its organisation would be judged as someone else.

    Raises:
        BadInput: the file cannot be read, or a line breaks a rule; the message names the line.
    """
    found: dict[str, Account] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    key_id, account = account_of(parse(line), hasher)
                    if key_id in found:
                        raise BadInput("this key already has an earlier line")
                except BadInput as error:
                    raise BadInput(f"accounts file {path}, line {number}: {error}") from None
                found[key_id] = account
    except OSError as error:
        raise BadInput(f"accounts file {path}: {error.strerror or 'cannot be read'}") from None
    return found
