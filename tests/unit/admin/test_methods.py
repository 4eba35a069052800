"""Every address of the application says all the methods it takes, and takes no other."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from app.admin.methods import Methods


def _app() -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.get("/things/{thing}")(lambda: None)
    app.put("/things/{thing}")(lambda: None)
    app.post("/things/{thing}:mend")(lambda: None)
    app.post("/things:import")(lambda: None)
    return app


async def _ask(method: str, path: str) -> tuple[int, str]:
    """(status, Allow); 299 where the router is asked."""

    async def inner(*_: Any) -> None:
        sent.append({"type": "http.response.start", "status": 299, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Any] = []
    await Methods(inner, _app())({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], headers.get(b"allow", b"").decode()


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/things/a", (299, "")),
        ("PUT", "/things/a", (299, "")),
        ("POST", "/things/a", (405, "GET, PUT")),
        ("HEAD", "/things/a", (405, "GET, PUT")),
        ("OPTIONS", "/things/a", (405, "GET, PUT")),
        ("get", "/things/a", (405, "GET, PUT")),
        ("POST", "/things/a:mend", (299, "")),
        ("GET", "/things/a:mend", (405, "POST")),
        ("PUT", "/things/a:other", (299, "")),
        ("POST", "/things:import", (299, "")),
        ("GET", "/things:import", (405, "POST")),
        ("GET", "/elsewhere", (299, "")),
        ("GET", "/things/a/", (299, "")),
        ("GET", "/things/a\n", (299, "")),
    ],
)
async def test_an_address_takes_its_methods_only(method: str, path: str, answer: tuple[int, str]) -> None:
    """All methods of all routes with the same address are named; an address with a verb is not the one without."""
    assert await _ask(method, path) == answer
