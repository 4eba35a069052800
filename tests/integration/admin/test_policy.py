"""Policy is data: looked at, tried out on the keys as they are, put in force at running gateways, taken back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from app.enforcement.policy_text import digest, parse_policy
from detectors.contract import Level

KEYS = [f"{number:032x}" for number in range(6)]
TOML = {"content-type": "application/toml"}


async def _version(desk: Any) -> dict[str, str]:
    return {"if-match": f'"{(await desk.get("/v1/policy"))["version"]}"'}


async def _until(reached: Any) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - a gateway offers no event
            await asyncio.sleep(0.02)


async def test_a_policy_is_put_in_force_at_a_running_gateway(desk: Any, gateway: Any) -> None:
    """TOML or JSON, it counts at once, the answer and the gateways have the same digest; deleted, the settings count."""
    first = await desk.get("/v1/policy")
    assert (first["source"], first["writable"], first["policy"]["mode"]) == ("settings", True, "shadow")
    async with gateway("shadow") as services:
        control = services.control
        text = 'mode = "enforce"\nenforced_percent = 5.0\n\n[suspect]\naction = "throttle"\nfactor = 0.5\n'
        put = await desk.call("PUT", "/v1/policy", content=text, headers={**TOML, **await _version(desk)})
        assert put.status_code == 200, put.text
        assert (put.json()["source"], put.json()["policy"]["suspect"]["factor"]) == ("state", 0.5)
        assert put.json()["digest"] == digest(parse_policy(text, "it"))
        await _until(lambda: control.policy_digest == put.json()["digest"])
        body = {"mode": "enforce", "watch": {"action": "throttle", "ttl_sec": 600}}
        put = await desk.call("PUT", "/v1/policy", json=body, headers=await _version(desk))
        await _until(lambda: control.policy.watch.ttl_sec == 600)
        assert parse_policy(put.json()["toml"], "it") == control.policy
        gone = await desk.call("DELETE", "/v1/policy", headers=await _version(desk))
        assert gone.status_code == 204
        await _until(lambda: control.policy_digest == first["digest"])
    assert (await desk.call("DELETE", "/v1/policy", headers=await _version(desk))).status_code == 404
    actions = [record["action"] for record in (await desk.get("/v1/audit"))["records"]]
    assert actions == ["policy.delete", "policy.put", "policy.put"]


async def test_a_change_that_somebody_made_meanwhile_is_not_overwritten(desk: Any) -> None:
    """The version that was read must be the stored one; without a version nothing is changed either."""
    stale = await _version(desk)
    assert (await desk.call("PUT", "/v1/policy", json={"mode": "enforce"}, headers=stale)).status_code == 200
    assert (await desk.call("PUT", "/v1/policy", json={"mode": "shadow"}, headers=stale)).status_code == 409
    missing = await desk.call("PUT", "/v1/policy", json={"mode": "shadow"})
    assert missing.json()["errors"][0]["field"] == "header.if_match"
    assert (await desk.get("/v1/policy"))["policy"]["mode"] == "enforce"


async def test_a_bad_policy_is_refused_with_field_and_rule(desk: Any) -> None:
    """Whatever a gateway would not take is not stored, and the sentence names the field."""
    headers = await _version(desk)
    for body, more, told in (
        (b'{"mode": "off"}', {}, "body.mode"),
        (b'{"suspect": {"action": "suspend"}}', {}, "automatic_up_to"),
        (b'{"suspect": {"action": "throttle", "factor": 0}}', {}, "body.suspect.factor"),
        (b'{"suspect": {"requests_per_min": null}}', {}, "body.suspect.requests_per_min"),
        (b'{"surprise": 1}', {}, "body.surprise"),
        (b"mode = enforce", TOML, "valid TOML"),
        (b"\xff", TOML, "UTF-8"),
        (b'mode = "enforce"\nfactor = 3\n', TOML, "body.factor"),
        (b'automatic_up_to = "step_up"\n[suspect]\naction = "step_up"\n', TOML, "step_up_url"),
    ):
        for method, path in (("PUT", "/v1/policy"), ("POST", "/v1/policy:preview")):
            answer = await desk.call(method, path, content=body, headers={**headers, **more})
            assert answer.status_code == 422, body
            assert told in answer.text, (body, answer.text)
    assert (await desk.get("/v1/policy"))["source"] == "settings"
    assert (await desk.get("/v1/audit"))["records"] == []


async def test_a_policy_file_wins_and_is_said_so(new_desk: Any, tmp_path: Path) -> None:
    """With a configured file the API shows that policy and refuses to store another."""
    path = tmp_path / "policy.toml"
    path.write_text('mode = "enforce"\n')
    async with new_desk(STILLWATCH_CONTROL__POLICY_FILE=str(path)) as desk:
        found = await desk.get("/v1/policy")
        assert (found["source"], found["writable"], found["policy"]["mode"]) == ("file", False, "enforce")
        answer = await desk.call("PUT", "/v1/policy", json={}, headers=await _version(desk))
        assert answer.status_code == 409
        assert "policy_file" in answer.json()["detail"]


async def test_a_preview_tells_what_a_candidate_would_change(desk: Any) -> None:
    """By action keys and examples; who is excused; what is really done differently; a warning above a throttle."""
    at_us = time.time_ns() // 1000
    for key_id in KEYS[:3]:
        await desk.judged(key_id, Level.SUSPECT, 0.8, at_us=at_us)
    await desk.judged(KEYS[3], Level.CONFIRMED, 0.97, at_us=at_us)
    await desk.judged(KEYS[4], Level.SUSPECT, 0.8, at_us=at_us, authorised=True)
    await desk.judged(KEYS[5], Level.WATCH, 0.6, at_us=at_us)
    entry = {"owner": "sales", "reason": "agreed in contract 4711", "expires": "2027-01-01T00:00:00Z"}
    await desk.call("PUT", f"/v1/allow/key:{KEYS[0]}", json=entry)
    candidate = {
        "mode": "enforce",
        "automatic_up_to": "cap",
        "suspect": {"action": "throttle"},
        "confirmed": {"action": "cap"},
    }
    told = (await desk.call("POST", "/v1/policy:preview", json=candidate)).json()
    assert (told["keys"], told["allowed"], told["authorised"], told["cut"]) == (6, 1, 1, False)
    groups = {group["action"]: (group["keys"], group["enforced"], set(group["examples"])) for group in told["groups"]}
    assert groups == {
        "observe": (3, 0, {KEYS[0], KEYS[4], KEYS[5]}),
        "throttle": (2, 2, {KEYS[1], KEYS[2]}),
        "cap": (1, 1, {KEYS[3]}),
    }
    assert [(move["before"], move["after"], move["keys"]) for move in told["moves"]] == [
        ("observe", "cap", 1),
        ("observe", "throttle", 2),
    ]
    assert any("automatic_up_to is cap" in sentence for sentence in told["warnings"])
    shadow = (await desk.call("POST", "/v1/policy:preview", json={**candidate, "mode": "shadow"})).json()
    assert shadow["moves"] == []
    none = (await desk.call("POST", "/v1/policy:preview", json={**candidate, "enabled_percent": 0})).json()
    assert [(group["action"], group["keys"]) for group in none["groups"]] == [("observe", 6)]
