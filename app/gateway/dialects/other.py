"""Everything that is neither dialect: bytes pass through, and only what every HTTP exchange has is recorded."""

from __future__ import annotations

from app.gateway.dialects.shape import Answer, JsonObject, Shape


def shape(_body: JsonObject) -> Shape:
    """A request whose body is not read."""
    return Shape(input_items=0)


def read_answer(_body: JsonObject, _answer: Answer) -> bool:
    """An answer whose body is not read; it has no usage to report, and none is estimated."""
    return True
