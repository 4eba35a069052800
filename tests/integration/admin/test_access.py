"""Nothing but /healthz and /metrics answers without the token, however the address is spelled."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from app.admin import failures

OPEN = {"/healthz", "/metrics"}


def _routes(app: Any) -> list[tuple[str, str]]:
    """(method, path with its parameters filled in) of every route the application has, whoever added it."""
    found = []
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        path = re.sub(r"\{key_id\}", "ab" * 16, route.path)
        path = re.sub(r"\{[^}]+\}", "some", path)
        found += [(method, path) for method in sorted(route.methods or {"GET"})]
    return found


@pytest.fixture
def routes(desk: Any) -> list[tuple[str, str]]:
    """The routes of the application that the desk serves."""
    return _routes(desk.server.app)


def _body(method: str, path: str) -> dict[str, Any]:
    return {"content": b"{}"} if method in ("PUT", "POST", "PATCH") else {}


async def test_every_route_needs_the_token(
    desk: Any, routes: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk over all routes: no token and a wrong token get 401 everywhere but at the two open addresses."""
    monkeypatch.setattr(failures, "BURST", 10**9)  # how guesses are limited is tested with the tokens
    assert len(routes) >= 12
    assert {path for _, path in routes} >= OPEN
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as stranger:
        for method, path in routes:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic d3Jvbmc6d3Jvbmc="}):
                answer = await stranger.request(method, path, headers=headers, **_body(method, path))
                if path in OPEN:
                    assert answer.status_code == 200, path
                else:
                    assert answer.status_code == 401, (method, path, headers)
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert answer.headers["content-type"] == "application/problem+json"


async def test_every_route_answers_with_the_token(desk: Any, routes: list[tuple[str, str]]) -> None:
    """With the right token every route does its work: an answer of its own or a problem that it declares."""
    for method, path in routes:
        answer = await desk.call(method, path, **_body(method, path))
        assert answer.status_code in (200, 204, 404, 422), (method, path, answer.text)


async def test_an_unguarded_route_would_be_found(desk: Any) -> None:
    """The walk sees a route that somebody adds to the application without a guard."""
    app = desk.server.app
    before = set(_routes(app))

    @app.get("/v1/keys-for-everyone")
    async def slip() -> dict[str, str]:
        return {}

    assert set(_routes(app)) - before == {("GET", "/v1/keys-for-everyone")}


NEARLY = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer  ",
    "{token}",
    "Basic {token}",
    "Bearer {token}x",
    "Bearer x{token}",
    "Bearer {half}",
    "Bearer {upper}",
    "Bearer {token},",
    "Bearer Bearer {token}",
    "Token {token}",
    "Bearer \xe9\xff",
]


async def test_only_the_exact_token_passes(desk: Any, token: str) -> None:
    """A part of the token, more than the token, another case or another scheme is refused."""
    for value in NEARLY:
        sent = value.format(token=token, half=token[: len(token) // 2], upper=token.upper()).encode("latin-1")
        status = await _raw(desk, b"GET /v1/keys HTTP/1.1\r\nHost: a\r\nAuthorization: " + sent)
        assert status.split()[1] == b"401", value


async def test_the_scheme_has_no_case(desk: Any, token: str) -> None:
    """RFC 9110: the name of an authentication scheme is read in any case."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await desk.http.get("/v1/keys", headers={"authorization": f"{scheme} {token}"})
        assert answer.status_code == 200


async def test_a_token_elsewhere_does_not_count(desk: Any, token: str) -> None:
    """The token in the query, a cookie or another header opens nothing."""
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as stranger:
        for more in (
            {"params": {"token": token, "access_token": token}},
            {"headers": {"cookie": f"token={token}"}},
            {"headers": {"x-api-key": token, "x-forwarded-authorization": f"Bearer {token}"}},
        ):
            answer = await stranger.get("/v1/keys", **more)  # type: ignore[arg-type]
            assert answer.status_code == 401


async def _raw(desk: Any, head: bytes, body: bytes = b"") -> bytes:
    """What the server answers to exactly these bytes, until it closes or is silent."""
    port = int(desk.server.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head + b"\r\n\r\n" + body)
        async with asyncio.timeout(10):
            status = await reader.readline()
            while (await reader.readline()).strip():
                pass
        return status
    finally:
        writer.close()
        await writer.wait_closed()


TARGETS = [
    b"/v1/keys",
    b"/v1/keys?",
    b"/v1/keys#x",
    b"/v1/keys/",
    b"//v1/keys",
    b"/v1//keys",
    b"/V1/KEYS",
    b"/v1/Keys",
    b"/v1/./keys",
    b"/v1/../v1/keys",
    b"/healthz/../v1/keys",
    b"/healthz%2f..%2fv1%2fkeys",
    b"/healthz;/v1/keys",
    b"/metrics?/v1/keys",
    b"/%76%31/keys",
    b"/v1%2fkeys",
    b"/v1/keys%00",
    b"/v1/keys%20",
    b"/v1/keys\\",
    b"/v1/accounts%3Aimport",
    b"http://127.0.0.1/v1/keys",
    b"http://evil.example/v1/keys",
    b"*",
    b"/openapi.json",
    b"/docs",
    b"/redoc",
    b"/v1/openapi.json",
]
HOSTS = [b"127.0.0.1", b"evil.example", b"/healthz", b"a/healthz?", b"healthz#", b""]
METHODS = [b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"POST", b"PATCH", b"get", b"PROPFIND", b"X", b"G E T"]


async def test_no_spelling_of_an_address_opens_it(desk: Any) -> None:
    """Whatever the target and the Host header look like, without the token there is no success but the open addresses'."""
    for target, host in itertools.product(TARGETS, HOSTS):
        status = await _raw(desk, b"GET " + target + b" HTTP/1.1\r\nHost: " + host)
        code = int(status.split()[1])
        if target.partition(b"?")[0] in (b"/healthz", b"/metrics"):
            assert code == 200
        else:
            assert code in (400, 401, 404, 405), (target, host, status)


async def test_no_method_opens_an_address(desk: Any) -> None:
    """Another method than the route's gets no success without the token, nor a fault of ours."""
    for method in METHODS:
        status = await _raw(desk, method + b" /v1/keys HTTP/1.1\r\nHost: a")
        assert int(status.split()[1]) in (400, 401, 404, 405), (method, status)


async def test_headers_that_name_another_address_change_nothing(desk: Any) -> None:
    """Rewriting headers that some proxies honour do not lead around the token."""
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as stranger:
        for name in ("x-original-url", "x-rewrite-url", "x-forwarded-prefix", "x-forwarded-host", "x-http-method-override"):
            assert (await stranger.get("/v1/keys", headers={name: "/healthz"})).status_code == 401
            assert (await stranger.get("/healthz", headers={name: "/v1/keys"})).json() == {"status": "ok"}


async def test_two_authorization_headers_do_not_add_up(desk: Any, token: str) -> None:
    """The first one counts: a wrong one in front of the right one is refused."""
    both = [("authorization", "Bearer wrong"), ("authorization", f"Bearer {token}")]
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as stranger:
        assert (await stranger.get("/v1/keys", headers=both)).status_code == 401


async def test_the_body_is_not_read_before_the_token(desk: Any) -> None:
    """A stranger's body is neither waited for nor judged: the refusal comes before it was sent."""
    for target in (b"PUT /v1/accounts/" + b"ab" * 16, b"POST /v1/accounts:import"):
        status = await _raw(desk, target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 20000", b"not json")
        assert status.split()[1] == b"401"


async def test_refusals_are_counted_by_kind(desk: Any) -> None:
    """Missing and wrong tokens have a counter each, and requests are counted by the name of their route."""

    async def counted() -> dict[str, float]:
        text = (await desk.http.get("/metrics")).text
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}

    before = await counted()
    async with httpx2.AsyncClient(base_url=desk.server.url, trust_env=False) as stranger:
        await stranger.get("/v1/keys/" + "cd" * 16)
        await stranger.get("/v1/keys/" + "ef" * 16, headers={"authorization": "Bearer no"})
        await stranger.get("/v1/nothing-" + "ef" * 16)
    after = await counted()
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown['stillwatch_auth_failures_total{kind="missing"}'] == 1
    assert grown['stillwatch_auth_failures_total{kind="wrong"}'] == 1
    assert grown['stillwatch_admin_requests_total{route="get_key",status="4xx"}'] == 2
    assert grown['stillwatch_admin_requests_total{route="none",status="4xx"}'] == 1
    assert not [name for name in after if "cdcd" in name or "efef" in name]
