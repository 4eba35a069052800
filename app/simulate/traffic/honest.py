"""Honest kinds of customer, one script each. The last two are hard negatives: they look like extraction and are not.

Every script draws its own templates from the random source first, so that two keys of one kind are two customers. Pauses
are seconds between an answer and the next request; they are those of the demonstration, in which a minute stands for a
working day, so a person here types faster than people do.
"""

from __future__ import annotations

from random import Random
from typing import Any

from app.simulate import language
from app.simulate.traffic.calls import CHAT, COMPLETIONS, MESSAGES, Call, Script

_MODELS = ("still-large-2", "still-small-2")
_FOLLOW_UPS = (
    "Thanks! {question}",
    "Could you say that in two sentences?",
    "Hm, and what if the {thing} is {trait}?",
    "I meant the {trait} one, sorry. {question}",
    "ok and for {name}?",
    "Does that also hold for a {thing}?",
    "That does not work for me, the {thing} is too {trait}. Other ideas?",
)


def _pause(rng: Random, typical_sec: float, spread: float = 0.6) -> float:
    """Log-normal around its median, at most eight times that."""
    return min(8 * typical_sec, typical_sec * rng.lognormvariate(0.0, spread))


def _follow_up(rng: Random, domain: language.Domain) -> str:
    return rng.choice(_FOLLOW_UPS).format(
        question=language.question(rng, domain),
        thing=rng.choice(domain.things),
        trait=rng.choice(domain.traits),
        name=language.name(rng),
    )


def human_chat(rng: Random) -> Script:
    """A person: a few turns about one thing, then about another."""
    model = rng.choice(_MODELS)
    while True:
        domain = language.domain_of(rng)
        opening = rng.choice(("", f"Hi, {language.sentence(rng, domain)} ", f"{language.sentence(rng, domain)} "))
        messages: list[dict[str, Any]] = []
        text = opening + language.question(rng, domain)
        for _ in range(rng.choice((1, 2, 3, 3, 4, 6))):
            messages.append({"role": "user", "content": text})
            answer = yield Call(CHAT, {"model": model, "messages": list(messages), "stream": True}, _pause(rng, 1.1))
            if not answer.ok:
                break
            messages.append({"role": "assistant", "content": answer.text})
            text = _follow_up(rng, domain)


def code_assistant(rng: Random) -> Script:
    """An editor: completions in bursts while somebody types, and a question about the code now and then."""
    model = rng.choice(_MODELS)
    stop = ["\n\n", "\ndef "]
    system = f"You are the coding assistant of {language.name(rng)}. Answer briefly and prefer standard library code."
    while True:
        domain = language.domain_of(rng)
        source = language.code(rng, domain, rng.randint(10, 30))
        for _ in range(rng.randint(3, 9)):
            cut = rng.randint(len(source) // 3, len(source))
            body = {"model": model, "prompt": source[:cut], "max_tokens": 48, "temperature": 0.1, "stop": stop}
            yield Call(COMPLETIONS, body, _pause(rng, 0.5))
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for turn in range(rng.randint(1, 3)):
            wish = rng.choice(("Why does this fail?", "Refactor this.", "Add a test for this.", "Can this be faster?"))
            block = f"\n```python\n{source}\n```" if turn == 0 else ""
            messages.append({"role": "user", "content": f"{wish} {language.question(rng, domain)}{block}"})
            answer = yield Call(CHAT, {"model": model, "messages": list(messages), "stream": True}, _pause(rng, 1.2))
            if not answer.ok:
                break
            messages.append(answer.message)


def templated_pipeline(rng: Random) -> Script:
    """A program: one template over texts that are always new, answers in a schema, temperature 0."""
    domain = language.domain_of(rng)
    fields = rng.sample(("title", "place", "amount", "sender", "due_date", "category", "status"), 4)
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in fields},
        "required": fields,
        "additionalProperties": False,
    }
    head = f"Read the {rng.choice(domain.things)} record of {language.name(rng)} and fill in {', '.join(fields)}."
    wanted = {"type": "json_schema", "json_schema": {"name": "record", "strict": True, "schema": schema}}
    while True:
        text = f"{head}\n\nRecord:\n{language.paragraph(rng, domain, rng.randint(60, 160))}"
        messages = [{"role": "user", "content": text}]
        body = {"model": "still-small-2", "messages": messages, "temperature": 0, "response_format": wanted}
        yield Call(CHAT, body, _pause(rng, 0.6, 0.25))


def tool_agent(rng: Random) -> Script:
    """An agent: one constant set of tools, loops of call and result until the model speaks."""
    domain = language.domain_of(rng)
    tools = [_tool(rng, domain) for _ in range(rng.randint(3, 5))]
    system = f"You are the operations agent of {language.name(rng)}. Use the tools; report when the job is done."
    while True:
        task = f"{language.sentence(rng, domain)} Please {rng.choice(domain.acts)} the {rng.choice(domain.things)}."
        messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
        for _ in range(rng.randint(3, 8)):
            body = {"model": "claude-still-4", "max_tokens": 1024, "system": system, "tools": tools}
            answer = yield Call(MESSAGES, {**body, "messages": list(messages)}, _pause(rng, 0.7))
            if not answer.ok or not answer.tools:
                break
            messages.append(answer.message)
            results = [
                {"type": "tool_result", "tool_use_id": call_id, "content": language.sentence(rng, domain)}
                for call_id, _ in answer.tools
            ]
            messages.append({"role": "user", "content": results})


def _tool(rng: Random, domain: language.Domain) -> dict[str, Any]:
    name = language.identifier(rng, domain)
    inputs = {rng.choice(domain.things).replace("-", "_"): {"type": "string"}, "limit": {"type": "integer"}}
    return {
        "name": name,
        "description": language.sentence(rng, domain),
        "input_schema": {"type": "object", "properties": inputs, "required": list(inputs)},
    }


def support_bot(rng: Random) -> Script:
    """A product: one key, many end users, one policy as system prompt, a routing call before each dialogue."""
    domain = language.domain_of(rng)
    shop = language.name(rng)
    rules = " ".join(language.sentence(rng, domain) for _ in range(6))
    system = f"You are the support agent of {shop}. Be polite and stay within the policy. Policy: {rules}"
    intents = "billing, delivery, returns, technical, other"
    while True:
        problem = f"{language.sentence(rng, domain)} {language.question(rng, domain)}"
        route = [
            {"role": "system", "content": f"Which intent has the message? One of: {intents}. Answer with one word only."},
            {"role": "user", "content": problem},
        ]
        yield Call(CHAT, {"model": "still-small-2", "messages": route, "temperature": 0, "max_tokens": 4}, _pause(rng, 0.8))
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for _ in range(rng.randint(2, 4)):
            messages.append({"role": "user", "content": problem})
            answer = yield Call(
                CHAT, {"model": "still-large-2", "messages": list(messages), "temperature": 0.4}, _pause(rng, 0.8)
            )
            if not answer.ok:
                break
            messages.append(answer.message)
            problem = _follow_up(rng, domain)


def llm_judge(rng: Random) -> Script:
    """Hard negative: a constant rubric over answers of a customer's own product, verdicts of one number."""
    domain = language.domain_of(rng)
    criteria = rng.sample(("helpful", "correct", "polite", "complete", "on topic", "safe"), 3)
    system = (
        f"You check answers of the {language.name(rng)} assistant. Judge whether an answer is {', '.join(criteria)}. "
        "Give one score from 1 to 10 and reply with only the number."
    )
    while True:
        question, answer = language.question(rng, domain), language.paragraph(rng, domain, rng.randint(25, 90))
        text = f"Question: {question}\n\nAnswer: {answer}"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        yield Call(
            CHAT, {"model": "still-large-2", "messages": messages, "temperature": 0, "max_tokens": 4}, _pause(rng, 0.6, 0.3)
        )


def eval_harness(rng: Random) -> Script:
    """Hard negative: a benchmark in multiple choice, one output token with log-probabilities, no bias."""
    subject = language.domain_of(rng)
    head = f"The following are multiple choice questions about {subject.name}. Answer with one letter."
    while True:
        options = "\n".join(f"{letter}. {language.sentence(rng, subject)}" for letter in "ABCD")
        text = f"{head}\n\n{language.question(rng, subject)}\n{options}\nAnswer:"
        messages = [{"role": "user", "content": text}]
        body = {"model": "still-large-2", "messages": messages, "temperature": 0, "max_tokens": 1}
        yield Call(CHAT, {**body, "logprobs": True, "top_logprobs": 5}, _pause(rng, 0.5, 0.3))


def viral_app(app: Random, rng: Random) -> Script:
    """A user of an app that went viral: the app's system prompt and settings, the user's own talk."""
    system = (
        f"You are {language.name(app)}, the friendly companion of a {app.choice(('travel', 'cooking', 'garden'))} app. "
        "Be warm and brief, ask back when something is unclear, and never give medical or legal advice."
    )
    while True:
        domain = language.domain_of(rng)
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        text = language.question(rng, domain)
        for _ in range(rng.choice((1, 2, 2, 3, 5))):
            messages.append({"role": "user", "content": text})
            body = {"model": "still-small-2", "messages": list(messages), "temperature": 0.6, "max_tokens": 400}
            answer = yield Call(CHAT, body, _pause(rng, 40.0))
            if not answer.ok:
                break
            messages.append({"role": "assistant", "content": answer.text})
            text = _follow_up(rng, domain)
