"""Who is asked about: tenants and, where some were found to be one campaign, their groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.errors import BadInput
from detectors.watermark.attribution import Roster
from detectors.watermark.keys import MasterSecret, codewords, group_codewords
from detectors.watermark.registry import MarkProfile

MAX_NAME_CHARS = 256
MOST = 4_000_000
"""Names on a roll: their codewords take 128 bytes each."""


@dataclass(frozen=True, slots=True)
class Roll:
    """All tenants that codewords were issued to.

    Attributes:
        tenants: each once.
        groups: tenant → group, of those that belong to one.
    """

    tenants: Sequence[str]
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def group_names(self) -> list[str]:
        """Each once, in the order of its first tenant."""
        return list(dict.fromkeys(self.groups[tenant] for tenant in self.tenants if tenant in self.groups))

    def rosters(self, secret: MasterSecret, profile: MarkProfile) -> list[tuple[str, Roster]]:
        """(kind, codewords that are judged on the same positions): tenants alone, tenants in groups, groups."""
        length, symbols = profile.positions, profile.symbols
        alone = [tenant for tenant in self.tenants if tenant not in self.groups]
        grouped = [tenant for tenant in self.tenants if tenant in self.groups]
        groups = self.group_names
        made = [
            ("tenant", Roster(alone, codewords(secret, alone, length, symbols), np.arange(length))),
            ("tenant", Roster(grouped, codewords(secret, grouped, length, symbols), np.arange(length // 2))),
            ("group", Roster(groups, group_codewords(secret, groups, length, symbols), np.arange(length // 2, length))),
        ]
        return [(kind, roster) for kind, roster in made if len(roster.names)]


def roll(tenants: Iterable[str], groups: Mapping[str, str] | None = None) -> Roll:
    """A roll of these tenants; a name that comes twice counts once.

    Raises:
        BadInput: there is none, or too many.
    """
    names = list(dict.fromkeys(tenants))
    if not names:
        raise BadInput("tenants: at least one is needed")
    if len(names) > MOST:
        raise BadInput(f"tenants: must be at most {MOST:,}")
    known = set(names)
    return Roll(names, {tenant: group for tenant, group in (groups or {}).items() if tenant in known and group})


def read_roll(tenants: Path, groups: Path | None = None) -> Roll:
    """Of files: a tenant a line; `tenant,group` a line. Empty lines and those that begin with # are passed over.

    Raises:
        BadInput: a file cannot be read, or a line is none; it is named.
    """
    names = [line for _, line in _lines(tenants)]
    if not names:
        raise BadInput(f"{tenants}: holds no tenant")
    of: dict[str, str] = {}
    known = set(names)
    for number, line in _lines(groups) if groups is not None else ():
        tenant, comma, group = (part.strip() for part in line.partition(","))
        if not (tenant and comma and group):
            raise BadInput(f"{groups}: line {number}: must be a tenant, a comma and its group")
        if tenant not in known:
            raise BadInput(f"{groups}: line {number}: {tenant[:64]!r} is not among the tenants of {tenants}")
        if of.setdefault(tenant, group) != group:
            raise BadInput(f"{groups}: line {number}: {tenant[:64]!r} was given another group before")
    return roll(names, of)


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.decode().strip()
        except UnicodeDecodeError:
            raise BadInput(f"{path}: line {number}: must be UTF-8") from None
        if not line or line.startswith("#"):
            continue
        if len(line) > 2 * MAX_NAME_CHARS or not line.isprintable():
            raise BadInput(f"{path}: line {number}: a name is at most {MAX_NAME_CHARS} printable characters")
        yield number, line
