"""The keys of trust groups, from files that only their owner can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.errors import ConfigError
from app.watermark.sources import private_text
from detectors.sharing.tokens import GroupKey
from detectors.watermark.keys import KeyRing

MAX_BYTES = 1 << 16


def load(folder: Path | None) -> dict[str, KeyRing]:
    """Trust group → its secrets by epoch; empty without a folder.

    Raises:
        ConfigError: the folder or a file of it cannot be read, others may read it, or it is not as it must be. No secret is
            in the message.
    """
    if folder is None:
        return {}
    try:
        files = sorted(folder.glob("*.json"))
        if not folder.is_dir():
            raise ConfigError(f"intel.keys_dir: {folder} is no folder")
    except OSError as error:
        raise ConfigError(f"intel.keys_dir: {folder}: {error.strerror}") from None
    found = {}
    for file in files:
        try:
            found[file.stem] = KeyRing.parse(private_text(file, f"intel.keys_dir: {file}"))
        except ValueError as error:
            raise ConfigError(f"intel.keys_dir: {file}: {error}") from None
    return found


def by_epoch(ring: KeyRing | None) -> Mapping[str, GroupKey]:
    """Epoch → key of one group."""
    return {} if ring is None else {epoch: GroupKey(ring.of(epoch)) for epoch in ring.epochs}
