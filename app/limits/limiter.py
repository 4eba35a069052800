"""What a request asks of the budgets, and what it is answered."""

from __future__ import annotations

from typing import Any

import msgspec


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One request that wants to pass. `model` is as the client named it; tokens are an estimate and a reserve."""

    key_id: str
    org_id: str
    plan: str
    model: str
    input_tokens: int
    output_tokens: int
    request_id: str


class Budget(msgspec.Struct, frozen=True, gc=False):
    """One budget after the decision.

    Attributes:
        name: requests, input_tokens, output_tokens, tokens_day or concurrent.
        scope: key, organization or model.
        limit: units per window.
        remaining: units that could be charged now.
        reset_ms: time until it is full again.
        window_sec: 60, 86,400, or 0 for concurrent.
    """

    name: str
    scope: str
    limit: float
    remaining: float
    reset_ms: int
    window_sec: int


class Decision(msgspec.Struct, frozen=True):
    """What happens to a request.

    Attributes:
        admitted: it may pass.
        limited_by: name of the budget that refused it; "unavailable" where state is away and the policy is closed.
        scope: scope of that budget.
        retry_after_ms: when it would pass; 0 when admitted, and when it would never pass.
        oversized: it asks for more than the whole budget holds, so that waiting does not help.
        throttled: a verdict narrowed the budgets (enforce mode), whether or not it passed.
        shadow_would: what enforce mode would have done to this request, "" for nothing: "throttle" or "refuse".
        degraded: "" when state decided, else what the failure policy did: open, local or closed.
        budgets: of the key, organisation and model, for the headers.
        reservation: give it to `settle` unchanged.
    """

    admitted: bool
    limited_by: str = ""
    scope: str = ""
    retry_after_ms: int = 0
    oversized: bool = False
    throttled: bool = False
    shadow_would: str = ""
    degraded: str = ""
    budgets: tuple[Budget, ...] = ()
    reservation: Any = None
