"""Requests that are unusual but right, and what of a request reaches the upstream."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

BODY = b'{"model":"still-small-2","messages":[{"role":"user","content":"hi"}],"max_tokens":4}'


def post(
    key: str, *extra: bytes, body: bytes = BODY, host: bytes = b"127.0.0.1", target: bytes = b"/v1/chat/completions"
) -> bytes:
    """A chat request with extra header lines."""
    lines = [
        b"POST " + target + b" HTTP/1.1",
        b"Host: " + host,
        b"Authorization: Bearer " + key.encode(),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *extra,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture
def seen(rig: Any, key: str) -> Any:
    """The calls that reached the simulated API with this test's credential."""

    def find() -> list[Any]:
        return [
            call
            for call in rig.api.calls
            if key in call.headers.get("authorization", "") + call.headers.get("x-api-key", "")
        ]

    return find


def test_head_and_large_body_in_one_read_pass(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """A head with 200 KB of body behind it in the same read is no oversized head."""
    body = orjson.dumps({**orjson.loads(BODY), "messages": [{"role": "user", "content": "a" * 200_000}]})
    assert raw(gateway.url, post(key, body=body)).reply.status == 200
    assert seen()[0].body == body


def test_pipelined_requests_are_answered_in_order(gateway: Any, raw: Any, key: str) -> None:
    """Three requests in one write get three answers, in the order of the requests."""
    bodies = [BODY.replace(b"still-small-2", name) for name in (b"still-small-2", b"no-such-model", b"still-large-2")]
    wire = raw(gateway.url, b"".join(post(key, body=body) for body in bodies), replies=3)
    assert [reply.status for reply in wire.replies] == [200, 404, 200]
    assert wire.replies[2].json["model"] == "still-large-2"


def test_large_body_before_a_pipelined_head_is_not_counted_as_head(gateway: Any, raw: Any, key: str) -> None:
    """The tail of a body and half of the next head in one read are told apart."""
    body = orjson.dumps({**orjson.loads(BODY), "user": "a" * 100_000})
    second = post(key)
    wire = raw(gateway.url, [post(key, body=body) + second[:40], 0.2, second[40:]], replies=2)
    assert [reply.status for reply in wire.replies] == [200, 200]


def test_continue_is_sent_once_the_body_is_wanted(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """A client that asks before it sends its body is told to go on, and the upstream does not see the question."""
    whole = post(key, b"Expect: 100-continue")
    wire = raw(gateway.url, [whole[: -len(BODY)], 0.3, BODY])
    assert [reply.status for reply in wire.replies] == [100, 200]
    assert "expect" not in seen()[0].headers


def test_continue_is_not_sent_for_a_body_that_is_refused(gateway: Any, raw: Any, key: str) -> None:
    """A body announced as too large is refused before it is sent."""
    head = post(key, b"Expect: 100-continue").replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 99999999")
    assert raw(gateway.url, head[: -len(BODY)]).reply.status == 413


def test_http_1_0_is_answered_and_closed(gateway: Any, raw: Any, key: str) -> None:
    """An old client gets one answer and the end of the connection."""
    wire = raw(gateway.url, post(key).replace(b"HTTP/1.1", b"HTTP/1.0"), replies=2)
    assert wire.reply.status == 200
    assert wire.closed


def test_absolute_target_is_served_at_the_configured_upstream(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """The authority of an absolute target changes nothing about where a request goes."""
    wire = raw(gateway.url, post(key, target=b"http://elsewhere.test/v1/chat/completions"))
    assert wire.reply.status == 200
    assert seen()[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("target", [b"/v1/chat/completions/", b"//v1//chat/completions", b"/v1/chat%2Fcompletions"])
def test_detours_in_the_path_are_read_like_the_route(target: bytes, gateway: Any, raw: Any, key: str) -> None:
    """A spelling that some upstreams take for the same route has the same rules: its body must be JSON."""
    assert raw(gateway.url, post(key, target=target, body=b"no JSON")).reply.status == 400


def test_identity_coding_and_chunks_are_taken_off(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """A chunked body arrives at the upstream with a length, unchanged; trailers and chunk extensions do not."""
    head = post(key, b"Content-Encoding: identity", b"Transfer-Encoding: chunked", b"Trailer: X-Late")
    head = head[: -len(BODY)].replace(b"Content-Length: %d\r\n" % len(BODY), b"")
    body = b"5;a=b\r\n" + BODY[:5] + b"\r\n%x\r\n" % (len(BODY) - 5) + BODY[5:] + b"\r\n0\r\n"
    assert raw(gateway.url, head + body + b"X-Late: 1\r\nX-Api-Key: late\r\n\r\n").reply.status == 200
    (call,) = seen()
    assert call.body == BODY
    assert call.headers["content-length"] == str(len(BODY))
    assert not {"transfer-encoding", "content-encoding", "trailer", "x-late", "x-api-key"} & set(call.headers)


def test_headers_that_pose_as_infrastructure_do_not_pass(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """Internal, forwarding, hop-by-hop and Connection-listed headers end here; the client's own go on in order."""
    dropped = [
        b"X-Gw-Status: 200",
        b"X-Gw-Body: {}",
        b"X-Stillwatch-Key: root",
        b"X-Internal-Admin: 1",
        b"X-Original-URI: /",
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Host: evil.test",
        b"X-Forwarded-Proto: https",
        b"X-Real-IP: 1.2.3.4",
        b"Forwarded: for=1.2.3.4",
        b"Keep-Alive: timeout=5",
        b"Proxy-Authorization: Basic eA==",
        b"Proxy-Connection: close",
        b"TE: trailers",
        b"Connection: keep-alive, X-Listed",
        b"X-Listed: 1",
        b"Accept-Encoding: br",
    ]
    assert raw(gateway.url, post(key, *dropped, b"X-Mine: a", b"User-Agent: mine")).reply.status == 200
    (call,) = seen()
    names = list(call.headers)
    assert sorted(names) == sorted(
        ["host", "accept-encoding", "authorization", "content-type", "x-mine", "user-agent", "content-length"]
    )
    assert names.index("x-mine") < names.index("user-agent")
    assert call.headers["accept-encoding"] == "identity"
    assert call.headers["host"] != "127.0.0.1"


@pytest.mark.parametrize(
    ("target", "body", "kept"),
    [
        (b"/v1/chat/completions", BODY, "authorization"),
        (b"/v1/messages", BODY, "x-api-key"),
    ],
)
def test_of_two_credentials_the_upstream_gets_the_one_that_counted(
    target: bytes, body: bytes, kept: str, gateway: Any, raw: Any, key: str, seen: Any
) -> None:
    """A request with both credentials is charged to, and served under, the one that its API reads."""
    other = f"{key}-other"
    bearer = other if kept == "x-api-key" else key
    api_key = key if kept == "x-api-key" else other
    data = post(bearer, b"X-Api-Key: " + api_key.encode(), target=target, body=body)
    assert raw(gateway.url, data).reply.status == 200
    (call,) = seen()
    assert {"authorization", "x-api-key"} & set(call.headers) == {kept}
    assert len(gateway.events.of(gateway.key_id(key))) == 1


def test_a_listed_credential_is_not_forwarded_under_another(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """Naming a credential in Connection cannot make the upstream serve the one that was not charged."""
    data = post(key, b"X-Api-Key: smuggled", b"Connection: Authorization")
    assert raw(gateway.url, data).reply.status == 401
    assert not [call for call in gateway.core.active if call]
    assert all("smuggled" not in call.headers.values() for call in seen())


def test_other_routes_pass_untouched(gateway: Any, raw: Any, key: str, seen: Any) -> None:
    """A route of neither dialect is forwarded whatever its body is, and logged by its class only."""
    body = gzip.compress(b"anything")
    wire = raw(gateway.url, post(key, target=b"/v1/files?purpose=x%20y", body=body))
    assert wire.reply.status == 404  # the simulated API has no such POST
    assert seen()[0].body == body
    (event,) = gateway.events.of(gateway.key_id(key))
    assert (event.dialect, event.route, event.status, event.model) == ("other", "other", 404, "")


def test_answers_have_one_date_and_no_server_of_ours(gateway: Any, raw: Any, key: str) -> None:
    """The head of an answer is the upstream's, without its hop-by-hop fields and with one date."""
    reply = raw(gateway.url, post(key)).reply
    assert reply.header("date")
    assert reply.header("x-request-id").startswith("req_")
    assert reply.header("openai-version")


def test_address_behind_a_trusted_proxy_is_the_clients(rig: Any, gateway: Any, raw: Any, key: str) -> None:
    """Only a gateway told to trust the peer takes the address that it forwards; the event holds a hash of its network."""
    trusting = rig.gateway(sections={"identity": {"trusted_proxies": ("127.0.0.0/8",)}})
    forwarded = [b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-For: 203.0.113.7"]
    for line in forwarded:
        assert raw(trusting.url, post(key, line)).reply.status == 200
        assert raw(gateway.url, post(key, line)).reply.status == 200
    places = [[event.ip_prefix_id for event in made.events.of(made.key_id(key), 2)] for made in (trusting, gateway)]
    assert len(set(places[0])) == 2
    assert len(set(places[1])) == 1
    assert not set(places[0]) & set(places[1])


def test_idle_client_is_let_go_after_the_keep_alive_time(rig: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends no further request is disconnected; one in the middle of its next head is not, by that time."""
    monkeypatch.setattr("app.gateway.protocol.KEEP_ALIVE_SEC", 0.3)
    gateway = rig.gateway()
    ask = b"GET /v1/models HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Bearer sk-idle\r\n\r\n"
    wire = raw(gateway.url, [ask + ask[:20], 0.8, ask[20:]], replies=3)
    assert [reply.status for reply in wire.replies] == [200, 200]
    assert wire.closed
