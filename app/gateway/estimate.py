"""Input tokens of a request before anybody has counted them; trued up when the answer says."""

from __future__ import annotations

from app.gateway.dialects.shape import JsonObject, join_blocks

_LONG_BODY_BYTES = 64 * 1024
_PART_TOKENS = 1000
"""Estimate for a part that is not text, such as an image, in a body too long to estimate by its bytes."""


def input_estimate(raw: bytes, body: JsonObject) -> int:
    """Tokens of a body, given as bytes and parsed."""
    if len(raw) <= _LONG_BODY_BYTES:
        return len(raw) // 4
    # Long bodies are often images, whose bytes say nothing about tokens.
    messages = body.get("messages") or body.get("input") or body.get("prompt")
    if type(messages) is not list:
        return len(raw) // 4
    tokens = 0
    for message in messages:
        content = message.get("content") if type(message) is dict else message
        if type(content) is int:
            tokens += 1
            continue
        tokens += len(join_blocks(content)[0]) // 4
        if type(content) is list:
            tokens += _PART_TOKENS * sum(1 for part in content if type(part) is dict and "text" not in part)
    return tokens
