"""Which methods an address takes: any other is answered with 405 and all that it does take.

The router alone would name the methods of one route, though an address may have several, and would take an address with
a verb, as /v1/keys/…:lift, for the key behind another route. Pure ASGI, in front of the router; a stranger learns nothing
that the published description does not say.
"""

from __future__ import annotations

import re

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin.permissions import route_of
from app.admin.problems import ProblemResponse


class Methods:
    """Answers 405 where the address is one of the application's and the method is none of the address's."""

    def __init__(self, app: ASGIApp, routes: FastAPI) -> None:
        self._app = app
        methods: dict[str, set[str]] = {}
        for method, template in route_of(routes):
            methods.setdefault(template, set()).add(method)
        # An address with a verb looks like an id as well, so those that have one are compared first.
        templates = sorted(methods, key=lambda template: not re.search(r"\}:\w+$", template))
        self._known = [(_pattern(template), methods[template]) for template in templates]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] == "http":
            found = next((methods for pattern, methods in self._known if pattern.fullmatch(scope["path"])), None)
            if found is not None and scope["method"] not in found:
                headers = {"allow": ", ".join(sorted(found))}
                refusal = ProblemResponse(405, "This address does not take that method.", headers=headers)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _pattern(template: str) -> re.Pattern[str]:
    """What the router matches for a template, too."""
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)))
