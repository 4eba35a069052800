"""What a capped request is forwarded as: without the parameters that make harvesting cheap.

Nothing is refused, and nothing is added: the model server sees a request that did not ask. What the answer then shows of
the model's reasoning is the part of `app.gateway.concealing`. Sources: the API references of OpenAI (chat completions,
responses, completions) and Anthropic (messages), and vLLM's protocol for parameters that do the same under another name.
"""

from __future__ import annotations

from collections.abc import Callable

from app.gateway.dialects.shape import JsonObject, count_of, dict_of
from app.settings import CapRule

_LOGPROBS = "message.output_text.logprobs"
"""What `include` of the responses API calls them."""

_SAME: dict[str, tuple[str, ...]] = {
    # Without logprobs, top_logprobs is an error of its own; prompt_logprobs are vLLM's, of the prompt's tokens.
    "logprobs": ("logprobs", "top_logprobs", "prompt_logprobs"),
    "top_logprobs": ("top_logprobs",),
    # vLLM: the hardest bias there is.
    "logit_bias": ("logit_bias", "allowed_token_ids"),
}
_COUNTS = ("n", "best_of")


def capped(route: str, body: JsonObject, rule: CapRule) -> JsonObject | None:
    """The body as it is forwarded; None where it stays as it is.

    Args:
        route: name of the operation.
        body: of the request; not changed.
        rule: what is taken away.
    """
    made = dict(body)
    for name in rule.strip:
        if name in _COUNTS:
            if count_of(made.get(name)) > 1:
                made[name] = 1
        else:
            for same in _SAME[name]:
                made.pop(same, None)
    if route == "completions" and "top_logprobs" in rule.strip and count_of(made.get("logprobs")):
        made["logprobs"] = 0  # the number of alternatives; none, but the chosen token's own
    if "logprobs" in rule.strip and type(made.get("include")) is list:
        made["include"] = [part for part in made["include"] if part != _LOGPROBS]
    change = _SUMMARIES.get((route, rule.reasoning))
    if change is not None:
        change(made)
    return made if made != body else None


def _no_summary(body: JsonObject) -> None:
    """Responses: nobody asks for a summary."""
    reasoning = body.get("reasoning")
    if type(reasoning) is dict and not reasoning.keys().isdisjoint(_SUMMARY):
        body["reasoning"] = {name: value for name, value in reasoning.items() if name not in _SUMMARY}


def _short_summary(body: JsonObject) -> None:
    """Responses: not the detailed summary, but the one the server takes by itself; not all models know `concise`."""
    reasoning = dict_of(body.get("reasoning"))
    for name in _SUMMARY:
        if reasoning.get(name) == "detailed":
            reasoning = {**reasoning, name: "auto"}
            body["reasoning"] = reasoning


def _omitted(body: JsonObject) -> None:
    """Messages: thinking comes back as its signature alone. Said where the client used the word, so the server knows it."""
    thinking = dict_of(body.get("thinking"))
    if thinking.get("display") == "summarized":
        body["thinking"] = {**thinking, "display": "omitted"}


_SUMMARY = ("summary", "generate_summary")
_SUMMARIES: dict[tuple[str, str], Callable[[JsonObject], None]] = {
    ("responses", "hide"): _no_summary,
    ("responses", "summarise"): _short_summary,
    ("messages", "hide"): _omitted,
}
