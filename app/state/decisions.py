"""The one round trip before forwarding: charge a request's budgets and read its verdict, in one script."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Literal

import hiredis

from app.errors import StateUnavailable
from app.state.link import Caller
from app.state.schedule import Schedule
from app.state.wire import pack, too_late

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

    def __init__(self, link: Caller, timeout_ms: int) -> None:
        """Over a link that waits as long for a call.

        Args:
            link: not connected yet.
            timeout_ms: longest wait for a decision, however often it has to be asked for.
        """
        self.link = link
        self._timeout = timeout_ms / 1000
        self._sha, self._text = read_script("decide")

    def prepare(self, schedule: Schedule) -> None:
        """Compiles a schedule for `decide`."""
        schedule.compile(self._sha, SLOT_SEC * 1_000_000)

    async def decide(
        self,
        schedule: Schedule,
        names: list[bytes],
        request_id: str,
        input_tokens: int,
        output_tokens: int,
        manner: str,
        partition: int = 0,
    ) -> list[Any]:
        """Charges one request; returns the script's reply without its seal, see decide.lua.

        Args:
            schedule: a prepared one.
            names: verdict, balances of the key, balances of the organisation where it has budgets, one set per limit on
                requests at the same time.
            request_id: unique; its slots are freed under it.
            input_tokens: estimate, ≥ 0.
            output_tokens: reserve, ≥ 0.
            manner: what is done about a verdict, see `manner_of`.
            partition: of the names.

        Raises:
            StateUnavailable: no reply in time, none that can be trusted, or the server refused. Whether the request was
                charged is not known.
        """
        command = schedule.command(names, request_id.encode(), input_tokens, output_tokens, manner)
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = await self.link.call(command, partition)
        if type(reply) is not list and str(reply).startswith("NOSCRIPT"):
            # A restarted server has forgotten it. SCRIPT LOAD is never used: proxies block it. One deadline for both calls.
            second = self.link.call(self._with_text(command), partition)
            timer = loop.call_at(began + self._timeout, too_late, second)
            try:
                reply = await second
            finally:
                timer.cancel()
        if type(reply) is list:
            if _sealed(reply, request_id):
                return reply
            self.link.distrust(partition)
            raise StateUnavailable("the state server's decision was damaged on its way")
        raise StateUnavailable(f"the state server refused a decision ({_class_of(reply)})")

    def free(self, slot_names: list[bytes], request_id: str, partition: int = 0) -> None:
        """Gives back the slots of a decision that nobody waits for; on its connection, so after it. Else they expire."""
        for name in slot_names:
            self.link.post(pack("ZREM", name, request_id), partition)

    def _with_text(self, command: bytes) -> bytes:
        call = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % self._sha.encode()
        text = self._text.encode()
        return command.replace(call, b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(text), text), 1)


def _sealed(reply: list[Any], request_id: str) -> bool:
    """Takes the seal off a reply; false when it is not that of this request and these values.

    A digit that was changed on its way, or an answer to somebody else, would otherwise be a wrong limit.
    """
    try:
        seal = reply.pop()
        verdict = reply[-1]
        total = sum(reply[:-1]) + sum(verdict) if type(verdict) is bytes else sum(reply)
        return bool(total + _mark(request_id) == seal)
    except (TypeError, IndexError):
        return False


def _mark(request_id: str) -> int:
    """The number that the last six characters of an id are in hex; 0 where they are none. As decide.lua has it."""
    try:
        return int.from_bytes(bytes.fromhex(request_id[-6:])) if len(request_id) >= 6 else 0
    except ValueError:
        return 0


def _class_of(reply: Any) -> str:
    """First word of a server's error, such as OOM or READONLY; the rest may quote arguments."""
    if isinstance(reply, hiredis.ReplyError):
        return str(reply).split(" ", 1)[0][:32]
    return type(reply).__name__
