"""Cards: every detector as data, with identity, version, false positives, blind spots and what evasion costs.

`scorers/cards/<name>.toml` is the card; `scorers/cards/lock.toml` holds, for every detector, the version together with a
digest of its code and of its card. Code that changed under an unchanged version would make two verdicts of one name and
version differ, so:

    python -m detectors.cards            compares, and says what differs
    python -m detectors.cards --lock     writes the lock; refuses where code changed and the version did not

After Elastic's detection rules, whose identity, version lock and false-positive notes make a detection reviewable.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import msgspec

from detectors.scorers.registry import MODULES

FOLDER = "detectors.scorers"
DIGEST_CHARS = 16


class BadCard(ValueError):
    """A card or the lock breaks a rule; the message names file and rule."""


class Technique(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A technique of MITRE ATLAS."""

    id: str
    name: str


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One detector.

    Attributes:
        uuid: identity for ever, whatever it is called.
        status: stable, experimental or deprecated.
        kind: rule, learned, peers or account.
        finds: what it is looking for, in a sentence.
        how: how it decides.
        abstains: when it says nothing.
        sources: papers, advisories and code it rests on.
        differs: where it departs from them, and why.
        false_positives: honest customers that may look alike.
        blind_spots: what it cannot see.
        evasion: ways around it.
        evasion_cost: free, cheap, costly or prohibitive for the attacker, by the cheapest of them that keeps the harvest
            useful.
        response: what to do about a finding.
    """

    uuid: str
    name: str
    version: str
    status: str
    kind: str
    atlas: tuple[Technique, ...]
    finds: str
    how: str
    abstains: str
    sources: tuple[str, ...]
    differs: str
    false_positives: tuple[str, ...]
    blind_spots: tuple[str, ...]
    evasion: tuple[str, ...]
    evasion_cost: str
    response: str


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a version was when it was locked."""

    version: str
    code: str
    card: str


CHOICES = {
    "status": ("stable", "experimental", "deprecated"),
    "kind": ("rule", "learned", "peers", "account"),
    "evasion_cost": ("free", "cheap", "costly", "prohibitive"),
}


def card(name: str) -> Card:
    """The card of a detector.

    Raises:
        BadCard: there is none, or it breaks the schema.
    """
    path = files(FOLDER) / "cards" / f"{name}.toml"
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Card)
    except OSError:
        raise BadCard(f"cards/{name}.toml: there is no card") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCard(f"cards/{name}.toml: {error}") from None
    if found.name != name:
        raise BadCard(f"cards/{name}.toml: name is {found.name}, not that of the file")
    for field, allowed in CHOICES.items():
        if getattr(found, field) not in allowed:
            raise BadCard(f"cards/{name}.toml: {field} is {getattr(found, field)!r}, not one of {', '.join(allowed)}")
    return found


def cards() -> list[Card]:
    """Of every detector, in the order in which they are named in the registry.

    Raises:
        BadCard: one is missing or breaks the schema, or two share an identity.
    """
    found = [card(name) for name in MODULES]
    if len({one.uuid for one in found}) != len(found):
        raise BadCard("cards: two detectors share a uuid")
    return found


def lock() -> dict[str, Locked]:
    """What was locked.

    Raises:
        BadCard: the lock is missing or is none.
    """
    try:
        return msgspec.toml.decode((files(FOLDER) / "cards" / "lock.toml").read_bytes(), type=dict[str, Locked])
    except (OSError, msgspec.DecodeError) as error:
        raise BadCard(f"cards/lock.toml: {type(error).__name__}") from None


def present() -> dict[str, Locked]:
    """What would be locked now."""
    out = {}
    for one in cards():
        code = b"".join((files(FOLDER) / f"{module}.py").read_bytes() for module in MODULES[one.name])
        text = (files(FOLDER) / "cards" / f"{one.name}.toml").read_bytes()
        out[one.name] = Locked(one.version, _digest(code), _digest(text))
    return out


def differences(locked: dict[str, Locked], now: dict[str, Locked]) -> list[str]:
    """One sentence for every detector that is not what was locked."""
    out = [f"{name}: was locked and is gone" for name in locked if name not in now]
    for name, one in now.items():
        known = locked.get(name)
        if known is None:
            out.append(f"{name}: is not locked")
        elif known != one:
            what = "code" if known.code != one.code else "card"
            out.append(f"{name}: its {what} changed since version {known.version} was locked")
    return out


def refused(locked: dict[str, Locked], now: dict[str, Locked]) -> list[str]:
    """What must not be locked: other code under the same version."""
    return [
        f"{name}: its code changed and its version is still {one.version}; raise it in the code and in the card"
        for name, one in now.items()
        if name in locked and locked[name].code != one.code and locked[name].version == one.version
    ]


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:DIGEST_CHARS]


def _written(entry: tuple[str, Locked]) -> str:
    name, one = entry
    return f'[{name}]\nversion = "{one.version}"\ncode = "{one.code}"\ncard = "{one.card}"\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares, or locks."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        now = present()
        if given == ["--lock"]:
            try:
                before = lock()
            except BadCard:
                before = {}
            wrong = refused(before, now)
            if not wrong:
                path = Path(str(files(FOLDER) / "cards" / "lock.toml"))
                path.write_text("\n".join(map(_written, now.items())))
        else:
            wrong = differences(lock(), now)
    except BadCard as error:
        wrong = [str(error)]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
