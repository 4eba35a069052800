"""The kill switch: one call, within a second, seen in health, and with the state server frozen too."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from app.state.server import StateServer

BODY = {"scope": "actions", "reason": "false alarms after the new model"}


async def _kill(services: Any, scope: str) -> float:
    """Seconds until a gateway's switch stands so."""
    began = time.monotonic()
    async with asyncio.timeout(5):
        while services.control.kill != scope:  # noqa: ASYNC110 - a gateway offers no event
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_the_switch_reaches_a_gateway_within_a_second(desk: Any, gateway: Any) -> None:
    """On and off by one call each; who, why and since when is told, in health as well, and both are recorded."""
    async with gateway("enforce") as services:
        put = await desk.call("PUT", "/v1/kill", json=BODY)
        assert (put.json()["scope"], put.json()["state"], put.json()["by"]) == ("actions", "actions", "bootstrap")
        assert await _kill(services, "actions") < 1.0
        async with asyncio.timeout(5):
            while (await desk.get("/v1/health"))["kill"] != "actions":  # noqa: ASYNC110 - followed, not awaited
                await asyncio.sleep(0.02)
        health = await desk.get("/v1/health")
        assert health["problems"][0].startswith("KILL SWITCH: nothing is done about verdicts and orders")
        assert (await desk.get("/v1/kill"))["reason"] == BODY["reason"]
        off = await desk.call("DELETE", "/v1/kill?reason=the+model+is+rolled+back")
        assert off.json()["scope"] == ""
        assert await _kill(services, "") < 1.0
    assert (await desk.call("DELETE", "/v1/kill")).status_code == 404
    records = (await desk.get("/v1/audit"))["records"]
    assert [record["action"] for record in records] == ["kill.delete", "kill.put"]


async def test_it_works_while_the_state_server_is_frozen(desk: Any, gateway: Any, state_server: StateServer) -> None:
    """The file of this machine is written, the answer says so, gateways here follow; afterwards one call ends both."""
    assert state_server.pid is not None
    async with gateway("enforce") as services:
        os.kill(state_server.pid, signal.SIGSTOP)
        try:
            put = await desk.call("PUT", "/v1/kill", json={**BODY, "scope": "all"})
            assert put.status_code == 200, put.text
            told = put.json()
            assert (told["scope"], told["file"], told["state"]) == ("all", "all", None)
            assert f"this very file are switched: {desk.settings.kill_file}" in told["note"]
            assert "touch deploy/config/KILL" in told["note"]
            await _kill(services, "all")
            assert (await desk.call("DELETE", "/v1/kill")).status_code == 503
        finally:
            os.kill(state_server.pid, signal.SIGCONT)
        off = await desk.call("DELETE", "/v1/kill?reason=state+is+back")
        assert (off.status_code, off.json()["scope"]) == (200, ""), off.text
        assert not desk.settings.kill_file.exists()
        await _kill(services, "")


async def test_where_no_file_can_be_written_it_says_what_to_do(
    new_desk: Any, state_server: StateServer, tmp_path: Any
) -> None:
    """Without the state server and with a folder that is none, the refusal names the file to be made at each gateway."""
    (tmp_path / "no folder").write_text("")
    path = tmp_path / "no folder" / "KILL"
    async with new_desk(STILLWATCH_CONTROL__KILL_FILE=str(path)) as desk:
        assert state_server.pid is not None
        os.kill(state_server.pid, signal.SIGSTOP)
        try:
            put = await desk.call("PUT", "/v1/kill", json=BODY)
        finally:
            os.kill(state_server.pid, signal.SIGCONT)
    assert put.status_code == 503
    for told in (str(path), "nothing is switched", "touch deploy/config/KILL", "kubectl exec", "each gateway"):
        assert told in put.json()["detail"]


async def test_a_switch_needs_a_scope_and_a_reason(desk: Any) -> None:
    """Nothing is switched by an empty or mistyped body."""
    for body in ({}, {"scope": "actions"}, {**BODY, "scope": ""}, {**BODY, "scope": "some"}, {**BODY, "reason": "x"}):
        assert (await desk.call("PUT", "/v1/kill", json=body)).status_code == 422
    assert (await desk.get("/v1/kill"))["scope"] == ""
