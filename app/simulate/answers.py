"""What the simulated model says: an answer shaped by the request, and the same for the same request and seed.

The shape follows the last user turn and the system prompt together: tags that were asked for are in the answer, a judge
gets its number, a classifier one of its labels, a schema its object. The words mean nothing (see ``language``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
from xxhash import xxh3_64_intdigest

from app.simulate import language

JsonObject = dict[str, Any]

_TAG = re.compile(r"<([a-zA-Z][a-zA-Z_]{2,24})>")
_TAGS_ASKED = re.compile(r"\b(?:tag|tags|inside|within|between|wrap|format|exactly|then)\b", re.IGNORECASE)
_JUDGE = re.compile(
    r"\b(?:score|rate|rating|grade)\b.{0,120}?\b(\d{1,2})\s*(?:-|–|to|and|through)\s*(\d{1,3})\b", re.IGNORECASE | re.DOTALL
)
_ONLY = re.compile(
    r"\b(?:only|just|nothing but|single|exactly one|one word)\b.{0,60}?"
    r"\b(?:number|digit|integer|score|label|word|letter)\b",
    re.IGNORECASE | re.DOTALL,
)
_LABELS = re.compile(
    r"(?:labels?|one of|categories|intents?|either)\s*:?\s*((?:[\w-]{2,24}\s*[,|/]\s*){1,12}(?:or\s+)?[\w-]{2,24})", re.I
)
_CODE = re.compile(r"```|\b(?:function|python|code|class|refactor|unit test|stack trace|complete the)\b", re.IGNORECASE)
_LIST = re.compile(
    r"\b(?:list|write|give|generate|create|propose|invent)\b.{0,40}?\b(\d{1,2}|two|three|four|five|ten)\b", re.I
)
_STEPS = re.compile(r"step[- ]by[- ]step|reason(?:ing)?|show your work|think", re.IGNORECASE)
_SHORT = re.compile(r"\b(?:briefly|concise|short|one sentence|in a few words|title)\b", re.IGNORECASE)
_REWRITE = re.compile(r"\b(?:rewrite|rephrase|paraphrase|translate|harder)\b", re.IGNORECASE)
_PROBE = re.compile(
    r"(?:system prompt|hidden instructions|ignore (?:all |your )?previous|raw (?:chain of thought|reasoning)|training data"
    r"|verbatim|bypass|jailbreak|pipe bomb|nerve agent|synthesi[sz]e .{0,20}toxin|stolen card|malware)",
    re.IGNORECASE,
)
_REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't share that, but I'm happy to help with something else.",
    "I'm not able to assist with this request.",
)
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "ten": 10}
_JSON_DEPTH = 6


@dataclass(slots=True)
class Prompt:
    """A request in the simulated model's own form; the dialects build it.

    Attributes:
        text: last user turn.
        context: system prompt and anything else the model should take into account.
        tools: (name, JSON schema of the arguments) of each tool.
        tool_choice: "none", "auto", "required", or a tool's name.
        after_tool: the last message is a tool's result, so the model speaks instead of calling again.
        schema: JSON schema the answer must follow; an empty object for "any JSON"; None for free text.
        reasons: hidden reasoning is switched on.
        max_tokens: longest answer; 0 for no limit.
        words: wished length in words; 0 lets the prompt decide.
    """

    model: str
    text: str
    context: str = ""
    tools: list[tuple[str, JsonObject]] = field(default_factory=list)
    tool_choice: str = "auto"
    after_tool: bool = False
    schema: JsonObject | None = None
    reasons: bool = False
    max_tokens: int = 0
    words: int = 0


@dataclass(slots=True)
class Reply:
    """One choice. `finish` is neutral: stop, length, tools, refusal."""

    text: str
    finish: str = "stop"
    reasoning: str = ""
    calls: list[tuple[str, JsonObject]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Output tokens, hidden reasoning included."""
        spent = tokens_of(self.text) + tokens_of(self.reasoning)
        return max(1, spent + sum(8 + tokens_of(orjson.dumps(arguments).decode()) for _, arguments in self.calls))


def tokens_of(text: str) -> int:
    """Tokens of a text at four characters each, the usual rule of thumb for English."""
    return (len(text) + 3) // 4


def digest(prompt: Prompt, seed: int) -> int:
    """What an answer is a function of."""
    return xxh3_64_intdigest(
        f"{prompt.model}\0{prompt.context}\0{prompt.text}".encode("utf-8", "replace"), seed & (2**64 - 1)
    )


def answer(prompt: Prompt, source: int) -> Reply:
    """The reply to a prompt. `source` is the only randomness; see ``digest``."""
    rng = Random(source)
    domain = language.domain_of(rng)
    asked = f"{prompt.context}\n{prompt.text}"
    if _PROBE.search(prompt.text) and rng.random() < 0.8:
        return Reply(rng.choice(_REFUSALS), "refusal")
    if prompt.tools and prompt.tool_choice != "none" and not prompt.after_tool:
        named = [tool for tool in prompt.tools if tool[0] == prompt.tool_choice]
        if named or prompt.tool_choice == "required" or rng.random() < 0.75:
            tool, schema = named[0] if named else rng.choice(prompt.tools)
            return Reply("", "tools", calls=[(tool, _object(schema, rng, domain, _JSON_DEPTH))])
    reply = Reply(_text(prompt, asked, rng, domain))
    if prompt.reasons:
        reply.reasoning = language.paragraph(rng, domain, rng.randint(30, 120))
    if prompt.max_tokens and tokens_of(reply.text) > prompt.max_tokens:
        reply.text, reply.finish = reply.text[: prompt.max_tokens * 4], "length"
    return reply


def _text(prompt: Prompt, asked: str, rng: Random, domain: language.Domain) -> str:
    if prompt.words:
        return language.paragraph(rng, domain, prompt.words)
    if prompt.schema is not None:
        return orjson.dumps(_object(prompt.schema, rng, domain, _JSON_DEPTH)).decode()
    judge = _JUDGE.search(asked)
    if judge and (_ONLY.search(asked) or rng.random() < 0.3):
        low, high = sorted((int(judge[1]), int(judge[2])))
        return str(rng.randint(low, high))
    labels = _LABELS.search(asked)
    if labels and _ONLY.search(asked):
        return rng.choice([word for word in re.split(r"[\s,|/]+", labels[1]) if word != "or"])
    tags = list(dict.fromkeys(_TAG.findall(asked)))[:4]
    if tags and _TAGS_ASKED.search(asked):
        long_first = [rng.randint(90, 220), *(rng.randint(8, 30) for _ in tags)]
        return "\n".join(
            f"<{tag}>\n{_thought(rng, domain, words)}\n</{tag}>" for tag, words in zip(tags, long_first, strict=False)
        )
    if _REWRITE.search(asked):
        return language.paragraph(rng, domain, max(12, min(200, prompt.text.count(" ") // 2)))
    if _CODE.search(asked):
        block = f"```python\n{language.code(rng, domain, rng.randint(6, 16))}\n```"
        return (
            block
            if rng.random() < 0.4
            else f"{language.sentence(rng, domain)}\n\n{block}\n\n{language.sentence(rng, domain)}"
        )
    many = _LIST.search(asked)
    if many:
        count = _NUMBERS.get(many[1].lower()) or min(20, int(many[1]) if many[1].isdigit() else 3)
        return "\n".join(f"{place}. {language.question(rng, domain)}" for place in range(1, count + 1))
    if _STEPS.search(asked):
        return _thought(rng, domain, rng.randint(80, 180))
    return language.paragraph(rng, domain, rng.randint(5, 20) if _SHORT.search(asked) else rng.randint(25, 140))


def _thought(rng: Random, domain: language.Domain, words: int) -> str:
    steps: list[str] = []
    count = 0
    while count < words:
        steps.append(language.sentence(rng, domain))
        count += steps[-1].count(" ") + 1
    return "\n".join(f"Step {place}: {step}" for place, step in enumerate(steps, 1)) if len(steps) > 1 else steps[0]


def _object(schema: Any, rng: Random, domain: language.Domain, depth: int) -> JsonObject:
    made = _value(schema if isinstance(schema, dict) else {}, rng, domain, depth)
    if isinstance(made, dict) and made:
        return made
    return {"answer": language.sentence(rng, domain), "confidence": round(rng.random(), 2)}


def _value(schema: JsonObject, rng: Random, domain: language.Domain, depth: int) -> Any:
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else "string"
    if depth == 0:
        return None
    properties = schema.get("properties")
    if kind == "object" or isinstance(properties, dict):
        fields = properties if isinstance(properties, dict) else {}
        return {
            name: _value(part if isinstance(part, dict) else {}, rng, domain, depth - 1) for name, part in fields.items()
        }
    if kind == "array":
        items = schema.get("items")
        return [_value(items if isinstance(items, dict) else {}, rng, domain, depth - 1) for _ in range(rng.randint(1, 3))]
    if kind == "integer":
        return rng.randint(1, 99)
    if kind == "number":
        return round(rng.uniform(0, 100), 2)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    return rng.choice(domain.things) if rng.random() < 0.4 else language.sentence(rng, domain)


def pieces(text: str, count: int = 0) -> list[str]:
    """A text as a stream sends it: pieces of about one word, or exactly `count` of them."""
    if count:
        size = max(1, -(-len(text) // count))
        parts = [text[start : start + size] for start in range(0, len(text), size)]
        return parts + [" "] * (count - len(parts))
    return re.findall(r"\S+\s*|\s+", text)
