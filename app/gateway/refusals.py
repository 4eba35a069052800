"""A decision that is a no → the words for it."""

from __future__ import annotations

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Refuse
from app.limits.limiter import Decision
from app.settings import EnforcementSettings


def refusal_of(decision: Decision, policy: EnforcementSettings) -> Refuse:
    """What a client is answered.

    What refused it is all that matters for a limit, whether a plan or an action made that limit so small.

    Args:
        decision: one that does not admit.
        policy: in force, for the addresses that a blocked customer is told.
    """
    if decision.blocked:
        url = policy.step_up_url if decision.action == "step_up" else policy.appeal_url
        return wire_errors.blocked(decision.action, decision.ref, url)
    if decision.limited_by in ("unavailable", "state"):
        return Refuse(wire_errors.BUSY, "The service cannot decide about this request now.", "unavailable")
    limit = next((budget.limit for budget in decision.budgets if budget.name == decision.limited_by), None)
    message = wire_errors.limit_message(
        decision.limited_by, decision.scope, decision.retry_after_ms, limit, oversized=decision.oversized
    )
    return Refuse(wire_errors.limit_kind(decision.limited_by), message, "limit")
