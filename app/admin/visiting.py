"""Who may come to the TAXII addresses: members of trust groups by their credentials, and people of our own by their tokens.

A member shows its credential as HTTP Basic, with its name as the user, or as a bearer token. It opens the addresses of its
own group and nothing else of the admin API. A person's token is a bearer token, and counts for what its role may do.
"""

from __future__ import annotations

import base64
import hmac
import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, cast

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials

from app.admin.auth import Access, token_id_of
from app.admin.caller import Caller
from app.admin.deadline import answered
from app.admin.failures import place_of
from app.admin.permissions import Permit, allowed
from app.admin.roles import Permission, Role
from app.state.intel_groups import Credential, IntelGroups
from app.telemetry import metrics

log = logging.getLogger(__name__)

READS_BURST, READS_EVERY_SEC = 600, 0.1
"""Requests that a member may make at once, and one more after each so many seconds: 10^5 objects are 100 pages."""

WRITES_BURST, WRITES_EVERY_SEC = 120, 60.0
"""Of those that send objects, 1,000 at a time. Each leaves a record in the audit log, which a member must not flood."""

_MAX_PACES = 8_192


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose request it is.

    Attributes:
        caller: for the audit log. That of a member has a role that no token can have, and no permission of the API.
        group: the only group that is open; "" for a person of our own, to whom all are.
        member: the member's name; "@" and the token's id for a person.
        may_submit: a member that may send objects.
    """

    caller: Caller
    group: str
    member: str
    may_submit: bool = False


class Visiting:
    """Knows visitors.

    Args:
        access: knows people, and counts wrong tokens of members too.
        groups: with the members' credentials.
    """

    def __init__(self, access: Access, groups: IntelGroups) -> None:
        self._access = access
        self._groups = groups
        self._known: OrderedDict[bytes, None] = OrderedDict()  # digests of good credentials; each is looked up all the same
        self._paces: OrderedDict[tuple[str, str, bool], float] = OrderedDict()  # → when its bucket will be empty

    async def visitor(self, request: Request) -> Visitor:
        """The visitor of a request.

        Raises:
            HTTPException: 401 without a good credential; 429 after too many wrong ones from there, or too many requests.
            StateUnavailable: it cannot be looked up.
        """
        lines = request.headers.getlist("authorization")
        scheme, _, given = lines[0].partition(" ") if len(lines) == 1 else ("", "", "")
        user: str | None = None
        token = given.strip()
        if scheme.lower() == "basic":
            user, token = _basic(token)
        elif scheme.lower() != "bearer":
            token = ""
        token_id = token_id_of(token) if token.isascii() else None
        digest = sha256(token.encode("latin-1", "replace")).digest()
        # Members often come through one proxy: a stranger's guesses must not keep out those that are known from there.
        if token_id is not None and (digest in self._known or not self._access.failures.wait_sec(place_of(request))):
            async with answered():
                found = await self._groups.credential(token_id)
            if found is not None and _is_good(found, digest, user):
                self._remember(digest)
                return self._member(request, found)
            self._known.pop(digest, None)
        # A wrong one is counted and refused as a wrong token of a person is; a member's name opens nothing else.
        shown = HTTPAuthorizationCredentials(scheme="Bearer", credentials=token if user is None else "-") if token else None
        caller = await self._access.caller(request, shown)
        return Visitor(caller, "", f"@{caller.token_id}")

    def _remember(self, digest: bytes) -> None:
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > _MAX_PACES:
            self._known.popitem(last=False)

    def _member(self, request: Request, found: Credential) -> Visitor:
        writing = request.method == "POST"
        burst, every_sec = (WRITES_BURST, WRITES_EVERY_SEC) if writing else (READS_BURST, READS_EVERY_SEC)
        name = (found.group, found.member, writing)
        now = time.monotonic()
        full_until = max(now, self._paces.get(name, now))
        over = full_until - now - (burst - 1) * every_sec
        if over > 0:
            raise HTTPException(429, "The member sends too many requests.", headers={"retry-after": str(math.ceil(over))})
        self._paces[name] = full_until + every_sec
        self._paces.move_to_end(name)
        if len(self._paces) > _MAX_PACES:
            self._paces.popitem(last=False)
        caller = Caller(found.token_id, f"{found.group}/{found.member}", cast(Role, "member"))
        return Visitor(caller, found.group, found.member, found.may_submit)


async def current_visitor(request: Request) -> Visitor:
    """The visitor of this request."""
    visiting: Visiting = request.app.state.visiting
    return await visiting.visitor(request)


VisitorDep = Annotated[Visitor, Depends(current_visitor)]


class MemberPermit(Permit):
    """The dependency of a TAXII route: a person needs the permission, a member a credential that goes so far."""

    async def __call__(self, visitor: VisitorDep) -> None:  # type: ignore[override]
        """Raises HTTPException 403 when the visitor may not."""
        if visitor.group:
            may = self.permission == "intel.read" or visitor.may_submit
            sentence = "The credential of this member is for reading only."
        else:
            may = allowed(visitor.caller.role, self.permission)
            sentence = f"The role {visitor.caller.role} does not have the permission {self.permission}."
        if not may:
            metrics.AUTH_FAILURES.labels(kind="forbidden").inc()
            log.warning("%s was refused %s", visitor.caller.token_id, self.permission)
            raise HTTPException(403, sentence)


def permit_member(permission: Permission) -> Any:
    """What goes into `dependencies=[…]` of a TAXII route."""
    return Depends(MemberPermit(permission))


def _basic(text: str) -> tuple[str, str]:
    """(user, password); nothing where it is no pair."""
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return "", "-"
    return user, password


def _is_good(stored: Credential, digest: bytes, user: str | None) -> bool:
    same = hmac.compare_digest(bytes.fromhex(stored.digest), digest)
    return same and (user is None or user == stored.member) and time.time() < stored.expires_sec
