"""The one round trip before forwarding: charge a request's budgets and read its verdict, in one script."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Literal

import hiredis

from app.errors import StateUnavailable
from app.state.link import Link, pack
from app.state.schedule import Schedule

_LUA = Path(__file__).parent / "lua"

SLOT_SEC = 120
"""A slot whose gateway died is free again after this; a living one renews it, see `app.limits.slots`."""


Mode = Literal["enforce", "shadow", "off", "killed"]
"""What is done about what policy asks for: act, count, nothing; killed: nothing about a person's orders either."""


def manner_of(mode: Mode, highest: int) -> str:
    """ARGV[4] of decide.lua; `highest` is the rung of the ladder up to which policy goes by itself, 0 to 4."""
    return f"{mode}{highest}"


def read_script(name: str) -> tuple[str, str]:
    """(digest, text) of `lua/<name>.lua`."""
    text = (_LUA / f"{name}.lua").read_text(encoding="utf-8")
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text


class Decisions:
    """Calls decide.lua over one link."""

    def __init__(self, url: str, timeout_ms: int) -> None:
        """Not connected yet.

        Args:
            url: of the state server.
            timeout_ms: longest wait for a decision.
        """
        self.link = Link(url, timeout_ms)
        self._sha, self._text = read_script("decide")

    def prepare(self, schedule: Schedule) -> None:
        """Compiles a schedule for `decide`."""
        schedule.compile(self._sha, SLOT_SEC * 1_000_000)

    async def decide(
        self, schedule: Schedule, names: list[bytes], request_id: str, input_tokens: int, output_tokens: int, manner: str
    ) -> list[Any]:
        """Charges one request; returns the script's reply, see decide.lua.

        Args:
            schedule: a prepared one.
            names: verdict, balances of the key, balances of the organisation where it has budgets, one set per limit on
                requests at the same time.
            request_id: unique; its slots are freed under it.
            input_tokens: estimate, ≥ 0.
            output_tokens: reserve, ≥ 0.
            manner: what is done about a verdict, see `manner_of`.

        Raises:
            StateUnavailable: no reply in time, or the server refused. Whether the request was charged is not known.
        """
        command = schedule.command(names, request_id.encode(), input_tokens, output_tokens, manner)
        reply = await self.link.call(command)
        if type(reply) is list:
            return reply
        if str(reply).startswith("NOSCRIPT"):
            # A restarted server has forgotten it. SCRIPT LOAD is never used: proxies block it.
            reply = await self.link.call(self._with_text(command))
            if type(reply) is list:
                return reply
        raise StateUnavailable(f"the state server refused a decision ({_class_of(reply)})")

    def free(self, slot_names: list[bytes], request_id: str) -> None:
        """Gives back the slots of a request whose decision nobody waits for; the same connection keeps the order."""
        try:
            for name in slot_names:
                self.link.call(pack("ZREM", name, request_id)).add_done_callback(_forget)
        except StateUnavailable:
            return  # they expire

    def _with_text(self, command: bytes) -> bytes:
        call = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % self._sha.encode()
        text = self._text.encode()
        return command.replace(call, b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(text), text), 1)


def _forget(future: asyncio.Future[Any]) -> None:
    """Its outcome is of no interest, a failure neither."""
    if not future.cancelled():
        future.exception()


def _class_of(reply: Any) -> str:
    """First word of a server's error, such as OOM or READONLY; the rest may quote arguments."""
    if isinstance(reply, hiredis.ReplyError):
        return str(reply).split(" ", 1)[0][:32]
    return type(reply).__name__
