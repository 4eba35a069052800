"""Several processes as one: started in order, each told to begin only when the one before it serves, stopped in reverse.

A child gets its settings as one JSON line on its standard input and answers on its standard output with one line, when it
is ready or cannot be. The open input is its life line: it ends when its parent does, however the parent ends. Secrets are
neither on a command line nor in an environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec
from pydantic import BaseModel, SecretStr

from app.errors import ConfigError, StateUnavailable, StillwatchError
from app.main import Addresses, Ready, run, unless
from app.settings import Settings

log = logging.getLogger(__name__)

START_SEC = 60.0
"""Longest wait for a child to be ready; a state server that reads large files takes its time."""

_ROOT = str(Path(__file__).resolve().parent.parent)
_LINE_BYTES = 16 * 1024 * 1024
_KINDS: dict[str, type[StillwatchError]] = {
    kind.__name__: kind for kind in (ConfigError, StateUnavailable, StillwatchError)
}

Output: TypeAlias = IO[bytes] | None
"""Where a child's log goes; None: to ours."""


class Child:
    """One process of the tree.

    Attributes:
        name: for messages.
        addresses: where it serves; set once it is ready.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.addresses: Addresses = {}
        self._process = process

    @classmethod
    async def start(cls, name: str, role: str, settings: Settings, *, output: Output = None) -> Child:
        """Start `role` ("module:function", as `app.main.Role`) and wait until it serves.

        Raises:
            StillwatchError: the child's own sentence, or that it ended or took too long.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "app.processes",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=output, limit=_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))},
            start_new_session=True,  # an interrupt at the terminal reaches the parent, which stops the tree in its order
        )  # fmt: skip
        child = cls(name, process)
        try:
            await child._begin({"name": name, "role": role, "settings": revealed(settings)})
        except BaseException:
            await child.stop(grace_sec=5.0)
            raise
        return child

    async def _begin(self, order: dict[str, Any]) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(msgspec.json.encode(order) + b"\n")
        try:
            async with asyncio.timeout(START_SEC):
                line = await stdout.readline()
        except TimeoutError:
            raise StillwatchError(f"the {self.name} process was not ready within {START_SEC:.0f} s") from None
        if not line:
            status = await self._process.wait()
            raise StillwatchError(f"the {self.name} process ended before it was ready, with status {status}")
        answer = msgspec.json.decode(line)
        if "error" in answer:
            raise _KINDS.get(answer["kind"], StillwatchError)(answer["error"])
        self.addresses = answer["ready"]

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        return await self._process.wait()

    async def stop(self, grace_sec: float) -> None:
        """Ask it to stop, and kill it if it has not within the grace time."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(grace_sec):
                    await self._process.wait()
            except TimeoutError:
                log.error("the %s process did not stop within %.0f s; it is killed", self.name, grace_sec)
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Tree:
    """Children in order of their start. Use as an async context manager."""

    def __init__(self, grace_sec: float) -> None:
        self._children: list[Child] = []
        self._grace_sec = grace_sec

    async def add(self, name: str, role: str, settings: Settings, *, output: Output = None) -> Addresses:
        """Start one more process; returns its addresses once it serves. Raises as `Child.start`."""
        child = await Child.start(name, role, settings, output=output)
        self._children.append(child)
        return child.addresses

    async def broken(self) -> str:
        """Waits until a process has ended that nobody stopped; a sentence about it."""
        waits = {asyncio.create_task(child.wait()): child for child in self._children}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        ended = done.pop()
        return f"the {waits[ended].name} process ended with status {ended.result()}"

    async def stop(self) -> None:
        """Stop every process, the last one first."""
        while self._children:
            await self._children.pop().stop(self._grace_sec)

    async def __aenter__(self) -> Tree:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()


async def run_tree(
    parts: Sequence[tuple[str, str]], settings: Settings, stop: asyncio.Event, ready: Ready, *, grace_sec: float
) -> None:
    """Run processes until `stop` is set; if one ends before, the others are stopped too and whoever supervises us decides.

    Args:
        parts: (name, role) in the order in which they start.
        settings: for all of them.
        stop: ends the tree.
        ready: called with everybody's addresses, "name" or "name metrics" → address.
        grace_sec: time each gets to stop.

    Raises:
        StillwatchError: one could not start, or ended by itself.
    """
    async with Tree(grace_sec) as tree:
        found = await unless(stop, _start(tree, parts, settings))
        if found is None:
            return
        ready(found)
        broken = asyncio.create_task(tree.broken())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((broken, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if broken.done() and not stop.is_set():
            raise StillwatchError(f"{broken.result()}; the others were stopped, see the log for the reason")
        broken.cancel()


async def _start(tree: Tree, parts: Sequence[tuple[str, str]], settings: Settings) -> Addresses:
    found: Addresses = {}
    for name, role in parts:
        for what, address in (await tree.add(name, role, settings)).items():
            found[name if what == name else f"{name} {what}"] = address
    return found


def revealed(settings: Settings) -> dict[str, Any]:
    """The settings as plain values with their secrets, for a pipe to a process of ours and for nothing else."""
    return {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return str(value) if isinstance(value, Path) else value


def _child() -> None:
    """The child's side."""
    from app.telemetry import logging as logs

    order = msgspec.json.decode(sys.stdin.buffer.readline())
    settings = Settings.model_validate(order["settings"])
    module, _, function = order["role"].partition(":")
    logs.configure(settings, order["name"])

    served = False

    def say(answer: dict[str, Any]) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()

    def serves(found: Addresses) -> None:
        nonlocal served
        served = True
        say({"ready": found})

    async def work(stop: asyncio.Event) -> None:
        await _watch_parent(stop)
        await getattr(importlib.import_module(module), function)(settings, stop, serves)

    try:
        run(work)
    except StillwatchError as error:
        if served:  # the parent listens no more
            log.error("%s", error)
        else:
            say({"error": str(error), "kind": type(error).__name__})
        sys.exit(1)


async def _watch_parent(stop: asyncio.Event) -> None:
    """Stop when the parent's end of our standard input closes."""
    loop = asyncio.get_running_loop()

    class Line(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    await loop.connect_read_pipe(Line, sys.stdin.buffer)


if __name__ == "__main__":
    _child()
