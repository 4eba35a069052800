"""Whatever is sent, the answer is one that the description declares: never a fault, never a success without the token."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

IDS = st.sampled_from(
    ["0123456789abcdef" * 2, "f" * 32, "0" * 31, "0" * 33, "G" * 32, "wi-q7m2kd5xw3aha", "c-0123456789ab"]
) | st.text(max_size=40)
SEGMENT = IDS.map(lambda text: quote(text, safe=""))
PATHS = (
    st.sampled_from(["/v1/keys", "/v1/accounts", "/v1/accounts:import", "/v1/health", "/v1/openapi.json", "/healthz"])
    | SEGMENT.map(lambda part: f"/v1/keys/{part}")
    | SEGMENT.map(lambda part: f"/v1/keys/{part}/timeline")
    | SEGMENT.map(lambda part: f"/v1/keys/{part}:lift")
    | SEGMENT.map(lambda part: f"/v1/orgs/{part}")
    | SEGMENT.map(lambda part: f"/v1/accounts/{part}")
    | SEGMENT.map(lambda part: f"/v1/watermark/investigations/{part}")
    | SEGMENT.map(lambda part: f"/v1/watermark/investigations/{part}/corpus")
    | SEGMENT.map(lambda part: f"/v1/watermark/investigations/{part}:run")
    | SEGMENT.map(lambda part: f"/v1/watermark/groups/{part}")
    | st.lists(SEGMENT, max_size=4).map(lambda parts: "/" + "/".join(parts))
)
PARAMS = st.dictionaries(
    st.sampled_from(["level", "limit", "cursor", "q"]) | st.text(min_size=1, max_size=8),
    st.sampled_from(["suspect", "clear", "1", "500", "ab", "1790000000000.0:" + "ab" * 16, "nan:x", "0"])
    | st.text(max_size=30),
    max_size=3,
)
FIELDS = st.sampled_from(["org_id", "plan", "key_id", "created_at", "authorised", "country"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["org_id", "plan", "key_id", "created_at", "authorised", "country"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH"])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=METHODS, path=PATHS, params=PARAMS, body=st.binary(max_size=60) | JSON, trusted=st.booleans())
async def test_any_request_has_a_declared_answer(
    desk: Any, method: str, path: str, params: dict[str, str], body: Any, trusted: bool
) -> None:
    """Random methods, paths, parameters and bodies, with and without the token."""
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    sent = {"content": body if isinstance(body, bytes) else json.dumps(body).encode()}
    headers = {} if trusted else {"authorization": "Bearer guess"}
    answer = await desk.call(method, path, params=params, headers=headers, **(sent if method != "GET" else {}))
    assert answer.status_code < 500
    if not trusted and path != "/healthz":
        assert answer.status_code in (401, 404, 405, 429)
