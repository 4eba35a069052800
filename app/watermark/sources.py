"""The profiles and master secrets that the settings name, read and checked against each other. No error shows a secret."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from app.errors import ConfigError
from app.settings import WatermarkSettings
from detectors.watermark.keys import KeyRing
from detectors.watermark.registry import WORDS, MarkProfile, Registry

MAX_BYTES = 1024 * 1024
"""Of either file; a thousand profiles are a quarter of it."""


class Sources(NamedTuple):
    """What marks are made and looked for with."""

    registry: Registry
    ring: KeyRing


def read_sources(settings: WatermarkSettings) -> Sources:
    """Both of them.

    Raises:
        ConfigError: one is not configured, cannot be read, or breaks a rule.
    """
    return Sources(read_registry(settings), read_ring(settings))


def read_registry(settings: WatermarkSettings) -> Registry:
    """All profiles.

    Raises:
        ConfigError: as `read_sources`.
    """
    place = "watermark.profiles_file"
    if settings.profiles_file is None:
        raise ConfigError(f"{place} must be set to the file of the profiles")
    try:
        return Registry.parse(_text(place, settings.profiles_file))
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None


def read_ring(settings: WatermarkSettings) -> KeyRing:
    """The master secrets.

    Raises:
        ConfigError: as `read_sources`; or others than its owner may read the file.
    """
    text, place = settings.secrets.get_secret_value(), "watermark.secrets"
    if settings.secrets_file is not None:
        place = "watermark.secrets_file"
        _demand_private(place, settings.secrets_file)
        text = _text(place, settings.secrets_file)
    if not text:
        raise ConfigError("watermark.secrets_file must be set to the file of the master secrets")
    try:
        return KeyRing.parse(text)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None


def named(settings: WatermarkSettings, sources: Sources) -> tuple[list[MarkProfile], list[MarkProfile]]:
    """The profiles that are to be marked with: (by the engine, by choice).

    Raises:
        ConfigError: one is not there, is of another scheme, or its epoch has no secret.
    """
    marked = _profiles("watermark.profile", settings.profile, sources, ("gumbel", "green"))
    chosen = _profiles("watermark.choice_profile", settings.choice_profile, sources, ("choice",))
    for profile in chosen:
        if profile.tokenizer != WORDS:
            raise ConfigError(
                f"watermark.choice_profile: {profile.id}: tokenizer must be {WORDS}: a gateway sees no tokens"
            )
    return marked, chosen


def _profiles(place: str, names: Sequence[str], sources: Sources, schemes: tuple[str, ...]) -> list[MarkProfile]:
    found = []
    for name in names:
        try:
            profile = sources.registry.of(name)
            sources.ring.of(profile.epoch)
        except ValueError as error:
            raise ConfigError(f"{place}: {str(error).removeprefix('profile: ')}") from None
        if profile.scheme not in schemes:
            raise ConfigError(f"{place}: {profile.id}: scheme must be {' or '.join(schemes)}, and is {profile.scheme}")
        found.append(profile)
    return found


def private_text(path: Path, place: str) -> str:
    """A file of secrets, which nobody but its owner may read.

    Raises:
        ConfigError: it cannot be read, others may read it, or it is no text; `place` names the setting.
    """
    _demand_private(place, path)
    return _text(place, path)


def _demand_private(place: str, path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror or 'cannot be read'}") from None
    if mode & 0o077:
        raise ConfigError(f"{place}: others than its owner may read it, mode {mode:04o}; it must be 0600 or 0400")


def _text(place: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror or 'cannot be read'}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{place}: must be at most {MAX_BYTES:,} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: is no UTF-8 text") from None
