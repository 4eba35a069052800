"""Whatever is sent to the TAXII addresses, the answer is one of TAXII: no fault, and no success without a credential."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.admin import failures, visiting

TAXII = "application/taxii+json;version=2.1"
KNOWN = f"indicator--{'0' * 8}-0000-4000-8000-{'0' * 11}1"
PART = st.sampled_from(
    ["labs", "feed", "submit", "objects", "manifest", "status", "collections", "versions", KNOWN, "", ".."]
)
SEGMENT = PART | st.text(max_size=12).map(lambda text: quote(text, safe=""))
PATHS = st.lists(SEGMENT, max_size=6).map(
    lambda parts: "/taxii2/" + "".join(f"{part}/" for part in parts)
) | st.sampled_from(
    [
        f"/taxii2/labs/collections/{kind}/{end}"
        for kind in ("feed", "submit")
        for end in ("objects/", f"objects/{KNOWN}/", "manifest/")
    ]
)
PARAMS = st.dictionaries(
    st.sampled_from(
        ["limit", "next", "added_after", "match[id]", "match[type]", "match[version]", "match[spec_version]", "x"]
    ),
    st.sampled_from(["1", "last", "all", "2.1", KNOWN, "2026-01-01T00:00:00Z", "0"]) | st.text(max_size=20),
    max_size=3,
)
TYPES = st.sampled_from([TAXII, TAXII, TAXII, "application/json", "*/*", "application/taxii+json"]) | st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=20
)
BODIES = st.binary(max_size=60) | st.sampled_from(
    [
        {"objects": [{"type": "indicator", "spec_version": "2.1", "id": KNOWN, **more}]}
        for more in ({}, {"modified": 1}, {"x": [[]]})
    ]
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD"]),
    path=PATHS, params=PARAMS, accept=TYPES, content_type=TYPES, body=BODIES, who=st.sampled_from(["", "acme", "person"]),
)  # fmt: skip
async def test_any_request_has_an_answer_of_taxii(
    site: Any, method: str, path: str, params: dict[str, str], accept: str, content_type: str, body: Any, who: str
) -> None:
    """Random methods, paths, parameters, types and bodies, by a stranger, a member and a person."""
    token = {"": "guess", "acme": site.acme, "person": site.token}[who]
    sent = {"content": body if isinstance(body, bytes) else json.dumps(body).encode()} if method in ("POST", "PUT") else {}
    headers = {"accept": accept, "content-type": content_type, "authorization": f"Bearer {token}"}
    answer = await site.http.request(method, path, params=params, headers=headers, **sent)
    assert answer.status_code < 500, answer.text
    if path.startswith("/taxii2/") and ".." not in path:
        assert answer.headers["content-type"] == TAXII
    if not who:
        assert answer.status_code in (401, 404, 405, 413, 429)


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "BURST", 10**9)
    monkeypatch.setattr(visiting, "READS_BURST", 10**9)
    monkeypatch.setattr(visiting, "WRITES_BURST", 10**9)
