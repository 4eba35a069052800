"""Which operation a path is, however it is spelt."""

from __future__ import annotations

import pytest

from app.enforcement.wire_errors import Refuse
from app.gateway.routes import MODELS, OTHER, classify, operation


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("POST", "/chat/completions", "chat"),
        ("POST", "/v1/chat/completions/", "chat"),
        ("POST", "//v1///chat/completions", "chat"),
        ("POST", "/v1/responses", "responses"),
        ("POST", "/v1/completions", "completions"),
        ("POST", "/v1/embeddings", "embeddings"),
        ("POST", "/v1/messages", "messages"),
        ("POST", "/v1/messages/count_tokens", "count_tokens"),
        ("GET", "/v1/models", "models"),
        ("HEAD", "/models/some-model", "models"),
        ("GET", "/v1/models/org/name", "models"),
        ("GET", "/v1/chat/completions", "other"),
        ("PUT", "/v1/messages", "other"),
        ("POST", "/v1/messages/batches", "other"),
        ("POST", "/v2/chat/completions", "other"),
        ("GET", "/v1/modelsx", "other"),
        ("OPTIONS", "/", "other"),
        ("POST", "/v1/files/a.b..c/.hidden", "other"),
    ],
)
def test_route_of_a_path(method: str, path: str, name: str) -> None:
    """Every operation is found by its path with or without version, and nothing else is taken for one."""
    assert classify(method, path).name == name


@pytest.mark.parametrize("path", ["/v1/../x", "/..", "/v1/.", "/./v1", "/v1/..\\x", "\\..\\x", "", "v1/models", "*"])
def test_paths_that_could_leave_the_upstreams_are_refused(path: str) -> None:
    """Dot segments, backslashes around them, and paths without a root are refused."""
    with pytest.raises(Refuse) as caught:
        classify("GET", path)
    assert caught.value.why == "path"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", ""])
def test_other_methods_are_refused(method: str) -> None:
    """Only the methods of APIs are proxied."""
    with pytest.raises(Refuse) as caught:
        classify(method, "/v1/models")
    assert (caught.value.why, caught.value.kind.status) == ("method", 405)


def test_operations_by_name() -> None:
    """A name in an event leads back to its route, and an unknown one to none."""
    assert operation("chat") is classify("POST", "/v1/chat/completions")
    assert operation("models") is MODELS
    assert operation("some later route") is OTHER
