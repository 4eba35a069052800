"""The page about the admin API lists every address with the permission that its route declares, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.admin.permissions import route_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "admin-api.md"
ROW = re.compile(r"^\| `([A-Z]+) (/[^`]*)` \| (?:`([a-z.]+)`|–) \|", re.MULTILINE)


async def test_the_page_has_every_route_with_its_permission(desk: Any) -> None:
    """Whoever adds a route, or changes who may call it, says so on the page."""
    told = {(method, path): permission for method, path, permission in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    served = {route: permissions[0] if permissions else "" for route, permissions in route_of(desk.server.app).items()}
    assert told == served
