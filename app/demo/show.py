"""The sequence of the demonstration: a past, a model, the processes, live traffic, a table, and where to look next."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeAlias

from rich.console import Console

from app import main
from app.demo import cast, grouped, history, screen
from app.demo.findings import Finding, Observer, shortfall
from app.demo.stage import Ground, Stage, check_borrowed
from app.demo.would_have import would_have
from app.errors import ConfigError, StillwatchError
from app.gateway.identity import Hasher
from app.main import unless
from app.offline import progress
from app.simulate.traffic.player import Player
from app.simulate.traffic.population import Client

LOOK_EVERY_SEC = 1.5
PATIENCE_SEC = 30.0
"""How much longer traffic may run while an attacker is not flagged yet: a busy machine sends less in the same time."""

CATCH_UP_SEC = 20.0
_Until: TypeAlias = Callable[[Sequence[Finding], float], bool]
INTERRUPTED = 130
MISSED = 1
"""Status when an attacker was missed or an honest key was acted on."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    once: bool
    seconds: float
    seed: int
    keep: Path | None
    shadow: bool = False


def run(wish: Wish) -> int:
    """Run the demonstration; returns the exit status.

    Raises:
        StillwatchError: something could not be started, or ended by itself.
    """
    view = screen.console()
    with _terminable(), _folder(wish.keep, view) as (folder, leave):
        ground = Ground.new(folder, os.environ.get("STILLWATCH_REDIS_URL", ""), "shadow" if wish.shadow else "enforce")
        asyncio.run(check_borrowed(ground))
        clients = cast.live(wish.seed)
        past = _past(ground, wish, view)
        show = _Show(wish, ground, clients, past, view)
        main.run(show.live)
        if show.status == MISSED:
            leave()
        return show.status


def _past(ground: Ground, wish: Wish, view: Console) -> history.Past:
    clients = cast.past(wish.seed)
    view.print("Stillwatch, live on this machine.")
    if wish.keep is not None:
        view.print(f"Everything is in {ground.folder}", soft_wrap=True, markup=False)
    folder = ground.folder / "history"
    folder.mkdir()
    with progress.meter(view) as meter:
        past = history.make(folder, clients, ground.settings(), wish.seed, time.time(), meter, cast.last_day(wish.seed))
    found, facts = past.outcome, past.outcome.run
    keys = sum(1 for track in found.ranked if track.requests)
    judged = facts.events - facts.warmup_events
    view.print(
        f"Model {found.model.id} is fitted on {facts.warmup_events:,} exchanges of {len(clients)} honest customers; "
        f"of {keys} keys in the {judged:,} exchanges after that it flags {len(found.flagged)}.",
        soft_wrap=True,
    )
    for line in grouped.told(past, wish.keep is not None):
        view.print(line, soft_wrap=True, markup=False)
    return past


class _Show:
    """The live part."""

    def __init__(self, wish: Wish, ground: Ground, clients: Sequence[Client], past: history.Past, view: Console) -> None:
        self.status = INTERRUPTED
        self._wish = wish
        self._ground = ground
        self._clients = clients
        self._past = past
        self._view = view

    async def live(self, stop: asyncio.Event) -> None:
        """Everything that needs the processes; sets `status`."""
        now = time.time()
        lines = [cast.account(client, client.credential, now) for client in self._clients]
        cast.write_lines(self._ground.accounts_file, lines)
        self._view.print("Starting state server, model API, gateway, worker and admin API …")
        async with Stage(self._ground, self._past.model_dir) as stage:
            if not await unless(stop, stage.start()):
                return
            for name, address in stage.addresses.items():
                self._view.print(f"  {name:<18} {address}", soft_wrap=True)
            broken = asyncio.create_task(stage.broken())
            work = asyncio.create_task(self._traffic(stage, stop))
            await asyncio.wait((broken, work), return_when=asyncio.FIRST_COMPLETED)
            if work.done() and work.exception():
                # A request that was cut off is noticed before the end of the process that should have answered it.
                await asyncio.wait((broken,), timeout=1.0)
            if broken.done():
                work.cancel()
                await asyncio.wait((work,))
                raise StillwatchError(f"{broken.result()}; {stage.last_words()}")
            broken.cancel()
            work.result()

    async def _traffic(self, stage: Stage, stop: asyncio.Event) -> None:
        hasher = Hasher(self._ground.pepper)
        observer = Observer(stage.addresses["admin"], self._ground.token, hasher)
        player = Player(stage.addresses["gateway"], self._clients)
        attackers = sum(client.kind.attack for client in self._clients)
        self._view.print(
            f"Sending traffic of {len(self._clients) - attackers} honest keys and {attackers} attackers through the "
            f"gateway for {self._wish.seconds:.0f} s; policy is {'only counted' if self._wish.shadow else 'enforced'}.",
            soft_wrap=True,
        )
        playing = asyncio.create_task(player.run())
        try:
            await self._watch(observer, player, stop, until=self._enough)
            if stop.is_set():
                return
            if self._wish.once:
                player.stop()
                await playing
                await self._caught_up(observer)
            found = await observer.look(self._clients, player.tallies)
            self._conclude(found)
            if self._wish.shadow:
                await self._report(stage, sum(finding.tally.sent for finding in found))
            self._where_next(found, stage)
            if not self._wish.once:
                self._view.print("\nTraffic goes on. Ctrl-C ends the demonstration.")
                await self._watch(observer, player, stop, until=lambda _findings, _seconds: False)
        finally:
            player.stop()
            await playing
            await observer.close()

    async def _watch(self, observer: Observer, player: Player, stop: asyncio.Event, until: _Until) -> None:
        """Show how it goes until told to stop or `until` says that it is enough."""
        began = time.monotonic()
        with screen.view(self._view) as view:
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_EVERY_SEC)
                findings = await observer.look(self._clients, player.tallies)
                seconds = time.monotonic() - began
                view.show(findings, seconds)
                if until(findings, seconds):
                    return

    def _enough(self, findings: Sequence[Finding], seconds: float) -> bool:
        missed = any(found.client.kind.attack and not found.flagged for found in findings)
        return seconds >= self._wish.seconds + (PATIENCE_SEC if missed else 0)

    async def _caught_up(self, observer: Observer) -> None:
        """Wait until everything that was sent is judged: nothing waits, twice in a row (the gateway appends in batches)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SEC):
                quiet = 0
                while quiet < 2:
                    await asyncio.sleep(0.3)
                    quiet = 0 if await observer.waiting() else quiet + 1

    def _conclude(self, findings: Sequence[Finding]) -> None:
        view = self._view
        view.print()
        screen.result(view, findings)
        wrong = "; ".join(filter(None, (shortfall(findings), grouped.shortfall(self._past))))
        self.status = MISSED if wrong else 0
        limited = sum(found.tally.limited for found in findings if found.client.kind.attack)
        attackers = sum(found.client.kind.attack for found in findings)
        refused = "nothing is done about them" if self._wish.shadow else f"{limited:,} of their requests were refused"
        good = f"All {attackers} attackers are flagged, {refused}, no honest key is acted on."
        view.print(f"[red]Not as it should be: {wrong}.[/]" if wrong else f"[green]{good}[/]", soft_wrap=True)

    async def _report(self, stage: Stage, requests: int) -> None:
        """What policy would have done, as an operator reads it before it is let act."""
        found = await would_have(stage.addresses["admin"], self._ground.token, requests=requests)
        self._view.print()
        self._view.print(found, soft_wrap=True, markup=False)

    def _where_next(self, findings: Sequence[Finding], stage: Stage) -> None:
        lines = [] if self._wish.once else self._while_it_runs(findings, stage)
        if self._wish.keep is not None:
            data, past = self._ground.folder / "data", self._past
            lines += [
                ("the archive", _command("archive", "check", data / "archive")),
                (
                    "judge the past again",
                    _command("replay", past.log, "--accounts", past.accounts, "--out", data / "replay"),
                ),
            ]
            if self._wish.once and not self._ground.redis_url:
                lines.insert(0, ("keys and their levels", _command("keys", "list", "--set", f"state.data_dir={data}")))
        if lines:
            self._view.print("\nWhere to look next:")
        for what, command in lines:
            self._view.print(f"  {what + ':':<28} {command}", soft_wrap=True, markup=False)
        if self._wish.once:
            self._view.print(
                "\nRun it without --once to look around while it runs: flagged keys with their reasons, metrics, and a key "
                "to be a client yourself.",
                soft_wrap=True,
            )

    def _while_it_runs(self, findings: Sequence[Finding], stage: Stage) -> list[tuple[str, str]]:
        """What can be asked of the processes: (what, command)."""
        worst = max(findings, key=lambda found: (found.flagged, found.score))
        admin, token = stage.addresses["admin"], self._ground.token
        return [
            ("flagged keys, with reasons", f"curl -H 'Authorization: Bearer {token}' '{admin}/v1/keys?level=flagged'"),
            ("one of them", f"curl -H 'Authorization: Bearer {token}' {admin}/v1/keys/{worst.key_id}"),
            (
                "what policy does to whom",
                f"STILLWATCH_ADMIN_TOKEN={token} {_command('report', 'would-have', '--admin-url', admin, '--since', '1h')}",
            ),
            ("metrics", f"curl {stage.addresses['gateway metrics']}"),
            ("be a client", _as_client(self._clients[0], stage.addresses["gateway"])),
        ]


def _command(*arguments: str | Path) -> str:
    """A command line of this program, which need not be on PATH."""
    started = Path(sys.argv[0])
    program = started if started.name == "stillwatch" and not shutil.which("stillwatch") else "stillwatch"
    return shlex.join(map(str, (program, *arguments)))


def _as_client(client: Client, gateway: str) -> str:
    body = '{"model": "still-large-2", "messages": [{"role": "user", "content": "Why do stills distil?"}]}'
    return (
        f"curl {gateway}/v1/chat/completions -H 'Authorization: Bearer {client.credential}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


@contextmanager
def _folder(keep: Path | None, view: Console) -> Iterator[tuple[Path, Callable[[], None]]]:
    """(folder of the run, leave): one that was asked for and stays, or one that is removed at the end.

    After a failure, or once `leave` was called, the latter stays too, because it holds the reason; where it is, is said.
    """
    if keep is not None:
        yield _kept(keep), lambda: None
        return
    folder = Path(tempfile.mkdtemp(prefix="stillwatch-demo-"))
    failed = False

    def leave() -> None:
        nonlocal failed
        failed = True

    try:
        yield folder, leave
    except Exception as error:
        failed = not isinstance(error, ConfigError)
        raise
    finally:
        if failed and any(folder.iterdir()):
            log = "; what the processes said is in processes.log" if (folder / "processes.log").exists() else ""
            view.print(f"The folder of the run is kept: {folder}{log}.", soft_wrap=True, markup=False)
        else:
            shutil.rmtree(folder)


def _kept(keep: Path) -> Path:
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise ConfigError(f"--keep {keep}: the folder must be new or empty")
    except OSError as error:
        raise ConfigError(f"--keep {keep}: {error.strerror or 'cannot be used'}") from None
    return keep.resolve()


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that the folder is removed then too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
