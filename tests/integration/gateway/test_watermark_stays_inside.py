"""What operators see of watermarks has no address at the gateway, and no answer of it tells a score."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.admin import routes_watermark, routes_watermark_investigations, routes_watermark_ledger
from app.simulate.rig import RunningGateway

TELLING = re.compile(r"log10|p_value|p-value|wm_code|wm_profile|evidence|decoy|fwer|findings|investigation|watermark", re.I)
"""Words of which none may be in what a tenant gets."""


def _addresses() -> set[tuple[str, str]]:
    """(method, address) of every watermark route of the admin API, ids filled in."""
    nothing: Any = _Nothing()
    app = FastAPI()
    app.include_router(routes_watermark.router(nothing, nothing, nothing))
    app.include_router(routes_watermark_investigations.router(nothing, nothing, nothing, nothing, nothing))
    app.include_router(routes_watermark_ledger.router(nothing))
    routes = [route for route in iter_route_contexts(app.routes) if "watermark" in str(route.path)]
    return {(method, re.sub(r"\{\w+\}", "some1234", str(route.path))) for route in routes for method in route.methods or ()}


class _Nothing:
    """Stands for what the routes would ask; nobody asks here."""

    def __getattr__(self, name: str) -> Any:
        return 1 if name.endswith("_mb") else self


@pytest.fixture(scope="module")
def marking(rig: Any, tmp_path_factory: pytest.TempPathFactory) -> RunningGateway:
    """A gateway that marks."""
    folder: Path = tmp_path_factory.mktemp("marks")
    profile = {"id": "live", "scheme": "gumbel", "tokenizer": "ab" * 32, "epoch": "e1"}
    (folder / "profiles.json").write_text(json.dumps({"profiles": [profile]}))
    files = {"profiles_file": str(folder / "profiles.json"), "secrets": json.dumps({"e1": "5e1f" * 16})}
    made: RunningGateway = rig.gateway(sections={"watermark": {"profile": "live", "engine": "vllm", **files}})
    return made


def test_no_address_of_operators_is_the_gateways(marking: RunningGateway, key: str) -> None:
    """Each is answered as any unknown address, with a tenant's credential and with none."""
    addresses = _addresses()
    assert len(addresses) >= 14
    with httpx2.Client(base_url=marking.url, trust_env=False, timeout=30.0) as http:
        for method, path in sorted(addresses):
            for headers in ({}, {"authorization": f"Bearer {key}"}):
                answer = http.request(method, path, headers=headers, json={} if method in ("POST", "PUT") else None)
                assert answer.status_code in (401, 404, 405), (method, path, answer.status_code)
                assert not TELLING.search(answer.text.replace(path.removeprefix("/v1"), "")), (method, path, answer.text)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_tells_no_score(marking: RunningGateway, key: str, stream: bool) -> None:
    """Neither in its head nor in its body."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    with httpx2.Client(base_url=marking.url, trust_env=False, timeout=30.0) as http:
        answer = http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert len(answer.text) > 50
    assert not TELLING.search(answer.text)
    assert not TELLING.search(str(answer.headers.raw))
