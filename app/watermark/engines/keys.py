"""The master secrets and profiles that an engine process holds. Neither a printed form nor an error shows a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.watermark.engines.request import PROFILE, MarkRequest
from detectors.watermark.keys import KeyRing
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile, Registry

SECRETS = "STILLWATCH_WATERMARK_SECRETS"
SECRETS_FILE = "STILLWATCH_WATERMARK_SECRETS_FILE"
PROFILES_FILE = "STILLWATCH_WATERMARK_PROFILES_FILE"

MAX_BYTES = 1024 * 1024
"""Of either file; a thousand profiles are a quarter of it."""

MADE_HERE = ("gumbel", "green")
"""Schemes that choose tokens. Marks of the scheme `choice` are made by the gateway, out of finished answers."""


class Marking(NamedTuple):
    """How one answer is marked: the profile, the function under its epoch's secret, the tenant's codeword."""

    profile: MarkProfile
    prf: Prf
    word: NDArray[np.uint8]


class EngineKeys:
    """Profiles by id, each with the pseudo-random function under its epoch's secret.

    Args:
        registry: all profiles; those that an engine does not make are left out.
        ring: the master secrets.

    Raises:
        ValueError: an epoch of a profile has no secret; or there is no profile for an engine.
    """

    def __init__(self, registry: Registry, ring: KeyRing) -> None:
        self._known: dict[str, tuple[MarkProfile, Prf]] = {}
        for profile in registry:
            if profile.scheme in MADE_HERE:
                self._known[profile.id] = (profile, Prf(ring.of(profile.epoch), profile))
        if not self._known:
            raise ValueError(f"profiles: none is of a scheme that an engine makes ({', '.join(MADE_HERE)})")

    def marking(self, request: MarkRequest) -> Marking:
        """How an answer is to be marked; ValueError names the field that does not fit."""
        try:
            profile, prf = self._known[request.profile]
        except KeyError:
            raise ValueError(f"{PROFILE}: this engine has no profile of that name") from None
        return Marking(profile, prf, request.word(profile))

    def __repr__(self) -> str:
        return f"EngineKeys({', '.join(self._known)})"


def from_environment(environ: Mapping[str, str]) -> EngineKeys:
    """Read from the files that an engine's environment names.

    Args:
        environ: with the path of the profiles, and with either the secrets (JSON: epoch → hexadecimal digits) or the
            path of a file of them that only its owner may read.

    Raises:
        ValueError: a variable is missing, a file cannot be read or is open to others, or its content breaks a rule. The
            variable is named; no secret is repeated.
    """
    text, path = environ.get(SECRETS, ""), environ.get(SECRETS_FILE, "")
    if bool(text) == bool(path):
        raise ValueError(f"{SECRETS}: either it or {SECRETS_FILE} must be set, not {'both' if text else 'neither'}")
    place = SECRETS if text else SECRETS_FILE
    if path:
        text = _text(place, Path(path), private=True)
    if not environ.get(PROFILES_FILE):
        raise ValueError(f"{PROFILES_FILE}: must be set to the file of the profiles")
    try:
        ring = KeyRing.parse(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    try:
        registry = Registry.parse(_text(PROFILES_FILE, Path(environ[PROFILES_FILE]), private=False))
        return EngineKeys(registry, ring)
    except ValueError as error:
        said = str(error).removeprefix(f"{PROFILES_FILE}: ")
        raise ValueError(f"{PROFILES_FILE}: {said}") from None


@lru_cache(maxsize=1)
def of_this_process() -> EngineKeys:
    """Of the process's own environment, read once. ValueError as `from_environment`."""
    return from_environment(os.environ)


def _text(place: str, path: Path, *, private: bool) -> str:
    try:
        with path.open("rb") as file:
            # Of the open file, so that nobody can change it between the question and the reading.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and mode & 0o077:
                raise ValueError(f"{place}: others than its owner may read it, mode {mode:04o}; it must be 0600 or 0400")
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{place}: {error.strerror or 'cannot be read'}") from None
    if len(raw) > MAX_BYTES:
        raise ValueError(f"{place}: must be at most {MAX_BYTES:,} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{place}: is no UTF-8 text") from None
