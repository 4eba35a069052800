"""Tokens of the admin API: made once, shown once, kept as digests, ended at once; guesses are limited."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from typing import Any

import httpx2
import pytest

from app.admin import auth, failures
from app.state import tokens as stored
from app.state.keys import AUDIT, TOKENS, TOKENS_USED


async def test_a_token_is_shown_once_and_kept_as_a_digest(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The answer to its making holds the token; state, list, audit log and log hold at most its id and digest."""
    caplog.set_level(logging.DEBUG)
    token = await desk.token("analyst", "night shift")
    assert auth.token_id_of(token) == token[3:11]
    kept = await desk.state.hget(TOKENS, token[3:11])
    assert json.loads(kept)["digest"] == hashlib.sha256(token.encode()).hexdigest()
    secret = token[12:55]
    listed = (await desk.call("GET", "/v1/tokens")).text
    audited = str(await desk.state.xrange(AUDIT))
    logged = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    for text in (kept.decode(), listed, audited, logged):
        assert secret not in text
    assert token[3:11] in listed
    assert token[3:11] in audited


async def test_the_list_says_all_but_the_secret(desk: Any) -> None:
    """Name, role, maker, times and status of each token are listed, those made last first."""
    before = time.time()
    first = await desk.token("viewer", "a dashboard", days=1)
    second = await desk.token("auditor")
    await desk.as_(first, "GET", "/v1/me")
    await desk.call("DELETE", f"/v1/tokens/{second[3:11]}")
    found = {item["token_id"]: item for item in (await desk.get("/v1/tokens"))["tokens"]}
    assert set(found) == {first[3:11], second[3:11]}
    one = found[first[3:11]]
    assert (one["name"], one["role"], one["status"]) == ("a dashboard", "viewer", "active")
    assert (one["created_by"], one["revoked"]) == ("bootstrap", None)
    used = int(await desk.state.hget(TOKENS_USED, first[3:11]))
    assert used % 3600 == 0
    assert before - 3600 <= used <= time.time()
    assert found[second[3:11]]["status"] == "revoked"
    assert found[second[3:11]]["last_used"] is None


async def test_a_revoked_token_ends_with_its_next_request(desk: Any) -> None:
    """A token that just worked is refused as soon as it is revoked, on the same connection."""
    token = await desk.token("viewer")
    assert (await desk.as_(token, "GET", "/v1/keys")).status_code == 200
    assert (await desk.call("DELETE", f"/v1/tokens/{token[3:11]}")).status_code == 204
    assert (await desk.as_(token, "GET", "/v1/keys")).status_code == 401
    assert (await desk.call("DELETE", f"/v1/tokens/{token[3:11]}")).status_code == 404


async def test_a_token_may_be_revoked_by_its_own(desk: Any) -> None:
    """Whoever may write tokens may end the one in hand."""
    token = await desk.token("admin")
    assert (await desk.as_(token, "DELETE", f"/v1/tokens/{token[3:11]}")).status_code == 204
    assert (await desk.as_(token, "GET", "/v1/me")).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.name"),
        ({"name": "a", "role": "root"}, "body.role"),
        ({"name": "a\n", "role": "viewer"}, "body.name"),
        ({"name": "a" * 65, "role": "viewer"}, "body.name"),
        ({"name": "a", "role": "viewer", "days": 0}, "body.days"),
        ({"name": "a", "role": "viewer", "days": 367}, "body.days"),
        ({"name": "a", "role": "viewer", "digest": "00"}, "body.digest"),
    ],
)
async def test_a_token_has_a_name_a_known_role_and_an_end(desk: Any, body: dict[str, Any], field: str) -> None:
    """A token that breaks a rule is refused with the field's name, and leaves no record."""
    answer = await desk.call("POST", "/v1/tokens", json=body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert await desk.state.xlen(AUDIT) == 0


async def test_a_name_is_one_tokens(desk: Any) -> None:
    """The name of a token that counts, or of the settings' own, is refused in any letter case; it frees with its end."""
    for name in ("bootstrap", "Bootstrap", " BOOTSTRAP "):
        answer = await desk.call("POST", "/v1/tokens", json={"name": name, "role": "viewer"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.name")
    ann = await desk.token("analyst", "Ann B")
    for name in ("Ann B", "ann b", "ANN  B "):
        answer = await desk.call("POST", "/v1/tokens", json={"name": name, "role": "approver"})
        assert (answer.status_code, "this name already" in answer.json()["detail"]) == (409, True)
    await desk.call("DELETE", f"/v1/tokens/{ann[3:11]}")
    await desk.token("approver", "ann b")


async def test_of_many_that_ask_for_one_name_one_gets_it(desk: Any) -> None:
    """The name is looked at and taken in one step of the state server."""
    body = {"name": "night shift", "role": "viewer"}
    answers = await asyncio.gather(*[desk.call("POST", "/v1/tokens", json=body) for _ in range(8)])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_their_number_is_bounded(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound none is made; those that ended long ago make room."""
    monkeypatch.setattr(stored, "MAX_TOKENS", 3)
    made = [await desk.token("viewer", f"t{number}") for number in range(3)]
    assert (await desk.call("POST", "/v1/tokens", json={"name": "x", "role": "viewer"})).status_code == 422
    await desk.call("DELETE", f"/v1/tokens/{made[0][3:11]}")
    assert (await desk.call("POST", "/v1/tokens", json={"name": "x", "role": "viewer"})).status_code == 422
    monkeypatch.setattr(stored, "KEPT_SEC", -10)
    await desk.token("viewer", "now there is room")
    assert len((await desk.get("/v1/tokens"))["tokens"]) == 3


async def test_guesses_from_one_address_are_limited(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst of wrong tokens the address gets 429 with a time; a token in use goes on working from there."""
    monkeypatch.setattr(failures, "BURST", 5)
    used, unused = await desk.token("viewer"), await desk.token("viewer")
    assert (await desk.as_(used, "GET", "/v1/me")).status_code == 200
    codes = [(await desk.as_("wrong", "GET", "/v1/me")).status_code for _ in range(8)]
    assert codes == [401] * 5 + [429] * 3
    refused = await desk.as_(unused, "GET", "/v1/me")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await desk.as_(used, "GET", "/v1/me")).status_code == 200
    assert (await desk.call("GET", "/v1/me")).status_code == 200


async def test_who_came_and_who_was_refused_is_in_the_log(
    desk: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First use in an hour, wrong tokens, a lacking permission and a limited address are lines, without any secret."""
    monkeypatch.setattr(failures, "BURST", 3)
    caplog.set_level(logging.INFO)
    token, gone = await desk.token("viewer"), await desk.token("admin")
    await desk.call("DELETE", f"/v1/tokens/{gone[3:11]}")
    for _ in range(3):
        await desk.as_(token, "GET", "/v1/me")
    await desk.as_(token, "GET", "/v1/tokens")
    for wrong in (gone, "a wrong one", "another", "limited", "limited"):
        await desk.as_(wrong, "GET", "/v1/me")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("app.admin")]
    assert lines.count(f"token {token[3:11]}, role viewer, is in use") == 1
    assert lines.count(f"token {token[3:11]}, role viewer, was refused tokens.read") == 1
    assert f"a wrong token was refused: {gone[3:11]}" in lines
    assert lines.count("a wrong token was refused: none of ours") == 2
    assert lines.count("too many wrong tokens come from one address; for a while none is looked at") == 1
    assert token[12:] not in caplog.text
    assert gone[12:] not in caplog.text


async def test_requests_without_a_token_are_no_guesses(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that sends no token does not lock anybody out."""
    monkeypatch.setattr(failures, "BURST", 2)
    token = await desk.token("viewer")
    for _ in range(10):
        assert (await desk.as_("", "GET", "/v1/me")).status_code == 401
    assert (await desk.as_(token, "GET", "/v1/me")).status_code == 200


async def test_a_wrong_token_costs_the_state_nothing(desk: Any) -> None:
    """What has not the form and checksum of a token is refused without a look-up."""
    token = await desk.token("viewer")

    async def commands() -> int:
        return int((await desk.state.info("stats"))["total_commands_processed"])

    before = await commands()
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as http:
        for wrong in ("wrong", token[:-1] + "_", token[:11], "sw_" + "a" * 59):
            assert (await http.get("/v1/me", headers={"authorization": f"Bearer {wrong}"})).status_code == 401
    assert await commands() == before + 1  # the question itself


async def test_a_refusal_is_the_same_whatever_is_known(desk: Any) -> None:
    """A token with a known id and one with an unknown id are refused in the same words, after the same look-ups."""
    token, other = await desk.token("viewer"), auth.made()[0]
    body = f"{token[:11]}_{other[12:55]}"
    half_known = f"{body}_{auth._checksum(body)}"
    answers = [await desk.as_(wrong, "GET", "/v1/me") for wrong in (half_known, other)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
