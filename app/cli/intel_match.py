"""intel match: which keys show what other providers share, now or in the archive of the last days, or by addresses."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import intel_match_identities, local_state
from app.cli.acting import counted, print_json, read_bytes, when
from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, err, out, plain_table, settle
from app.cli.inputs import Quiet
from app.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from app.intel.from_bundle import Taken
    from app.intel.local_view import Known
    from app.settings import Settings
    from detectors.sharing.tokens import GroupKey

INTERRUPTED = 130
PAGE = 500
"""Keys of one answer of the admin API."""


def match(
    days: Annotated[
        int | None,
        typer.Option(
            "--days",
            "-d",
            min=1,
            max=3650,
            help="Look into the archive, so many days back from its newest exchange. Default: what keys show now, from the "
            "admin API.",
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(file_okay=False, metavar="DIR", help="The archive; default: the configured one.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Look for the indicators of this STIX bundle instead of the received ones."),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Trust group whose keys the bundle, or shared accounts, were made with; needed where there are several.",
        ),
    ] = "",
    identities: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Which of these accounts others have shared: a line each, key id, a space, address. Addresses are hashed "
            "here and go nowhere.",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, metavar="FILE", help="Write every key there, as JSON Lines."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many keys in the table.")
    ] = 100,
    as_json: AsJson = False,
    quiet: Quiet = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List the keys that show what other providers share: who reported it, since when, and what they have taken since.

    With --identities: which of the accounts in a file others have shared; only key ids are printed, never an address.
    Ctrl-C ends a look into the archive with what was found until then, and status 130.

    Example: [bold]stillwatch intel match --days 30 --out hits.jsonl[/bold]
    """
    whole = True
    if target is not None:
        _write(target, ())  # before the long part and not after it
    if identities is not None:
        why = "is for the archive, which knows no address: leave out --identities"
        _without({"--days": days, "--archive": archive, "--bundle": bundle}, why)
        found = intel_match_identities.matched(settle(config, sets), identities, group, quiet)
    elif days is None:
        why = "is for the archive: say with --days how far back to look"
        _without({"--archive": archive, "--bundle": bundle, "--group": group or None}, why)
        found = list(connect(config, sets, url).rows("/v1/intel/hits", "hits", page=PAGE))
    else:
        found, whole = _past(settle(config, sets), days, archive, bundle, group, quiet)
    if target is not None:
        _write(target, found)
    if as_json:
        print_json(found)
    elif not found:
        out.print("No key shows anything of what is looked for.")
    elif identities is not None:
        intel_match_identities.show(found[:limit])
    else:
        _show(found[:limit], past=days is not None)
    if not as_json and len(found) > limit:
        err.print(f"{len(found) - limit:,} more keys: --limit or --out", soft_wrap=True)
    if not whole:
        raise typer.Exit(INTERRUPTED)


def _without(options: dict[str, object], why: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option}: {why}")


def _past(
    settings: Settings, days: int, archive: Path | None, bundle: Path | None, group: str, quiet: bool
) -> tuple[list[dict[str, Any]], bool]:
    from app.gateway.identity import Hasher
    from app.intel import group_keys, local_view, retro
    from app.intel.networks import Places, networks_of_systems
    from app.intel.warning_list import WarningList
    from app.intel.watch import Watch
    from app.offline.progress import meter

    if group and bundle is None:
        raise ConfigError("--group: names the trust group of a --bundle; received indicators have theirs")
    keys = {name: group_keys.by_epoch(ring) for name, ring in group_keys.load(settings.intel.keys_dir).items()}
    now_us = time.time_ns() // 1000
    taken = None if bundle is None else _taken(bundle, group, keys, now_us)
    partitions = settings.state.partitions
    view = local_view.Looked()
    # A copy of an archive and a bundle may be looked at where no service runs; then nothing is known of keys beside.
    ours = local_state.exists(settings) or taken is None
    if ours:
        view = local_state.ask(settings, lambda client: local_view.looked_for(client, partitions))
    held, standings = (view.held, view.standings) if taken is None else (taken.held, taken.standings)
    pepper = settings.identity.pepper.get_secret_value()
    places = Places(Hasher(pepper) if pepper else None, networks_of_systems(settings.identity.networks_file))
    watch = Watch(held, standings, keys, places, WarningList.load(settings.intel.warning_list_file).without, now_us)
    if not len(watch):
        raise BadInput(_nothing(settings, len(watch.held), bundle, view.common))
    with meter(None if quiet else err, "exchanges") as progress:
        looked = retro.look_back(archive or settings.archive_dir, days, watch, view.erased, now_us, progress)
    known: dict[str, Known] = {}
    if ours and looked.found:
        names = [one.key_id for one in looked.found]
        known = local_state.ask(settings, lambda client: local_view.known_of(client, partitions, names))
    found = retro.weighed(looked, watch, known, now_us)
    files = f"{looked.files:,} of {counted(looked.of_files, 'file')}"
    read = f"{files}, {looked.rows:,} exchanges of {counted(looked.keys, 'key')}"
    if not looked.whole:
        err.print(f"Interrupted: this is what was found in {read}.", soft_wrap=True)
    elif not quiet:
        left = f", without {view.common:,} that settled customers show" if view.common and taken is None else ""
        looked_for = f"looked for {counted(len(watch), 'indicator')}{left}"
        err.print(f"{counted(len(found), 'key')} among {read}; {looked_for}.", soft_wrap=True)
    return found, looked.whole


def _taken(bundle: Path, group: str, keys: dict[str, Any], now_us: int) -> Taken:
    from app.intel import from_bundle

    if not keys:
        raise ConfigError("intel.keys_dir: must hold the keys of the trust group that the bundle was made in")
    if not group and len(keys) > 1:
        raise ConfigError(f"--group: must say which trust group the bundle is of: {', '.join(sorted(keys))}")
    name = group or next(iter(keys))
    if name not in keys:
        raise ConfigError(
            f"--group: intel.keys_dir has no keys of {name[:64]!r}; it has those of {', '.join(sorted(keys))}"
        )
    try:
        taken = from_bundle.taken(read_bytes(bundle, from_bundle.MAX_BYTES), name, now_us)
    except BadInput as error:
        raise BadInput(f"--bundle {bundle}: {error}") from None
    if not taken.held:
        refused = f"; {counted(taken.refused, 'object')} broke a rule" if taken.refused else ""
        raise BadInput(f"--bundle {bundle}: holds no indicator that counts now{refused}")
    _warn(bundle, taken, keys[name])
    return taken


def _warn(bundle: Path, taken: Taken, keys: dict[str, GroupKey]) -> None:
    """Says what cannot be compared; refuses where that is everything."""
    from app.intel.from_bundle import misfit
    from detectors.sharing.indicator import PLAIN

    why = misfit(taken.held, keys)
    if why and not any(one.indicator.kind in PLAIN or one.indicator.epoch in keys for one in taken.held):
        raise BadInput(f"--bundle {bundle}: nothing can be compared: {why}")
    if why:
        err.print(f"note: {why}; they are left out", soft_wrap=True, markup=False)
    if taken.refused:
        err.print(f"note: {counted(taken.refused, 'object')} of the bundle broke a rule", soft_wrap=True)


def _nothing(settings: Settings, held: int, bundle: Path | None, common: int) -> str:
    """Why nothing is looked for."""
    if not held and common and bundle is None:
        return f"indicators: settled customers show {counted(common, 'indicator')}, and no other one counts now"
    if not held:
        whose = "of the bundle " if bundle is not None else ""
        return f"indicators: none {whose}counts now: nothing was received, or it has ended or was taken back"
    if settings.intel.keys_dir is None:
        return f"intel.keys_dir: is not set, so none of {counted(held, 'indicator')} can be compared"
    return (
        f"intel.keys_dir: has no secret of the epochs of {counted(held, 'indicator')}, and without identity.pepper or "
        "identity.networks_file networks are not compared either"
    )


def _write(target: Path, found: Sequence[dict[str, Any]]) -> None:
    try:
        with target.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in found)
    except OSError as error:
        raise BadInput(f"--out {target}: {error.strerror or 'cannot be written'}") from None


def _member(who: Any) -> str:
    """Of a reporter: the admin API tells more of it than a look into the archive."""
    return str(who["member"] if isinstance(who, dict) else who)


def _show(found: Sequence[dict[str, Any]], past: bool) -> None:
    rows = []
    for one in found:
        seen = one["seen"]
        first = one["first"] if past else min((some["first"] for some in seen), default=None)
        row = [
            one["key_id"],
            one["effect"] + (f" ({said})" if (said := one["excuse"] or one.get("acted")) else ""),
            f"{one['score']:.1f}",
            when(first),
            ", ".join(sorted({some["kind"] for some in seen})),
            ", ".join(sorted({f"{some['group']}/{_member(who)}" for some in seen for who in some["reporters"]})),
            one["local"],
        ]
        if past:
            row[4:4] = [f"{one['taken']:,}"]
        rows.append(row)
    heads = ["key", "effect", "score", "first shown", "kinds", "reported by", "our own"]
    plain_table(rows, [*heads[:4], "responses since", *heads[4:]] if past else heads)
