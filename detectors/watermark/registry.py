"""Mark profiles: everything that must be known, beside the secret, to make a mark or to look for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Literal, get_args

Scheme = Literal["gumbel", "green", "choice"]
Dedup = Literal["answer", "none"]

WORDS = "words-1"
"""The tokenizer that needs no file: `detectors.watermark.words`."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EPOCH = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_PRFS = ("sw1",)


@dataclass(frozen=True, slots=True)
class MarkProfile:
    """One way of marking, fixed for ever once it was used.

    Attributes:
        id: its name on the wire and in reports.
        scheme: `gumbel` (code-keyed Gumbel-max), `green` (bias towards a keyed list) or `choice` (best of several answers).
        tokenizer: SHA-256 of the tokenizer file in hexadecimal digits, or `words-1`.
        epoch: of the master secret.
        prf: version of the pseudo-random function.
        context_width: tokens that a token's numbers depend on, 1-16. Small survives edits and training, large repeats less.
        positions: symbols in a codeword, 64-1,024 and even; the second half is a group's where a tenant belongs to one.
        symbols: how many there are: a power of two, 2-256.
        coin: share of tokens that carry the model-level mark instead of the tenant's, 0.05-0.75.
        gamma: share of the vocabulary that is green (scheme `green`), between 0 and 1.
        delta: what is added to a green candidate's logit (scheme `green`), above 0 and at most 20.
        dedup: `answer`: a context that came already in this answer is not marked again; `none`: every one is.
        candidates: answers to choose from (scheme `choice`), 2-16.
        valid_from: first day in force, YYYY-MM-DD; empty: always was.
        valid_until: last day in force; empty: no end yet.

    Raises:
        ValueError: a field is not as above; it is named.
    """

    id: str
    scheme: Scheme
    tokenizer: str
    epoch: str
    prf: str = "sw1"
    context_width: int = 4
    positions: int = 128
    symbols: int = 16
    coin: float = 0.1
    gamma: float = 0.5
    delta: float = 2.0
    dedup: Dedup = "answer"
    candidates: int = 4
    valid_from: str = ""
    valid_until: str = ""

    def __post_init__(self) -> None:
        _demand(bool(_ID.fullmatch(self.id)), "id", "1-64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
        _demand(self.scheme in get_args(Scheme), "scheme", "one of gumbel, green, choice")
        _demand(
            self.tokenizer == WORDS or bool(_SHA256.fullmatch(self.tokenizer)),
            "tokenizer",
            f"the SHA-256 of a tokenizer file in 64 hexadecimal digits, or {WORDS}",
        )
        _demand(bool(_EPOCH.fullmatch(self.epoch)), "epoch", "1-32 of a-z, 0-9, '.', '_' and '-'")
        _demand(self.prf in _PRFS, "prf", f"one of {', '.join(_PRFS)}")
        _demand(1 <= self.context_width <= 16, "context_width", "from 1 to 16")
        _demand(64 <= self.positions <= 1024 and self.positions % 2 == 0, "positions", "an even number from 64 to 1,024")
        _demand(self.symbols in (2, 4, 8, 16, 32, 64, 128, 256), "symbols", "a power of two from 2 to 256")
        _demand(0.05 <= self.coin <= 0.75, "coin", "from 0.05 to 0.75")
        _demand(0 < self.gamma < 1, "gamma", "between 0 and 1")
        _demand(0 < self.delta <= 20, "delta", "above 0 and at most 20")
        _demand(self.dedup in get_args(Dedup), "dedup", "answer or none")
        _demand(2 <= self.candidates <= 16, "candidates", "from 2 to 16")
        for name in ("valid_from", "valid_until"):
            _demand(_is_day(getattr(self, name)), name, "a day like 2026-10-01, or empty")
        _demand(
            not (self.valid_from and self.valid_until) or self.valid_from <= self.valid_until,
            "valid_until",
            "not before valid_from",
        )

    def valid_on(self, day: str) -> bool:
        """Whether it is in force on a day, YYYY-MM-DD."""
        return (not self.valid_from or self.valid_from <= day) and (not self.valid_until or day <= self.valid_until)


class Registry:
    """All profiles that marks may have been made with, in the order of their definition."""

    def __init__(self, profiles: Iterable[MarkProfile]) -> None:
        self._profiles: dict[str, MarkProfile] = {}
        for profile in profiles:
            if profile.id in self._profiles:
                raise ValueError(f"profiles: {profile.id} is there twice")
            self._profiles[profile.id] = profile

    @classmethod
    def parse(cls, text: str) -> Registry:
        """Of JSON: `{"profiles": [{"id": …}, …]}`. ValueError names the profile and the field."""
        try:
            read = json.loads(text)
        except ValueError:
            raise ValueError('profiles: not JSON; it must be an object like {"profiles": [{"id": …}]}') from None
        rows = read.get("profiles") if isinstance(read, dict) else None
        if not isinstance(rows, list) or not rows:
            raise ValueError('profiles: must be an object like {"profiles": [{"id": …}]} with at least one profile')
        return cls(_profile(number, row) for number, row in enumerate(rows, 1))

    def dumped(self) -> str:
        """As JSON that `parse` reads."""
        return json.dumps({"profiles": [asdict(profile) for profile in self]}, indent=2) + "\n"

    def of(self, name: str) -> MarkProfile:
        """The profile of this name; ValueError names the ones there are."""
        try:
            return self._profiles[name]
        except KeyError:
            known = ", ".join(self._profiles)
            raise ValueError(f"profile: no profile is called {name[:64]!r}; there are: {known}") from None

    def __iter__(self) -> Iterator[MarkProfile]:
        return iter(self._profiles.values())

    def __len__(self) -> int:
        return len(self._profiles)


_KINDS = {field.name: field.type for field in fields(MarkProfile)}


def _profile(number: int, row: object) -> MarkProfile:
    if not isinstance(row, dict):
        raise ValueError(f"profiles: entry {number} is no object")
    for name, value in row.items():
        if name not in _KINDS:
            raise ValueError(f"profiles: entry {number} has an unknown field {str(name)[:40]!r}")
        kind = _KINDS[name]
        fits = (
            type(value) is int
            if kind == "int"
            else type(value) in (int, float)
            if kind == "float"
            else isinstance(value, str)
        )
        if not fits:
            raise ValueError(f"profiles: entry {number}: {name}: must be {_SAID.get(str(kind), 'a string')}")
    missing = [name for name in ("id", "scheme", "tokenizer", "epoch") if name not in row]
    if missing:
        raise ValueError(f"profiles: entry {number}: {missing[0]}: is missing")
    try:
        return MarkProfile(**row)
    except ValueError as error:
        raise ValueError(f"profiles: entry {number}: {error}") from None


_SAID = {"int": "a whole number", "float": "a number"}


def _demand(fits: bool, field: str, rule: str) -> None:
    if not fits:
        raise ValueError(f"{field}: must be {rule}")


def _is_day(text: str) -> bool:
    if not text:
        return True
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
