"""What services refuse at their start, found without starting anything: by the very functions that refuse it there.

Files that are read only when they are used, as the signing key and peers' secrets are, are read here too: whoever checks a
configuration wants to know it now.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from app.enforcement.switches import PolicyFile
from app.errors import BadInput, ConfigError
from app.gateway import account_file
from app.gateway.guard import Guard
from app.gateway.identity import Hasher
from app.gateway.networks import Networks
from app.intel import group_keys, signing
from app.intel.taxii import peers
from app.intel.warning_list import WarningList
from app.main import NEEDS_LOGIN, NEEDS_PEPPER, NEEDS_UPSTREAM, load_model
from app.settings import IntelSettings, Settings
from app.state.factory import parse_addresses
from app.watermark.sources import named, read_registry, read_ring, read_sources

Command: TypeAlias = Literal["serve", "worker", "admin", "all"]
"""A command that runs a service."""


def problems(settings: Settings) -> list[str]:
    """Values that fit the settings' own rules and nothing else: a sentence for each, which begins with the setting.

    Reads the files that are named, whole.
    """
    identity = settings.identity
    hasher = Hasher(identity.pepper.get_secret_value())
    checks: list[tuple[str, Callable[[], object]]] = [("", lambda: Guard(settings.gateway, identity))]
    if settings.state.redis_url:
        checks.append(("", lambda: parse_addresses(settings.state.redis_url, cluster=settings.state.cluster)))
    if (accounts := identity.accounts_file) is not None:
        checks.append(("identity.accounts_file: ", lambda: account_file.load(accounts, hasher)))
    if (policy := settings.control.policy_file) is not None:
        checks.append(("control.policy_file: ", PolicyFile(policy).changed))
    if (networks := identity.networks_file) is not None:
        checks.append(("identity.networks_file: ", lambda: Networks.load(networks)))
    watermark = settings.watermark
    if watermark.on:
        checks.append(("", lambda: named(watermark, read_sources(watermark))))
    else:
        if watermark.profiles_file:
            checks.append(("", lambda: read_registry(watermark)))
        if watermark.secrets_file or watermark.secrets.get_secret_value():
            checks.append(("", lambda: read_ring(watermark)))
    checks += _of_sharing(settings.intel)
    checks.append(("", lambda: load_model(settings)))
    found = []
    for place, check in checks:
        try:
            check()
        except (ConfigError, BadInput) as error:
            found.append(f"{place}{error}")
    return found


def _of_sharing(intel: IntelSettings) -> list[tuple[str, Callable[[], object]]]:
    """Checks of the files of `[intel]`: for each what its error begins with, and what raises it."""
    checks: list[tuple[str, Callable[[], object]]] = [
        ("", lambda: group_keys.load(intel.keys_dir)),
        ("", lambda: WarningList.load(intel.warning_list_file)),
    ]
    if (key := intel.signing_key_file) is not None:
        checks.append(("", lambda: signing.read_private(key)))
    if (file := intel.peers_file) is not None:
        checks.append(("", lambda: _read_peers(file)))
    return checks


def _read_peers(file: Path) -> None:
    for peer in peers.load(file):
        try:
            if peer.secret_file:
                peer.secret()
        except ConfigError as error:
            raise ConfigError(f"intel.peers_file: {error}") from None


def missing(settings: Settings) -> list[tuple[Command, str]]:
    """What has no default and is not set: (the command that needs it, a sentence that says how to set it)."""
    needs: list[tuple[str, Command, str]] = [
        (settings.gateway.upstream, "serve", NEEDS_UPSTREAM),
        (settings.identity.pepper.get_secret_value(), "serve", NEEDS_PEPPER),
        (settings.admin.token.get_secret_value(), "admin", NEEDS_LOGIN),
    ]
    return [(command, sentence) for value, command, sentence in needs if not value]
