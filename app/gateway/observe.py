"""One exchange → one Event. The only place where an Event is made, live and in replay.

Nothing here reads a clock, a setting or the network: the same exchange gives the same event. A body may hold any JSON at
all; every field of the event has its declared type whatever the client sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_64_intdigest

from app.gateway import dialects
from app.gateway.client import client_of
from app.gateway.dialects import reasoning
from app.gateway.dialects.shape import ANSWER_KEPT_CHARS, Answer, count_of, text_of
from app.gateway.identity import Identity, Place
from app.gateway.routes import Route
from detectors.event import Event

__all__ = ["Answer", "TextLimits", "answer_from_record", "event_from_exchange"]

_ROLES_KEPT = 64
_ERRORS = frozenset(
    [
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "rate_limit_exceeded",
        "insufficient_quota",
        "overloaded_error",
        "overloaded",
        "server_error",
        "api_error",
        "timeout_error",
        "billing_error",
        "conflict_error",
        "requests",
        "tokens",
        "request_forbidden",
        "upstream_cut",
    ]
)
_ERROR_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_REFUSAL = re.compile(
    # Openings by which models decline. Anchored, no nested quantifiers: linear in the characters it is given.
    r"\s*(?:(?:i'?m|i am|we'?re) (?:very |really |so )?sorry,? (?:but )?|sorry,? (?:but )?|unfortunately,? )?"
    r"(?:(?:as an ai[^,.]{0,60},? )?(?:i|we) (?:can(?:'t|not| not)|won't|will not|am (?:unable|not able) to|must decline|"
    r"have to decline|decline to|(?:don't|do not) feel comfortable)\b"
    r"|i'?m (?:unable to|not able to|not comfortable)\b"
    r"|that'?s something i (?:have to|must) decline\b)",
    re.IGNORECASE,
)
_REFUSAL_READ_CHARS = 160
_APOSTROPHES = str.maketrans({"\u2019": "'"})


@dataclass(frozen=True, slots=True)
class TextLimits:
    """Characters of head and tail that an event keeps of a text. Head and tail never overlap."""

    head: int = 1024
    tail: int = 512


def event_from_exchange(
    *,
    event_id: str,
    at_us: int,
    identity: Identity,
    place: Place,
    route: Route,
    body: Any,
    headers: Sequence[tuple[bytes, bytes]] | Mapping[str, str],
    answer: Answer,
    limits: TextLimits,
) -> Event:
    """An exchange as the detectors see it.

    Args:
        event_id: request id, hex.
        at_us: arrival, unix µs.
        identity: the caller.
        place: network facts of the address.
        route: operation that was called.
        body: parsed JSON of the request; None when it was not read.
        headers: request headers, names in lower case, in the order they came.
        answer: what came back.
        limits: bounds of the text fields.
    """
    shape = dialects.shape(route, body if type(body) is dict else {})
    if isinstance(headers, Mapping):
        headers = [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
    client = client_of(headers)
    messages = shape.messages

    # One pass: the rolling digest of the conversation, kept per message so that the prefix is a look-up. Every text is
    # encoded once; its bytes begin with the message's letter.
    chain: list[int] = []
    digest = 0
    system: list[str] = []
    user_text = ""
    user_bytes = b""
    letters: list[str] = []
    turns = 0
    spoken_to = 0  # digest of the conversation at the last message that the model did not write
    replayed: list[bytes] = []
    for message in messages:
        who = message.letter
        text = message.text
        letters.append(who)
        data = f"{who}{text}".encode("utf-8", "replace") + message.extra
        digest = xxh3_64_intdigest(data, digest)
        chain.append(digest)
        if who != "a":
            spoken_to = digest
        elif message.blocks:
            replayed += (reasoning.pack_pair(block, spoken_to) for block in message.blocks)
        if who == "u":
            turns += 1
            user_text = text
            user_bytes = data
        elif who in "sd":
            system.append(text)
    system_text = "\n".join(system)
    head, tail = limits.head, limits.tail
    kept = answer.text_head
    status = answer.status
    refusal = answer.refusal
    if not refusal and kept and status == 200:
        opening = kept[:_REFUSAL_READ_CHARS]
        if not opening.isascii():
            opening = opening.translate(_APOSTROPHES)
        refusal = _REFUSAL.match(opening) is not None
    return Event(  # by position, in the order of its fields: keywords cost five times as much
        event_id,
        at_us,
        identity.key_id,
        identity.org_id,
        identity.plan,
        identity.key_created_us,
        identity.payment_id,
        identity.authorised,
        route.dialect,
        route.name,
        shape.model,
        shape.stream,
        shape.n,
        shape.temperature,
        shape.top_p,
        shape.max_tokens,
        shape.top_logprobs,
        shape.logit_bias_size,
        shape.logit_bias_digest,
        shape.response_format,
        shape.response_schema_digest,
        shape.tools_digest,
        shape.tool_count,
        shape.reasoning_effort,
        "".join(letters[:_ROLES_KEPT]),
        len(messages),
        turns,
        digest,
        _prefix(letters, chain),
        xxh3_64_intdigest(system_text.encode("utf-8", "replace")) if system_text else 0,
        xxh3_64_intdigest(user_bytes[1:]) if len(user_bytes) > 1 else 0,
        len(system_text),
        len(user_text),
        shape.input_items,
        status,
        answer.outcome,
        _error(status, answer.error),
        answer.finish_reason,
        refusal,
        answer.input_tokens,
        answer.output_tokens,
        answer.reasoning_tokens,
        answer.cached_tokens,
        answer.estimated,
        answer.chars,
        xxh3_64_intdigest(kept[:ANSWER_KEPT_CHARS].encode("utf-8", "replace")) if kept else 0,
        answer.tool_calls,
        answer.latency_us,
        answer.first_byte_us,
        client.sdk,
        client.agent_class,
        client.client_digest,
        client.retry_count,
        place.ip_prefix_id,
        place.asn_class,
        place.country or identity.country,
        answer.decision,
        system_text[:head],
        system_text[max(head, len(system_text) - tail) :],
        user_text[:head],
        user_text[max(head, len(user_text) - tail) :],
        kept[:head],
        answer.action,
        b"".join(replayed[-reasoning.BLOCKS_KEPT :]),
        reasoning.pack(answer.blocks),
        shape.thinking_budget,
        shape.end_user_digest,
    )


def _prefix(letters: list[str], chain: list[int]) -> int:
    """Digest of the earlier request that this one continues; 0 when the model has not spoken before.

    What the client adds to a conversation is its last messages that the model did not write; the model's words before
    those were the earlier answer. Without both, what is left is the earlier request.
    """
    end = len(letters)
    while end and letters[end - 1] != "a":
        end -= 1
    while end and letters[end - 1] == "a":
        end -= 1
    return chain[end - 1] if end else 0


def _error(status: int, error: str) -> str:
    if status < 400 and not error:
        return ""
    if error in _ERRORS:
        return error
    return _ERROR_OF_STATUS.get(status, "server_error" if status >= 500 else "other")


def answer_from_record(response: Mapping[str, Any]) -> Answer:
    """The reduced response of a recorded exchange (benchmark format) → Answer.

    Where the record has no usage, the counts are estimated and flagged, as they are for live traffic.
    """
    status = count_of(response.get("status")) or 200
    answer = Answer(
        status=status,
        outcome="complete" if status < 500 else "upstream_error",
        error=text_of(response.get("error")),
        finish_reason=text_of(response.get("finish_reason"), 32),
        refusal=response.get("refusal") is True,
        latency_us=_microseconds(response.get("latency_ms")),
        first_byte_us=_microseconds(response.get("ttft_ms")),
    )
    text = response.get("text")
    if type(text) is str:
        answer.text_head, answer.chars = text[:ANSWER_KEPT_CHARS], len(text)
    calls = response.get("tool_calls")
    answer.tool_calls = len(calls) if type(calls) is list else 0
    usage = response.get("usage")
    if type(usage) is dict:
        answer.input_tokens = count_of(usage.get("input_tokens"))
        answer.output_tokens = count_of(usage.get("output_tokens"))
        answer.reasoning_tokens = count_of(usage.get("reasoning_tokens"))
        answer.cached_tokens = count_of(usage.get("cached_tokens"))
    elif status == 200:
        answer.output_tokens, answer.estimated = answer.chars // 4, True
    if answer.finish_reason in ("refusal", "content_filter"):
        answer.refusal = True
    return answer


def _microseconds(value: Any) -> int:
    return max(0, round(value * 1000)) if type(value) in (int, float) and value < 1e12 else 0
