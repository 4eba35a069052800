"""Which API a path belongs to. Route names are a fixed list, so they may be metric labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.enforcement.wire_errors import BAD_REQUEST, METHOD, Refuse


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of one dialect.

    Attributes:
        dialect: openai, anthropic, other: decides the shape of our errors and how bodies are read.
        name: as in ``Event.route``.
        json_body: the operation takes a JSON object, so anything else is refused before it is forwarded.
        generates: the answer holds output tokens, so some are reserved.
    """

    dialect: str
    name: str
    json_body: bool = False
    generates: bool = False


OTHER = Route("other", "other")
MODELS = Route("openai", "models")

_POSTS = {
    "/chat/completions": Route("openai", "chat", True, True),
    "/responses": Route("openai", "responses", True, True),
    "/completions": Route("openai", "completions", True, True),
    "/embeddings": Route("openai", "embeddings", True),
    "/messages": Route("anthropic", "messages", True, True),
    "/messages/count_tokens": Route("anthropic", "count_tokens", True),
}
_EXACT = {prefix + path: route for path, route in _POSTS.items() for prefix in ("", "/v1")}
_OPERATION = {route.name: route for route in _POSTS.values()}
_SLASHES = re.compile("/{2,}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""What is proxied. TRACE would show a client what we add to its request; CONNECT is for proxies of another kind."""


def classify(method: str, path: str) -> Route:
    """Route of a request, by the decoded path.

    A doubled or trailing slash is looked through, because upstreams do that too and a detour around the limits
    of a route must not be that cheap.

    Raises:
        Refuse: the method is none that is proxied, or the path has a dot segment, with which a client could leave the
            configured upstream path.
    """
    if method == "POST":
        route = _EXACT.get(path)
        if route is not None:
            return route
    if method not in _METHODS:
        raise Refuse(METHOD, "This method is not supported.", "method")
    if not path.startswith("/"):
        raise Refuse(BAD_REQUEST, "The path must start with a slash.", "path")
    if "." in path and any(part in (".", "..") for part in path.replace("\\", "/").split("/")):
        raise Refuse(BAD_REQUEST, "The path must not contain . or .. segments.", "path")
    plain = _SLASHES.sub("/", path).rstrip("/")
    if method == "POST":
        return _EXACT.get(plain, OTHER)
    if method in ("GET", "HEAD"):
        bare = plain.removeprefix("/v1")
        if bare == "/models" or bare.startswith("/models/"):
            return MODELS
    return OTHER


def operation(name: str) -> Route:
    """Route by its name in ``Event.route``; unknown names are OTHER."""
    return MODELS if name == "models" else _OPERATION.get(name, OTHER)
