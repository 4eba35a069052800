"""One place that knows which dialect reads what; the rest of the gateway goes through these functions."""

from __future__ import annotations

from app.gateway.dialects import anthropic, openai, other
from app.gateway.dialects.shape import Answer, JsonObject, Shape, StreamReader
from app.gateway.routes import Route


def shape(route: Route, body: JsonObject) -> Shape:
    """Request body → neutral form."""
    if not route.json_body:
        return other.shape(body)
    return anthropic.shape(body) if route.dialect == "anthropic" else openai.shape(route.name, body)


def max_output(route: Route, body: JsonObject, default: int) -> int:
    """Output tokens to reserve for a request: the client's maximum, or `default` where it set none, for every choice."""
    if not route.generates:
        return 0
    each = anthropic.max_output(body) if route.dialect == "anthropic" else openai.max_output(route.name, body)
    prompts = body.get("prompt")
    batch = len(prompts) if type(prompts) is list and prompts and type(prompts[0]) is not int else 1
    return (default if each is None else each) * openai.choices(body) * batch


def read_answer(route: Route, body: JsonObject, answer: Answer) -> bool:
    """A complete JSON answer → neutral form. Returns whether usage needs no estimate."""
    if not route.json_body:
        return other.read_answer(body, answer)
    if route.dialect == "anthropic":
        return anthropic.read_answer(route.name, body, answer)
    return openai.read_answer(route.name, body, answer)


def error_type(route: Route, body: JsonObject) -> str:
    """Error type of an error answer, as the dialect spells it."""
    return anthropic.error_type(body) if route.dialect == "anthropic" else openai.error_type(body)


def stream_reader(route: Route, answer: Answer) -> StreamReader | None:
    """Reader for the route's event stream; None where streams are not understood."""
    if not route.generates:
        return None
    return anthropic.MessageStream(answer) if route.dialect == "anthropic" else openai.stream_reader(route.name, answer)
