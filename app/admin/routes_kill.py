"""The kill switch: one call that stops everything Stillwatch does about keys, also while the state server is away."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request

from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_control import KillIn, KillOut
from app.admin.models_orders import ReasonQuery
from app.admin.permissions import permit
from app.admin.views import moment
from app.enforcement.rules import Kill
from app.enforcement.switches import read_kill, strongest
from app.errors import BadInput, StateUnavailable
from app.state.control import Kill as StoredKill

log = logging.getLogger(__name__)

SOON_SEC = 1.0
"""How long the state server is waited for: whoever pulls this switch has no time, and the file is there as well."""

_EXAMPLE = {"scope": "actions", "reason": "false alarms after the new model"}
_FILE_ONLY = (
    "The state server does not answer, so only processes that read this very file are switched: {path}. {by_hand} "
    "The audit log cannot be written: who did it is in this process's log alone."
)
_BY_HAND = (
    "Make the file {name} where each gateway looks for it (control.kill_file, else KILL in its state.data_dir): "
    "with docker-compose.yml 'touch deploy/config/KILL' on the host; "
    "in Kubernetes, for each gateway's pod, 'kubectl exec POD -- touch /var/lib/stillwatch/KILL'."
)


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The switch of one deployment."""
    routes = APIRouter(prefix="/v1", tags=["kill switch"])

    @routes.get("/kill", dependencies=[permit("kill.read")])
    async def get_kill() -> KillOut:
        """What is switched off, by whom, why, and at how many gateways. Answers while the state server is away, too."""
        return await _look(acting)

    @routes.put("/kill", dependencies=[permit("kill.write")], openapi_extra=described(KillIn, example=_EXAMPLE))
    async def put_kill(request: Request, caller: CallerDep) -> KillOut:
        """Switch off: within a second nothing is done about verdicts and orders (actions), nor about limits (all).

        Exchanges are still logged and judged. While the state server is away the kill file of this machine is written
        instead, and the answer says so: this is the one change that does not wait for the audit log.
        """
        asked = await read_body(request, KillIn)
        try:
            async with asyncio.timeout(SOON_SEC):
                before = (await acting.store.get()).kill
                await auditor.record(
                    caller,
                    request,
                    "kill.put",
                    "kill",
                    reason=asked.reason,
                    before={"scope": before.scope},
                    after={"scope": asked.scope},
                )
                await acting.store.set_kill(asked.scope, asked.reason, caller.name)
        except (StateUnavailable, TimeoutError):
            path = acting.settings.kill_file
            await asyncio.to_thread(_write, path, asked.scope, asked.reason)
            log.critical("kill switch %s by %s, in the file only: %s", asked.scope, caller.name, asked.reason)
            return await _look(acting, note=_FILE_ONLY.format(path=path, by_hand=_BY_HAND.format(name=path.name)))
        return await _look(acting)

    @routes.delete("/kill", dependencies=[permit("kill.write")])
    async def delete_kill(request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep) -> KillOut:
        """Switch on again, and remove the kill file of this machine. Not without the state server and its audit log."""
        async with answered():
            before = (await acting.store.get()).kill
        path = acting.settings.kill_file
        by_file = await asyncio.to_thread(read_kill, path)
        if not before.scope and not by_file:
            raise HTTPException(404, "Nothing is switched off that could be switched on here.")
        await auditor.record(
            caller,
            request,
            "kill.delete",
            "kill",
            reason=query.reason,
            before={"scope": before.scope, "file": by_file},
            after={"scope": ""},
        )
        if by_file:
            await asyncio.to_thread(_remove, path)
        async with answered():
            await acting.store.set_kill("", query.reason, caller.name)
        return await _look(acting)

    return routes


async def _look(acting: Acting, note: str = "") -> KillOut:
    setting: Kill = acting.settings.control.kill
    by_file = await asyncio.to_thread(read_kill, acting.settings.kill_file)
    stored: StoredKill | None = None
    gateways: dict[str, int] = {}
    with suppress(StateUnavailable, TimeoutError):
        async with asyncio.timeout(SOON_SEC):
            stored = (await acting.store.get()).kill
            for one in (await acting.reader.gateways()).each:
                gateways[one.kill] = gateways.get(one.kill, 0) + 1
    scope: Kill = strongest(setting, by_file, "" if stored is None else stored.scope)
    if setting and not note:
        note = f"control.kill is {setting} in the settings: it ends with a restart without it."
    known = stored is not None and bool(stored.scope)
    return KillOut(
        scope=scope,
        setting=setting,
        file=by_file,
        state=None if stored is None else stored.scope,
        reason=stored.reason if stored is not None and known else "",
        by=stored.by if stored is not None and known else "",
        since=moment(stored.at_us) if stored is not None and known else None,
        gateways=gateways,
        note=note,
    )


def _write(path: Path, scope: str, reason: str) -> None:
    """Whole or not at all: a half-written file would still switch off, but perhaps too little."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(f"{scope}\n{reason}\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StateUnavailable(
            f"the state server does not answer, and the kill file {path} cannot be written ({error.strerror}): nothing is "
            f"switched. {_BY_HAND.format(name=path.name)}"
        ) from None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"the kill file {path} cannot be removed ({error.strerror}); nothing was switched on") from None
