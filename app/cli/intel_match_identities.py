"""intel match --identities: which of our own accounts others have shared as hashes; addresses stay where they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.cli import local_state
from app.cli.acting import counted
from app.cli.common import err, plain_table
from app.cli.intel_accounts import read_accounts
from app.errors import BadInput, ConfigError
from app.settings import Settings

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Some millions of accounts."""


def matched(settings: Settings, path: Path, group: str, quiet: bool) -> list[dict[str, Any]]:
    """The keys whose accounts were shared, as `app.intel.identities.weighed` tells them.

    Raises:
        ConfigError: the group's keys are not there.
        BadInput: the file cannot be read or a line is wrong; nothing that can be compared is held.
        StateUnavailable: the state server is away.
    """
    from app.intel import group_keys, identities, local_view
    from app.intel.networks import Places
    from app.intel.warning_list import WarningList
    from app.intel.watch import Watch

    rings = group_keys.load(settings.intel.keys_dir)
    if not group and len(rings) != 1:
        raise ConfigError("--group: must say whose keys the addresses are hashed with")
    group = group or next(iter(rings))
    if group not in rings:
        raise ConfigError(f"--group: intel.keys_dir has no keys of {group[:64]!r}")
    keys = group_keys.by_epoch(rings[group])
    _, accounts = read_accounts(path, MAX_FILE_BYTES)
    partitions = settings.state.partitions
    view = local_state.ask(settings, lambda client: local_view.looked_for(client, partitions))
    now_us = time.time_ns() // 1000
    sought = identities.sought(view.held, group, keys, now_us)
    if not sought:
        raise BadInput(f"indicators: none of {group} names accounts now, under an epoch whose secret is in intel.keys_dir")
    pairs = [(one["key_id"], one["address"]) for one in accounts if one["key_id"] not in view.erased]
    found = identities.compared(pairs, sought, keys, now_us)
    known = {}
    if found:
        known = local_state.ask(settings, lambda client: local_view.known_of(client, partitions, list(found)))
    watch = Watch(sought, view.standings, {}, Places(), WarningList.load(None).without, now_us)
    rows = identities.weighed(found, watch, known, now_us)
    if not quiet:
        tokens = sum(len(one.indicator.tokens) for one in sought)
        read = f"{counted(len(rows), 'key')} among {counted(len(pairs), 'account')}"
        err.print(f"{read}; compared with {counted(tokens, 'shared account')}.", soft_wrap=True)
    return rows


def show(found: Sequence[dict[str, Any]]) -> None:
    """As a table."""
    rows = [
        (
            one["key_id"],
            f"{one['score']:.1f}",
            ", ".join(sorted({f"{seen['group']}/{name}" for seen in one["seen"] for name in seen["reporters"]})),
            ", ".join(sorted({seen["campaign"] for seen in one["seen"]} - {""})),
            one["local"] or one["excuse"],
        )
        for one in found
    ]
    plain_table(rows, ("key", "score", "reported by", "campaign", "our own"))
