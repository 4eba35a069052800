"""Runs of investigations: one after the other, each in a process of its own, so that no answer waits for one.

The process (`app.watermark.jobs`) is told what to do over its standard input, which stays open: when the admin process
ends, however it ends, that process ends too. What it has done is on disk, and the next one goes on from there; at a start
of the admin process whatever was running or waiting goes on by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from contextlib import suppress

import msgspec

from app.admin.watermark_folders import Folders, Investigation
from app.errors import Conflict, StillwatchError
from app.settings import Settings
from app.state.waiting import end
from app.watermark.jobs import Failed, Finished, Job, Progress, Said
from app.watermark.store import read_manifest

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Processes at most for a run: what ends every one of them, as too little memory does, is a failure."""

AGAIN_SEC = 30.0
"""Pause where not even a failure can be recorded."""

SWEEP_SEC = 3600.0
"""Between two looks at what has been kept long enough."""

_LINE_BYTES = 1 << 16
_SAID = msgspec.json.Decoder(Said)


class Runs:
    """Of one admin process, over the folders of its settings."""

    def __init__(self, settings: Settings, folders: Folders) -> None:
        self._settings = settings
        self._folders = folders
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._running = ""
        self._over = asyncio.Event()
        self._dropped: set[str] = set()
        self._progress: dict[str, Progress] = {}

    @property
    def process_id(self) -> int | None:
        """Of the process of the run that is on."""
        return None if self._process is None else self._process.pid

    def progress(self, name: str) -> Progress | None:
        """How far the run of an investigation is; None where none is on in this process."""
        return self._progress.get(name)

    def start(self) -> None:
        """Go on with what is not over. Where another admin process works in the folder, that one does."""
        self._task = asyncio.create_task(self._work())

    def look(self) -> None:
        """Something may have come up."""
        self._wake.set()

    async def stop(self) -> None:
        """The run that is on ends here, and goes on at the next start."""
        if self._task is not None:
            await end(self._task)
        self._folders.release()

    async def queue(self, one: Investigation, fwer: float, tenants: list[str], groups: dict[str, str]) -> Investigation:
        """The investigation is run when those before it are over.

        Args:
            one: of this folder; its data set or its evidence is there.
            fwer: probability that any innocent is named, at most.
            tenants: who are asked about.
            groups: tenant → its campaign.
        """
        await asyncio.to_thread(self._folders.write_roll, one, tenants, groups)
        made = await asyncio.to_thread(
            lambda: self._folders.put(
                one,
                stage="queued",
                error="",
                fwer=fwer,
                attempts=0,
                tenants=len(tenants),
                groups=len(set(groups.values())),
            )
        )
        self._wake.set()
        return made

    async def drop(self, one: Investigation) -> None:
        """Erase an investigation; a run of it that is on ends first."""
        self._dropped.add(one.id)
        try:
            if self._running == one.id:
                over = self._over
                if self._process is not None:
                    with suppress(ProcessLookupError):
                        self._process.kill()
                await over.wait()
            await asyncio.to_thread(self._folders.erase, one)
        finally:
            self._dropped.discard(one.id)

    async def _work(self) -> None:
        swept = 0.0
        recovered = False
        while True:
            self._wake.clear()
            if not recovered:
                recovered = await self._recover()
            if recovered and time.monotonic() - swept > SWEEP_SEC:
                swept = time.monotonic()
                erased = await asyncio.to_thread(self._folders.sweep, time.time_ns() // 1000)
                if erased:
                    log.info("%d investigations were kept long enough and are erased", erased)
            one = await asyncio.to_thread(self._next) if recovered else None
            if one is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), SWEEP_SEC)
                continue
            self._running, self._over = one.id, asyncio.Event()
            try:
                await self._run(one)
            except Exception as error:  # a full disk, too many processes: told, and not tried again at once
                what = (isinstance(error, OSError) and error.strerror) or type(error).__name__
                log.error("an investigation could not be run: %s", what)
                try:
                    await self._failed(one, f"the run could not be started or recorded: {what}")
                except OSError:
                    await asyncio.sleep(AGAIN_SEC)
            finally:
                self._running = ""
                self._progress.pop(one.id, None)
                self._over.set()

    async def _recover(self) -> bool:
        """What ran when an admin process ended waits again. False where another one works here, or there is nothing."""
        if not self._folders.owned and not self._folders.root.is_dir():
            return False  # nothing was ever made; the folder comes with the first one
        try:
            self._folders.own()
        except StillwatchError as error:
            if isinstance(error, Conflict):
                log.warning("watermark.investigations_dir: %s", error)
            else:
                log.error("%s", error)
            return False
        for one in await asyncio.to_thread(self._folders.all):
            if one.stage == "running":
                await asyncio.to_thread(self._queued, one)
        return True

    def _queued(self, one: Investigation) -> Investigation:
        return self._folders.put(one, stage="queued")

    def _next(self) -> Investigation | None:
        waiting = [one for one in self._folders.all() if one.stage == "queued" and one.id not in self._dropped]
        return min(waiting, key=lambda one: one.changed_us, default=None)

    async def _run(self, one: Investigation) -> None:
        one = await asyncio.to_thread(lambda: self._folders.put(one, stage="running", attempts=one.attempts + 1))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.watermark.jobs",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a trace of an error might quote the data set
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
            limit=_LINE_BYTES,
        )  # fmt: skip
        self._process = process
        try:
            said = await self._follow(process, one)
        except asyncio.CancelledError:
            # The admin process ends: this does not count against the run.
            self._folders.put(one, stage="queued", attempts=one.attempts - 1)
            raise
        finally:
            self._process = None
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if one.id in self._dropped:
            return
        if isinstance(said, Finished):
            await asyncio.to_thread(self._folders.drop_text, one)
            await asyncio.to_thread(lambda: self._folders.put(one, stage="done"))
        elif isinstance(said, Failed):
            await self._failed(one, said.error)
        elif one.attempts < ATTEMPTS:
            log.warning("the process that ran an investigation was ended (%s); another one goes on", process.returncode)
            await asyncio.to_thread(self._queued, one)
        else:
            await self._failed(one, f"{ATTEMPTS} processes one after the other were ended from outside, as without memory")

    async def _failed(self, one: Investigation, error: str) -> None:
        """It is over without a report. The data set goes where its evidence is whole, else a next run needs it."""
        with suppress(StillwatchError):
            manifest = await asyncio.to_thread(read_manifest, self._folders.store(one))
            if manifest is not None and manifest.whole:
                await asyncio.to_thread(self._folders.drop_text, one)
        await asyncio.to_thread(lambda: self._folders.put(one, stage="failed", error=error))

    async def _follow(self, process: asyncio.subprocess.Process, one: Investigation) -> Said | None:
        """What a process says in the end; None where it says nothing."""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(self._job(one)) + b"\n")
            await process.stdin.drain()
        last: Said | None = None
        while line := await process.stdout.readline():
            try:
                last = _SAID.decode(line)
            except msgspec.DecodeError:
                continue
            if isinstance(last, Progress):
                self._progress[one.id] = last
        await process.wait()
        return None if isinstance(last, Progress) else last

    def _job(self, one: Investigation) -> Job:
        watermark = self._settings.watermark
        tenants, groups = self._folders.roll(one)
        return Job(
            name=one.name,
            profile=one.profile,
            corpus=str(self._folders.corpus(one)),
            sha256=one.sha256,
            form=one.form,
            field=one.field,
            texts=one.texts,
            store=str(self._folders.store(one)),
            report=str(self._folders.report(one)),
            tenants=str(tenants),
            groups=str(groups),
            fwer=one.fwer,
            profiles_file=str(watermark.profiles_file or ""),
            secrets_file=str(watermark.secrets_file or ""),
            secrets=watermark.secrets.get_secret_value(),
            tokenizers_dir=str(watermark.tokenizers_dir or ""),
        )
