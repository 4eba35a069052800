"""A whole answer body, as OpenAI and Anthropic send it, → the fields of our record's response.

For access logs that keep the answer as it went out. Only complete JSON answers; a log of raw SSE chunks must be put
together by whoever wrote it.
"""

from __future__ import annotations

from typing import Any


def from_body(body: dict[str, Any]) -> dict[str, Any]:
    """The known fields of an answer; what is missing or of another shape is left out."""
    if isinstance(error := body.get("error"), dict):
        return {"error": str(error.get("type") or error.get("code") or "error")}
    if body.get("object") == "response":
        found = _responses(body)
    elif isinstance(body.get("choices"), list):
        found = _choices(body["choices"])
    elif body.get("type") == "message":
        found = _message(body)
    else:
        found = {}
    if isinstance(body.get("model"), str):
        found["model"] = body["model"]
    if isinstance(body.get("usage"), dict):
        found["usage"] = _usage(body["usage"])
    return {name: value for name, value in found.items() if value is not None}


def _choices(choices: list[Any]) -> dict[str, Any]:
    first = choices[0] if choices and isinstance(choices[0], dict) else {}
    message: dict[str, Any] = first.get("message") or {}
    calls = [call.get("function", {}) for call in message.get("tool_calls") or [] if isinstance(call, dict)]
    refused = isinstance(message.get("refusal"), str) or first.get("finish_reason") == "content_filter"
    return {
        "text": message.get("content") or first.get("text") or message.get("refusal"),
        "finish_reason": first.get("finish_reason"),
        "tool_calls": calls or None,
        "refusal": True if refused else None,
    }


def _message(body: dict[str, Any]) -> dict[str, Any]:
    blocks = [block for block in body.get("content") or [] if isinstance(block, dict)]
    calls = [
        {"name": block.get("name", ""), "arguments": block.get("input", {})}
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    return {
        "text": "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text") or None,
        "finish_reason": body.get("stop_reason"),
        "tool_calls": calls or None,
        "refusal": True if body.get("stop_reason") == "refusal" else None,
    }


def _responses(body: dict[str, Any]) -> dict[str, Any]:
    items = [item for item in body.get("output") or [] if isinstance(item, dict)]
    parts = [part for item in items for part in item.get("content") or [] if isinstance(part, dict)]
    calls = [
        {"name": item.get("name", ""), "arguments": item.get("arguments", {})}
        for item in items
        if item.get("type") == "function_call"
    ]
    return {
        "text": "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text") or None,
        "finish_reason": body.get("status"),
        "tool_calls": calls or None,
        "refusal": True if any(part.get("type") == "refusal" for part in parts) else None,
    }


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Both spellings. Anthropic's input_tokens leaves cached ones out, so they are added."""
    read = _count(usage.get("cache_read_input_tokens"))
    written = _count(usage.get("cache_creation_input_tokens"))
    inputs = usage.get("prompt_tokens", usage.get("input_tokens"))
    outputs = usage.get("completion_tokens", usage.get("output_tokens"))
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    inner = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return {
        "input_tokens": _count(inputs) + read + written,
        "output_tokens": _count(outputs),
        "reasoning_tokens": _count(details.get("reasoning_tokens") if isinstance(details, dict) else None),
        "cached_tokens": read + _count(inner.get("cached_tokens") if isinstance(inner, dict) else None),
    }


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
