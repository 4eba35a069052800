"""Role × route: each role may call exactly the routes of its permissions, and no bad token may call any."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import Any

import httpx2
import msgspec
import pytest

from app.admin import failures
from app.admin.permissions import check_declared, route_of
from app.state.keys import TOKENS
from app.state.tokens import Token

ROLES = ("viewer", "analyst", "approver", "admin", "auditor")

MAY = {
    "api.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "health.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "keys.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "events.read": {"analyst", "approver", "admin", "auditor"},
    "orders.write": {"analyst", "approver", "admin"},
    "orders.suspend": {"approver", "admin"},
    "orders.approve": {"approver", "admin"},
    "accounts.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "accounts.write": {"admin"},
    "plans.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "plans.write": {"admin"},
    "policy.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "policy.write": {"admin"},
    "allow.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "allow.write": {"approver", "admin"},
    "kill.read": {"viewer", "analyst", "approver", "admin", "auditor"},
    "kill.write": {"approver", "admin"},
    "appeals.read": {"analyst", "approver", "admin", "auditor"},
    "appeals.write": {"analyst", "approver", "admin"},
    "erase": {"admin"},
    "tokens.read": {"admin", "auditor"},
    "tokens.write": {"admin"},
    "audit.read": {"admin", "auditor"},
    "intel.read": {"analyst", "approver", "admin", "auditor"},
    "intel.propose": {"analyst", "approver", "admin"},
    "intel.write": {"admin"},
    "watermark.read": {"analyst", "approver", "admin", "auditor"},
    "watermark.investigate": {"analyst", "approver", "admin"},
    "watermark.tag": {"approver", "admin"},
}
"""Written out here a second time on purpose: a slip in the code's table shows."""

OPEN = {"/healthz", "/metrics"}


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every wrong token of these tests comes from one address; how they are limited is tested with the tokens.
    monkeypatch.setattr(failures, "BURST", 10**9)


def _operations(desk: Any) -> list[tuple[str, str, str]]:
    """(method, template, path with its parameters filled in) of every operation of the API's own description."""
    found = []
    for template, operations in desk.description.document["paths"].items():
        path = template.replace("{key_id}", "ab" * 16)
        path = re.sub(r"\{[^}]+\}", "some1234", path)
        found += [(method.upper(), template, path) for method in operations]
    return found


async def _tokens(desk: Any) -> dict[str, str]:
    return {role: await desk.token(role, f"the {role}") for role in ROLES}


async def test_each_role_may_do_what_it_may_and_nothing_else(desk: Any) -> None:
    """A walk over all roles and all routes: 403 exactly where the role lacks the route's permission."""
    declared = route_of(desk.server.app)
    tokens = await _tokens(desk)
    walked = 0
    for method, template, path in _operations(desk):
        if template in OPEN:
            assert not declared[method, template]
            continue
        (permission,) = declared[method, template]
        for role, token in tokens.items():
            body = {"content": b"{}"} if method in ("PUT", "POST", "PATCH") else {}
            answer = await desk.as_(token, method, path, **body)
            where = (role, method, path, answer.status_code)
            if role in MAY[permission]:
                assert answer.status_code in (200, 201, 202, 204, 404, 409, 422), where
            else:
                assert answer.status_code == 403, where
                assert permission in answer.json()["detail"], where
            walked += 1
    assert walked >= len(ROLES) * 15


def test_the_table_of_roles_is_the_written_one() -> None:
    """The roles of the code have exactly the permissions of the table above."""
    from app.admin.roles import PERMISSIONS
    from app.admin.roles import ROLES as CODE

    assert set(PERMISSIONS) == set(MAY)
    for permission, role in itertools.product(PERMISSIONS, ROLES):
        assert (permission in CODE[role]) is (role in MAY[permission]), (permission, role)  # type: ignore[index]


async def test_reading_and_changing_are_different_permissions(desk: Any) -> None:
    """Each GET needs a permission to read, and no other method is content with one."""
    for (method, path), permissions in route_of(desk.server.app).items():
        if path in OPEN:
            continue
        (permission,) = permissions
        if not path.endswith(":preview"):  # asked with a body, and nothing is changed
            assert permission.endswith(".read") is (method == "GET"), (method, path, permission)


async def test_a_route_without_a_permission_does_not_start(desk: Any) -> None:
    """An application with a route that declares nothing, or two permissions, is refused before it serves."""
    app = desk.server.app
    check_declared(app, tuple(OPEN))

    @app.get("/v1/slip")
    async def slip() -> dict[str, str]:
        return {}

    with pytest.raises(RuntimeError, match="GET /v1/slip declares 0 permissions; it must declare one"):
        check_declared(app, tuple(OPEN))


async def _bad_tokens(desk: Any) -> dict[str, str]:
    """Tokens that must open nothing, by what is wrong with them."""
    revoked = await desk.token("admin", "revoked")
    await desk.call("DELETE", f"/v1/tokens/{revoked[3:11]}")
    expired = await desk.token("admin", "expired")
    data = msgspec.json.decode(await desk.state.hget(TOKENS, expired[3:11]), type=Token)
    ended = msgspec.structs.replace(data, expires_sec=int(time.time()) - 1)
    await desk.state.hset(TOKENS, expired[3:11], msgspec.json.encode(ended))
    unknown_role = await desk.token("viewer", "unknown role")
    data = msgspec.json.decode(await desk.state.hget(TOKENS, unknown_role[3:11]), type=Token)
    await desk.state.hset(TOKENS, unknown_role[3:11], msgspec.json.encode(msgspec.structs.replace(data, role="root")))
    good = await desk.token("admin", "good")
    return {
        "none": "",
        "wrong": "wrong",
        "revoked": revoked,
        "expired": expired,
        "of a role that is unknown": unknown_role,
        "with another checksum": good[:-1] + ("a" if good[-1] != "a" else "b"),
        "cut": good[:-1],
        "id only": good[:11],
        "upper case": good.upper(),
    }


async def test_no_bad_token_opens_a_route(desk: Any) -> None:
    """No token, a wrong, revoked, expired or maimed one: 401 on every route but the two open ones."""
    operations = _operations(desk)
    for kind, token in (await _bad_tokens(desk)).items():
        for method, _, path in operations:
            if path not in OPEN:
                body = {"content": b"{}"} if method in ("PUT", "POST", "PATCH") else {}
                answer = await desk.as_(token, method, path, **body)
                assert answer.status_code == 401, (kind, method, path)


TARGETS = [
    b"/v1/tokens",
    b"/v1/tokens/",
    b"//v1/tokens",
    b"/v1//tokens",
    b"/V1/tokens",
    b"/v1/Tokens",
    b"/v1/./tokens",
    b"/v1/keys/../tokens",
    b"/healthz/../v1/tokens",
    b"/healthz/..;/v1/tokens",
    b"/v1/%2e%2e/v1/tokens",
    b"/healthz/%2e%2e/v1/tokens",
    b"/v1%2Ftokens",
    b"/v1/tokens%2F",
    b"/v1/%74okens",
    b"/v1/%2574okens",
    b"/v1/tokens;x",
    b"/v1/tokens;/../healthz",
    b"/v1/tokens%00",
    b"/v1/tokens%00/healthz",
    b"/v1/tokens%0d%0aX-A:b",
    b"/v1/tokens?/healthz",
    b"/v1/tokens#/healthz",
    b"/v1/tokens\\",
    b"http://127.0.0.1/v1/tokens",
    b"http://evil.example/v1/tokens",
    b"http://evil.example/healthz/v1/tokens",
    b"http:/v1/tokens",
    b"/v1/audit",
    b"/v1/audit:export",
    b"/v1/audit%3Aexport",
    b"/v1/accounts%3Aimport",
    b"*",
    b"v1/tokens",
]
HOSTS = [b"127.0.0.1", b"evil.example", b"/healthz?", b"a/healthz#", b"a\\healthz", b"[::1", b""]
"""Some make a URL of host and path mean another address: CVE-2026-48710. Routes are chosen by path alone."""

METHODS = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"get", b"Get", b"POST", b"DELETE", b"PATCH", b"PROPFIND", b"X"]
OVERRIDES = [
    b"X-HTTP-Method-Override: GET",
    b"X-HTTP-Method: GET",
    b"X-Method-Override: GET",
    b"X-Original-URL: /v1/me",
    b"X-Rewrite-URL: /v1/me",
    b"X-Forwarded-Prefix: /v1/me",
    b"X-Forwarded-For: 127.0.0.1",
    b"X-Forwarded-User: admin",
    b"X-Original-Method: GET",
]


async def _codes(desk: Any, heads: list[bytes]) -> list[int]:
    """The status of the answer to each head, sent as these bytes on connections of their own."""
    port = int(desk.server.url.rsplit(":", 1)[1])
    some = asyncio.Semaphore(20)

    async def code(head: bytes) -> int:
        async with some, asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head + b"\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
                return int(status.split()[1])
            finally:
                writer.close()

    return await asyncio.gather(*map(code, heads))


async def test_no_spelling_of_a_request_gets_around_the_role(desk: Any) -> None:
    """A viewer's token opens no way to tokens or audit, and no token opens none, however target, Host and method look."""
    viewer = (await desk.token("viewer")).encode()
    heads = [
        method + b" " + target + b" HTTP/1.1\r\nHost: " + host + authorization
        for method, target, host in (
            *itertools.product([b"GET"], TARGETS, HOSTS),
            *itertools.product(METHODS, TARGETS, HOSTS[:1]),
        )
        for authorization in (b"", b"\r\nAuthorization: Bearer " + viewer)
    ]
    for head, code in zip(heads, await _codes(desk, heads), strict=True):
        assert code in (400, 401, 403, 404, 405), (head, code)
    assert len(heads) > 1000


async def test_headers_do_not_change_route_or_method(desk: Any) -> None:
    """What some frameworks take for the real method or address is no more than a header here."""
    viewer = (await desk.token("viewer")).encode()
    heads = [
        method + b" /v1/tokens HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + viewer + b"\r\n" + header
        for method, header in itertools.product([b"GET", b"POST", b"DELETE", b"OPTIONS"], OVERRIDES)
    ]
    for head, code in zip(heads, await _codes(desk, heads), strict=True):
        assert code in (400, 403, 405), (head, code)


async def test_two_authorizations_are_none(desk: Any, token: str) -> None:
    """A proxy could read the one and we the other; so a request with two is refused, whichever stands first."""
    viewer = await desk.token("viewer")
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as http:
        for first, second in ((viewer, token), (token, viewer), (token, token), (token, "wrong")):
            both = [("authorization", f"Bearer {first}"), ("Authorization", f"Bearer {second}")]
            assert (await http.get("/v1/me", headers=both)).status_code == 401


async def test_me_says_what_the_role_may(desk: Any) -> None:
    """GET /v1/me names the caller, the role and exactly its permissions."""
    for role, token in (await _tokens(desk)).items():
        me = (await desk.as_(token, "GET", "/v1/me")).json()
        assert (me["token_id"], me["name"], me["role"]) == (token[3:11], f"the {role}", role)
        assert set(me["permissions"]) == {permission for permission, roles in MAY.items() if role in roles}
    boot = await desk.get("/v1/me")
    assert (boot["token_id"], boot["role"]) == ("bootstrap", "admin")
