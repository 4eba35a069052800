"""Every route of the admin API declares what it takes: `dependencies=[permit("keys.read")]`.

The check is a dependency of the route itself, so it cannot be bypassed by how an address is spelled. An application with a
route that declares nothing, or two things, does not start: `check_declared`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.routing import iter_route_contexts

from app.admin.caller import CallerDep
from app.admin.roles import PERMISSIONS, ROLES, Permission, Role
from app.telemetry import metrics

log = logging.getLogger(__name__)

__all__ = ["PERMISSIONS", "ROLES", "Permission", "Role", "allowed", "check_declared", "declared", "permit", "route_of"]


class Permit:
    """The dependency: lets callers pass whose role has the permission, and answers 403 to others."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, caller: CallerDep) -> None:
        """Raises HTTPException 403 when the role does not have the permission."""
        if not allowed(caller.role, self.permission):
            metrics.AUTH_FAILURES.labels(kind="forbidden").inc()
            log.warning("token %s, role %s, was refused %s", caller.token_id, caller.role, self.permission)
            raise HTTPException(403, f"The role {caller.role} does not have the permission {self.permission}.")


def permit(permission: Permission) -> Any:
    """What goes into `dependencies=[…]` of a route: who may call it."""
    return Depends(Permit(permission))


def allowed(role: Role, permission: Permission) -> bool:
    """Whether a role has a permission. A role that is not known has none."""
    return permission in ROLES.get(role, frozenset())


def route_of(app: FastAPI) -> dict[tuple[str, str], list[Permission]]:
    """(method, path) → the permissions that the route declares, for every route the application serves."""
    return {
        (method, str(context.path)): declared(context)
        for context in iter_route_contexts(app.routes)
        for method in sorted(context.methods or {"GET"})
    }


def declared(context: Any) -> list[Permission]:
    """What a route, with everything it inherits from its routers, asks of its callers."""
    calls = [depends.dependency for depends in getattr(context, "dependencies", ())]
    return [call.permission for call in calls if isinstance(call, Permit)]


def check_declared(app: FastAPI, open_paths: Collection[str]) -> None:
    """Raises RuntimeError when a route that is not meant to be open declares no permission, or more than one."""
    for (method, path), permissions in route_of(app).items():
        if len(permissions) != (0 if path in open_paths else 1):
            raise RuntimeError(f"{method} {path} declares {len(permissions)} permissions; it must declare one")
