"""Which tenants share a second watermark: those that a person has found to be one campaign.

A gateway marks their answers half with their own codeword and half with the group's, so it has to know at once: a change
goes to the stream that `app.state.control_feed` follows, in the same script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from app.errors import BadInput
from app.state.calls import Client, reachable, run_script
from app.state.control import MAX_CHANGES
from app.state.keys import CONTROL_CHANGES, MARK_GROUPS

MAX_GROUPED = 50_000
"""Most tenants with a group; every process holds all of them in memory. As many as orders may be about."""

_TENANT = re.compile(r"[0-9A-Za-z_.:@-]{1,128}")
_GROUP = re.compile(r"[0-9A-Za-z_.:-]{1,64}")


class MarkGroups:
    """Reads and changes them. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def put(self, tenant: str, group: str) -> bool:
        """Gives a tenant a group, in place of the one it had; true when it had none.

        Args:
            tenant: key id, or name of an organisation where those are tenants.
            group: the campaign's id, or a name that a person chose.

        Raises:
            BadInput: either is none, or MAX_GROUPED tenants have one.
        """
        if not _TENANT.fullmatch(tenant):
            raise BadInput("tenant: must be a key id, or the name of an organisation")
        if not _GROUP.fullmatch(group):
            raise BadInput("group: must be 1-64 of letters, digits, '_', '.', ':' and '-'")
        answer = int(await self._change("put", tenant, group, MAX_GROUPED))
        if answer < 0:
            raise BadInput(f"{MAX_GROUPED:,} tenants have a group, and no more can")
        return answer == 1

    async def delete(self, tenant: str) -> bool:
        """Takes a tenant's group away; false when it had none."""
        return bool(await self._change("delete", tenant, "", ""))

    async def get_many(self, tenants: Sequence[str]) -> dict[str, str]:
        """Tenant → its group, "" for none."""
        with reachable("groups of marks"):
            found: Any = await self._client.hmget(MARK_GROUPS, list(tenants))
        return {tenant: (group or b"").decode() for tenant, group in zip(tenants, found, strict=True)}

    async def all(self) -> dict[str, str]:
        """Tenant → group, of all that have one."""
        with reachable("groups of marks"):
            found: Any = await self._client.hgetall(MARK_GROUPS)
        return {tenant.decode(): group.decode() for tenant, group in found.items()}

    async def _change(self, what: str, tenant: str, group: str, more: str | int) -> Any:
        with reachable("groups of marks"):
            keys = [CONTROL_CHANGES, MARK_GROUPS]
            return await run_script(self._client, "control", keys, [what, MAX_CHANGES, tenant, group, more, "group"])
