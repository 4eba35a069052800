"""The headers of an answer on their way from the upstream to the client."""

from __future__ import annotations

from app.enforcement.wire_errors import Headers
from app.gateway.routes import Route
from app.limits.headers import rate_headers
from app.limits.limiter import Decision

_RATE_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")


def answer_headers(
    headers: Headers, route: Route, decision: Decision | None, request_id: str
) -> tuple[Headers, bytes, bool]:
    """(headers for the client, content type, whether the body is compressed).

    Args:
        headers: of the upstream, without hop-by-hop fields, names in lower case; a name may be added to the list.
        route: whose dialect names the rate headers and the request id.
        decision: what our own rate headers say, which replace the upstream's; None leaves those.
        request_id: told where the upstream gave none.
    """
    content_type = b""
    encoded = False
    has_id = False
    id_name = b"request-id" if route.dialect == "anthropic" else b"x-request-id"
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-encoding":
            encoded = value.strip().lower() != b"identity"
        elif name == id_name:
            has_id = True
    if decision is not None:
        ours = rate_headers(decision, route.dialect)
        if ours:
            headers = [pair for pair in headers if not pair[0].startswith(_RATE_PREFIXES)]
            headers += ours
    if not has_id:
        headers.append((id_name, request_id.encode()))
    return headers, content_type, encoded
