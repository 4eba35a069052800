"""Rate headers as each kind of client reads them: the provider's own, the IETF draft's, and when to come back.

Several budgets of one name (key, organisation, model) become one header: the one with the least left, because that is the
one the client runs into. Sources: "Rate limits" in the API references of OpenAI and Anthropic, and sections 3 and 4 of
draft-ietf-httpapi-ratelimit-headers-10, whose registered units know no tokens: those policies carry a parameter of ours.
"""

from __future__ import annotations

import time
from functools import lru_cache

from app.enforcement.wire_errors import Headers, limit_kind, retry_headers
from app.limits.limiter import Budget, Decision

_TOKENS = ("input_tokens", "output_tokens", "tokens_day")
_Trio = tuple[bytes, bytes, bytes]
"""Names of the headers of one budget: limit, remaining, reset."""

_OPENAI_REQUESTS: _Trio = (
    b"x-ratelimit-limit-requests",
    b"x-ratelimit-remaining-requests",
    b"x-ratelimit-reset-requests",
)
_OPENAI_TOKENS: _Trio = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")


def _anthropic_names(what: bytes) -> _Trio:
    start = b"anthropic-ratelimit-" + what
    return start + b"-limit", start + b"-remaining", start + b"-reset"


_ANTHROPIC = {
    "requests": _anthropic_names(b"requests"),
    "input_tokens": _anthropic_names(b"input-tokens"),
    "output_tokens": _anthropic_names(b"output-tokens"),
}
_ANTHROPIC_TOKENS = _anthropic_names(b"tokens")
_UNITS = {"requests": "", "concurrent": ';qu="concurrent-requests"'}
_COUNTED_IN_TOKENS = ";sw-unit=tokens"
_NO_RETRY = (b"x-should-retry", b"false")


def rate_headers(decision: Decision, dialect: str) -> Headers:
    """The headers of one answer, admitted or refused.

    Args:
        decision: as the limiter made it.
        dialect: openai and anthropic get their provider's names besides the IETF ones; anything else those of OpenAI.
    """
    headers: Headers = []
    if decision.blocked:
        return headers  # no budget was asked, and waiting does not help
    if decision.budgets:
        tightest: dict[str, Budget] = {}
        for budget in decision.budgets:
            known = tightest.get(budget.name)
            if known is None or budget.remaining < known.remaining:
                tightest[budget.name] = budget
        if dialect == "anthropic":
            _anthropic(headers, tightest)
        else:
            _openai(headers, tightest)
        _ietf(headers, tightest)
    if not decision.admitted:
        if decision.oversized:
            # Some refusals say so by themselves, and twice is not what the SDKs look for.
            if limit_kind(decision.limited_by).retry is None:
                headers.append(_NO_RETRY)
        else:
            headers += retry_headers(decision.retry_after_ms)
    return headers


def go_duration(ms: int) -> bytes:
    """Milliseconds as Go prints a duration: ``0s``, ``12ms``, ``8.64s``, ``6m0s``, ``1h0m1.5s``."""
    if ms < 1000:
        return b"%dms" % ms if ms > 0 else b"0s"
    minutes, rest = divmod(ms, 60_000)
    seconds = b"%d" % (rest // 1000)
    if rest % 1000:
        seconds += (b".%03d" % (rest % 1000)).rstrip(b"0")
    if not minutes:
        return seconds + b"s"
    if minutes < 60:
        return b"%dm%bs" % (minutes, seconds)
    return b"%dh%dm%bs" % (minutes // 60, minutes % 60, seconds)


@lru_cache(maxsize=512)
def _stamp(unix_sec: int) -> bytes:
    """RFC 3339 in UTC. Resets fall on few different seconds, so most are looked up."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_sec)).encode()


def _tokens(tightest: dict[str, Budget]) -> Budget | None:
    """The token budget a client runs into first, of whichever direction and window."""
    found: Budget | None = None
    for name in _TOKENS:
        budget = tightest.get(name)
        if budget is not None and (found is None or budget.remaining < found.remaining):
            found = budget
    return found


def _whole(value: float) -> int:
    """A count of units that a client may rely on: never more than there are, never negative."""
    return int(value) if value > 0 else 0


def _openai(headers: Headers, tightest: dict[str, Budget]) -> None:
    requests = tightest.get("requests")
    if requests is not None:
        _openai_trio(headers, _OPENAI_REQUESTS, requests)
    tokens = _tokens(tightest)
    if tokens is not None:
        _openai_trio(headers, _OPENAI_TOKENS, tokens)


def _openai_trio(headers: Headers, names: _Trio, budget: Budget) -> None:
    limit, remaining, reset = names
    headers += (
        (limit, _limit(budget.limit)),
        (remaining, b"%d" % _whole(budget.remaining)),
        (reset, go_duration(budget.reset_ms)),
    )


def _anthropic(headers: Headers, tightest: dict[str, Budget]) -> None:
    now = time.time()
    for name, names in _ANTHROPIC.items():
        budget = tightest.get(name)
        if budget is not None:
            _anthropic_trio(headers, names, budget, now)
    tokens = _tokens(tightest)
    if tokens is not None:
        _anthropic_trio(headers, _ANTHROPIC_TOKENS, tokens, now)


def _anthropic_trio(headers: Headers, names: _Trio, budget: Budget, now: float) -> None:
    limit, remaining, reset = names
    headers += (
        (limit, _limit(budget.limit)),
        (remaining, b"%d" % _whole(budget.remaining)),
        # Rounded up, so that a client that waits until then does not come too early.
        (reset, _stamp(-int(-(now + budget.reset_ms / 1000) // 1))),
    )


@lru_cache(maxsize=1024)
def _limit(limit: float) -> bytes:
    """A limit in digits. Plans hold few different ones, and a verdict narrows them by few factors."""
    return b"%d" % _whole(limit)


@lru_cache(maxsize=1024)
def _policy(name: str, limit: float, window_sec: int) -> str:
    """One policy; few different ones, as in `_limit`."""
    window = f";w={window_sec}" if window_sec else ""
    return f'"{name}";q={_whole(limit)}{window}{_UNITS.get(name, _COUNTED_IN_TOKENS)}'


@lru_cache(maxsize=1024)
def _policies(*budgets: tuple[str, float, int]) -> tuple[bytes, bytes]:
    """The header of these policies, each (name, limit, window)."""
    return b"ratelimit-policy", ", ".join([_policy(*budget) for budget in budgets]).encode()


def _ietf(headers: Headers, tightest: dict[str, Budget]) -> None:
    policies = []
    states = []
    for name, budget in tightest.items():
        window_sec, left = budget.window_sec, budget.remaining
        policies.append((name, budget.limit, window_sec))
        left = int(left) if left > 0 else 0
        states.append(f'"{name}";r={left};t={-(-budget.reset_ms // 1000)}' if window_sec else f'"{name}";r={left}')
    headers += (_policies(*policies), (b"ratelimit", ", ".join(states).encode()))
