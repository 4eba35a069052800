"""What there is to be allowed in the admin API, and which role may do what. Data only.

Roles are for people: a viewer looks, an analyst acts about keys within what can be undone by itself, an approver suspends
and is the second person, an admin changes what the service is, an auditor reads everything and changes nothing.
"""

from __future__ import annotations

from typing import Literal, get_args

Permission = Literal[
    "api.read",  # who am I, and the description of the API
    "keys.read",
    "events.read",
    "orders.write",  # observe, throttle, cap, step up, and lifts
    "orders.suspend",
    "orders.approve",  # the second person of a bulk order
    "accounts.read",
    "accounts.write",
    "plans.read",
    "plans.write",
    "policy.read",
    "policy.write",
    "allow.read",
    "allow.write",
    "kill.read",
    "kill.write",
    "appeals.read",
    "appeals.write",
    "erase",
    "tokens.read",
    "tokens.write",
    "audit.read",
    "health.read",
    "intel.read",  # what is shared with other providers, and what they sent
    "intel.propose",  # that a campaign is published; refuse and take back, which only make less leave
    "intel.write",  # trust groups, members and their credentials; what members sent; the second person of a publication
    "watermark.read",  # profiles, investigations and what they found: scores that no tenant may see
    "watermark.investigate",
    "watermark.tag",  # a tenant's codeword, and which campaigns share one
]
Role = Literal["viewer", "analyst", "approver", "admin", "auditor"]

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

_VIEWER: frozenset[Permission] = frozenset(
    ("api.read", "health.read", "keys.read", "accounts.read", "plans.read", "policy.read", "allow.read", "kill.read")
)
_ANALYST: frozenset[Permission] = _VIEWER | {
    *("events.read", "orders.write", "appeals.read", "appeals.write"),
    *("watermark.read", "watermark.investigate", "intel.read", "intel.propose"),
}
# The kill switch only ever makes the service do less, and whoever is on call needs it at night.
_APPROVER: frozenset[Permission] = _ANALYST | {
    "orders.suspend",
    "orders.approve",
    "allow.write",
    "kill.write",
    "watermark.tag",
}

ROLES: dict[Role, frozenset[Permission]] = {
    "viewer": _VIEWER,
    "analyst": _ANALYST,
    "approver": _APPROVER,
    "admin": frozenset(PERMISSIONS),
    "auditor": _VIEWER | {"events.read", "appeals.read", "tokens.read", "audit.read", "watermark.read", "intel.read"},
}
