"""What people set for the whole deployment while it runs: policy, plans, kill switch, allow-list. All in one slot.

Each change is one script that also writes it to a stream, so that every process hears of it at once (`control_feed`).
"""

from __future__ import annotations

import re
import time
from typing import Any, Literal

import msgspec

from app.errors import BadInput, Conflict
from app.state.calls import Client, reachable, run_script
from app.state.keys import ALLOWED, CONTROL, CONTROL_CHANGES

KillScope = Literal["", "actions", "all"]
"""Nothing is switched off; nothing is done about verdicts and orders; nor about limits."""

MAX_CHANGES = 10_000
"""Changes the stream remembers; a process that missed more reads everything again."""

MAX_TEXT_BYTES = 64 * 1024
"""Most of a stored policy or of stored plans."""

MAX_ALLOWED = 10_000
"""Most entries of the allow-list; every gateway holds all of them in memory."""

KEPT_SEC = 30 * 86_400
"""How long an entry that is over can still be looked up; afterwards the next change removes it."""

_SUBJECT = re.compile(r"key:[0-9a-f]{32}|org:[0-9A-Za-z_.:@-]{1,128}")
_FIELDS = ("policy", "plans", "kill", "version")


class Kill(msgspec.Struct, frozen=True, omit_defaults=True):
    """The kill switch as state has it: what is off, why, since when (unix µs) and by whom."""

    scope: KillScope = ""
    reason: str = ""
    by: str = ""
    at_us: int = 0


class ControlDoc(msgspec.Struct, frozen=True):
    """What is stored for the whole deployment.

    Attributes:
        policy_toml: a policy, as a policy file would have it; "" for none.
        plans_json: object plan name → `PlanLimits`; "" for none.
        kill: the kill switch.
        version: how often policy or plans were changed.
    """

    policy_toml: str = ""
    plans_json: str = ""
    kill: Kill = Kill()
    version: int = 0


class AllowEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A key, or an organisation with all its keys, about which policy does nothing. It is judged all the same.

    Attributes:
        subject: "key:" and the key id, or "org:" and the organisation.
        owner: who answers for it.
        reason: one line.
        expires_us: unix µs from which on it counts no more.
        by: who put it.
        created_us: when, unix µs.
    """

    subject: str
    owner: str
    reason: str
    expires_us: int
    by: str
    created_us: int

    def holds(self, at_us: int) -> bool:
        """It counts at this time."""
        return at_us < self.expires_us


_decode_kill = msgspec.json.Decoder(Kill).decode
_decode_entry = msgspec.json.Decoder(AllowEntry).decode


def read_doc(found: list[bytes | None]) -> ControlDoc:
    """The stored fields, in the order of the hash's names here → document. A kill switch that does not decode is on."""
    policy, plans, kill, version = found
    try:
        switch = Kill() if kill is None else _decode_kill(kill)
    except msgspec.DecodeError:
        switch = Kill("actions", "what is stored does not decode")
    texts = [(text or b"").decode("utf-8", "replace") for text in (policy, plans)]
    return ControlDoc(texts[0], texts[1], switch, int(version or 0))


def read_entry(data: bytes | None) -> AllowEntry | None:
    """What is stored → entry; None where there is none, or it is not one of ours: then it allows nothing."""
    try:
        return None if data is None else _decode_entry(data)
    except msgspec.DecodeError:
        return None


class ControlStore:
    """Reads and changes them. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self) -> ControlDoc:
        """What is stored now."""
        with reachable("control"):
            found: Any = await self._client.hmget(CONTROL, list(_FIELDS))
        return read_doc(found)

    async def set_policy(self, policy_toml: str, expected_version: int | None = None) -> int:
        """Stores a policy, "" for none; returns the new version. Whether it is a good one, the caller has checked.

        Args:
            policy_toml: its text.
            expected_version: what the writer has seen; None writes whatever is there.

        Raises:
            Conflict: somebody has changed policy or plans since; nothing was stored.
            BadInput: it is too long.
        """
        return await self._set("policy", policy_toml, expected_version)

    async def set_plans(self, plans_json: str, expected_version: int | None = None) -> int:
        """Stores plans, "" for none; as `set_policy`."""
        return await self._set("plans", plans_json, expected_version)

    async def set_kill(self, scope: KillScope, reason: str, by: str) -> Kill:
        """Switches; returns what is stored. An order is not needed: the last one counts."""
        kill = Kill(scope, reason, by, time.time_ns() // 1000)
        await self._change("set", CONTROL, "kill", msgspec.json.encode(kill), "")
        return kill

    async def allow_put(self, entry: AllowEntry) -> bool:
        """Stores an entry, in place of the one about the same subject; true when there was none.

        Raises:
            BadInput: the subject is neither a key nor an organisation, or there are MAX_ALLOWED entries.
        """
        if not _SUBJECT.fullmatch(entry.subject):
            raise BadInput("subject must be key: and 32 hex digits, or org: and the organisation's name")
        await self._forget(entry.created_us)
        answer = int(await self._change("put", ALLOWED, entry.subject, msgspec.json.encode(entry), MAX_ALLOWED))
        if answer < 0:
            raise BadInput(f"the allow-list has {MAX_ALLOWED:,} entries, and takes no more")
        return answer == 1

    async def allow_delete(self, subject: str) -> bool:
        """Removes the entry about a subject; false when there was none."""
        return bool(await self._change("delete", ALLOWED, subject, "", ""))

    async def allow_get(self, subject: str) -> AllowEntry | None:
        """The entry about a subject, also one that is over."""
        with reachable("allow-list"):
            found: Any = await self._client.hget(ALLOWED, subject)
        return read_entry(found)

    async def allow_list(self) -> list[AllowEntry]:
        """All entries, by subject; those that are over too, for KEPT_SEC."""
        with reachable("allow-list"):
            found: Any = await self._client.hgetall(ALLOWED)
        entries = [read_entry(data) for data in found.values()]
        return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.subject)

    async def _forget(self, now_us: int) -> None:
        for entry in await self.allow_list():
            if entry.expires_us + KEPT_SEC * 1_000_000 < now_us:
                await self.allow_delete(entry.subject)

    async def _set(self, field: str, text: str, expected_version: int | None) -> int:
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise BadInput(f"{field}: must be at most {MAX_TEXT_BYTES:,} bytes")
        expected = "" if expected_version is None else expected_version
        answer = await self._change("set", CONTROL, field, text, expected)
        if isinstance(answer, list):
            raise Conflict(f"version: the stored one is {int(answer[0])}; read it again and repeat the change")
        return int(answer)

    async def _change(self, what: str, name: str, field: str, value: str | bytes, more: str | int) -> Any:
        with reachable("control"):
            keys = [CONTROL_CHANGES, name]
            told = "doc" if name == CONTROL else "allow"
            return await run_script(self._client, "control", keys, [what, MAX_CHANGES, field, value, more, told])
