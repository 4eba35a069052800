"""The words a refusal is answered with: exact OpenAI and Anthropic bodies, or problem+json where the client asks for it.

The shapes are those the official SDKs turn into their own exception classes: OpenAI wants ``error`` with all four members,
Anthropic wants ``type``, ``error`` and ``request_id``. No text here names a detector, a score or a threshold, and none
ever quotes a credential.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

Headers = list[tuple[bytes, bytes]]

RETRY_AFTER_MAX_SEC = 60
"""SDKs sleep as long as they are told; a longer wait would look like a hang, so it is never asked for."""

_PROBLEM_BASE = "https://iana.org/assignments/http-problem-types#"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to say no. `anthropic_status` differs only where that API has a status of its own."""

    status: int
    openai_type: str
    openai_code: str | None
    anthropic_type: str
    anthropic_status: int = 0
    retry: bool | None = None  # value of x-should-retry; None leaves the SDK's own rule
    problem: str = ""  # problem type of draft-ietf-httpapi-ratelimit-headers, section 6

    def name_in(self, dialect: str) -> str:
        """The error's type as the dialect spells it."""
        return self.anthropic_type if dialect == "anthropic" else self.openai_type


BAD_REQUEST = Kind(400, "invalid_request_error", None, "invalid_request_error")
BAD_JSON = Kind(400, "invalid_request_error", "invalid_json", "invalid_request_error")
UNAUTHENTICATED = Kind(401, "invalid_request_error", "invalid_api_key", "authentication_error")
STEP_UP = Kind(403, "request_forbidden", "verification_required", "permission_error", retry=False)
SUSPENDED = Kind(403, "request_forbidden", "access_suspended", "permission_error", retry=False)
NOT_OFFERED = Kind(403, "request_forbidden", "operation_not_offered", "permission_error", retry=False)
METHOD = Kind(405, "invalid_request_error", "method_not_supported", "invalid_request_error")
TIMEOUT = Kind(408, "invalid_request_error", "request_timeout", "invalid_request_error")
TOO_LARGE = Kind(413, "invalid_request_error", "request_too_large", "request_too_large")
ENCODING = Kind(415, "invalid_request_error", "unsupported_content_encoding", "invalid_request_error")
HEADERS_TOO_LARGE = Kind(431, "invalid_request_error", "headers_too_large", "invalid_request_error")
LIMITED_REQUESTS = Kind(429, "requests", "rate_limit_exceeded", "rate_limit_error", problem="quota-exceeded")
LIMITED_TOKENS = Kind(429, "tokens", "rate_limit_exceeded", "rate_limit_error", problem="quota-exceeded")
QUOTA = Kind(429, "insufficient_quota", "insufficient_quota", "rate_limit_error", retry=False, problem="quota-exceeded")
INTERNAL = Kind(500, "server_error", None, "api_error")
UNREACHABLE = Kind(502, "server_error", "upstream_unavailable", "api_error")
BROKEN = Kind(502, "server_error", "upstream_error", "api_error")
BUSY = Kind(
    503, "server_error", "overloaded", "overloaded_error", anthropic_status=529, problem="temporary-reduced-capacity"
)
UPSTREAM_TIMEOUT = Kind(504, "server_error", "upstream_timeout", "timeout_error")

_LIMIT_KINDS = {"requests": LIMITED_REQUESTS, "concurrent": LIMITED_REQUESTS, "tokens_day": QUOTA}

_LIMIT_WORDS = {
    "requests": "requests per min (RPM)",
    "input_tokens": "input tokens per min (ITPM)",
    "output_tokens": "output tokens per min (OTPM)",
    "tokens_day": "tokens per day (TPD)",
    "concurrent": "concurrent requests",
}


class Refuse(Exception):
    """Raised on the way to a decision: this request is answered by us.

    Attributes:
        kind: the wire form.
        message: a sentence for the developer.
        why: label of the rule for the metric; from a fixed list.
        details: extra member of the Anthropic error.
        action: the step of the ladder that blocks the key; "" for any other reason.
    """

    def __init__(
        self, kind: Kind, message: str, why: str, *, details: dict[str, str] | None = None, action: str = ""
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.why = why
        self.details = details
        self.action = action


@dataclass(frozen=True, slots=True)
class WireError:
    """A finished answer."""

    status: int
    headers: Headers
    body: bytes


def limit_kind(limited_by: str) -> Kind:
    """Wire form of a refused decision: the same whether a verdict narrowed the budget or not."""
    return _LIMIT_KINDS.get(limited_by, LIMITED_TOKENS)


def blocked(action: str, ref: str, url: str) -> Refuse:
    """The refusal of a key by a person's order or a policy: what is asked of the customer, and under which reference.

    Anthropic's own word for a suspension is `organization_on_hold`, whose details its SDKs know by type; for a verification
    it has none, so there the sentence has to do.

    Args:
        action: step_up or suspend.
        ref: of the action; "" where there is none.
        url: where the customer verifies itself, or appeals; "" where the provider has configured none.
    """
    named = f" Reference: {ref}." if ref else ""
    if action == "step_up":
        how = f"Please go to {url} to verify it." if url else "Please contact us to verify it."
        message = f"Your organization must be verified to go on using this API. {how}{named}"
        return Refuse(STEP_UP, message, "action", action=action)
    how = f"You can appeal at {url}." if url else "Please contact us if you think this is a mistake."
    details = {"error_code": "organization_on_hold"}
    if url:
        details["appeal_url"] = url
    message = f"Access to this API has been suspended for your organization. {how}{named}"
    return Refuse(SUSPENDED, message, "action", details=details, action=action)


def limit_message(limited_by: str, scope: str, retry_after_ms: int, limit: float | None, *, oversized: bool = False) -> str:
    """The sentence of a 429, in the words developers know from the providers. `oversized`: waiting does not help."""
    wait = (
        f"{max(1, retry_after_ms)}ms"
        if retry_after_ms < 1000
        else f"{retry_after_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    )
    words = _LIMIT_WORDS.get(limited_by, limited_by or "usage")
    bound = f": Limit {limit:.0f}" if limit else ""
    where = f" for this {scope}" if scope else ""
    if oversized:
        return f"Request too large{where} on {words}{bound}. Send a smaller request, or allow fewer output tokens."
    return f"Rate limit reached{where} on {words}{bound}. Please try again in {wait}."


def retry_headers(retry_after_ms: int) -> Headers:
    """`retry-after` in whole seconds, rounded up so that obeying it is enough, and the finer form the SDKs prefer."""
    capped = min(max(1, retry_after_ms), RETRY_AFTER_MAX_SEC * 1000)
    return [(b"retry-after", b"%d" % -(-capped // 1000)), (b"retry-after-ms", b"%d" % capped)]


def render(
    kind: Kind,
    message: str,
    *,
    dialect: str,
    request_id: str,
    accept: bytes = b"",
    details: dict[str, str] | None = None,
    policies: tuple[str, ...] = (),
) -> WireError:
    """One refusal in the caller's dialect.

    Args:
        kind: one of the kinds above.
        message: a sentence for the developer.
        dialect: openai, anthropic, or anything else, which gets the OpenAI shape.
        request_id: goes into the header and, for Anthropic, the body.
        accept: the client's Accept header; naming application/problem+json selects RFC 9457.
        details: extra member of the Anthropic error, e.g. {"error_code": "organization_on_hold"}.
        policies: names of the violated limits, for problem+json.
    """
    anthropic = dialect == "anthropic"
    status = kind.anthropic_status if anthropic and kind.anthropic_status else kind.status
    content_type = b"application/json"
    if b"application/problem+json" in accept:
        content_type = b"application/problem+json"
        body = _problem(kind, status, message, request_id, policies)
    elif anthropic:
        body = _anthropic(kind, message, request_id, details)
    else:
        body = _openai(kind, message)
    headers: Headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"request-id" if anthropic else b"x-request-id", request_id.encode()),
    ]
    if kind.retry is not None:
        headers.append((b"x-should-retry", b"true" if kind.retry else b"false"))
    return WireError(status, headers, body)


def stream_error(
    kind: Kind, message: str, *, dialect: str, route: str, request_id: str, details: dict[str, str] | None = None
) -> bytes:
    """The event that ends a stream which cannot go on; SDKs raise on it, and never on a stream that just stops."""
    if dialect == "anthropic":
        return b"event: error\ndata: " + _anthropic(kind, message, request_id, details) + b"\n\n"
    if route == "responses":
        # The flat members are the documented event; the SDK raises only on the nested one, and yields the other.
        error = {"message": message, "type": kind.openai_type, "param": None, "code": kind.openai_code}
        flat = {"type": "error", "code": kind.openai_code, "message": message, "param": None, "sequence_number": 0}
        return b"event: error\ndata: " + orjson.dumps({**flat, "error": error}) + b"\n\n"
    return b"data: " + _openai(kind, message) + b"\n\n"


def _openai(kind: Kind, message: str) -> bytes:
    error = {"message": message, "type": kind.openai_type, "param": None, "code": kind.openai_code}
    return orjson.dumps({"error": error})


def _anthropic(kind: Kind, message: str, request_id: str, details: dict[str, str] | None) -> bytes:
    error: dict[str, object] = {"type": kind.anthropic_type, "message": message}
    if details:
        error["details"] = details
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def _problem(kind: Kind, status: int, message: str, request_id: str, policies: tuple[str, ...]) -> bytes:
    body: dict[str, object] = {
        "type": _PROBLEM_BASE + kind.problem if kind.problem else "about:blank",
        "title": kind.problem.replace("-", " ").capitalize() if kind.problem else kind.openai_type,
        "status": status,
        "detail": message,
        "instance": f"urn:request:{request_id}",
    }
    if kind.problem and policies:
        body["violated-policies"] = list(policies)
    return orjson.dumps(body)
