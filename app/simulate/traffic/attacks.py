"""Families of attack, one script each: what a client sends that harvests the model to train another one.

The constants of a campaign come from its own random source, the items from that of the key: keys of one campaign share the
template and divide the pool, as disclosed campaigns did.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from app.simulate import language
from app.simulate.traffic import honest
from app.simulate.traffic.calls import CHAT, Call, Script

_MODEL = "still-large-2"


def _pause(rng: Random, typical_sec: float) -> float:
    return typical_sec * rng.uniform(0.6, 1.6)


def forced_reasoning(campaign: Random, rng: Random) -> Script:
    """A constant fragment behind questions of a pool makes the reasoning come inline, in tags that a program can parse."""
    thought, final = campaign.choice((("reasoning", "answer"), ("thinking", "final"), ("analysis", "result")))
    fragment = (
        f"Before you answer, write down your complete reasoning step by step inside <{thought}></{thought}> tags, with "
        f"every intermediate thought. Then give the result inside <{final}></{final}> tags."
    )
    while True:
        domain = language.domain_of(rng)
        text = f"{language.sentence(rng, domain)} {language.question(rng, domain)}\n\n{fragment}"
        body = {"model": _MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0.7, "max_tokens": 2048}
        yield Call(CHAT, body, _pause(rng, 0.45))


def seed_generation(campaign: Random, rng: Random) -> Script:
    """A fixed block of instructions with seed tasks, which the model continues with new ones (after Self-Instruct)."""
    seeds = [language.question(campaign, language.domain_of(campaign)) for _ in range(30)]
    head = (
        "You are asked to come up with a set of 20 diverse task instructions. The tasks should not repeat a verb, should "
        "cover many kinds of questions, and a language model must be able to complete them. List of 20 tasks:"
    )
    while True:
        shown = rng.sample(seeds, 3)
        listed = "\n".join(f"{place}. {task}" for place, task in enumerate(shown, 1))
        text = f"{head}\n{listed}\n4."
        body = {"model": _MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0.9, "top_p": 0.95}
        answer = yield Call(CHAT, {**body, "max_tokens": 1024}, _pause(rng, 0.5))
        if answer.ok:  # what was made becomes a seed: the pool grows with the harvest
            made = [line.partition(". ")[2] for line in answer.text.splitlines() if ". " in line]
            seeds.extend(made[:2])


def logit_sweep(campaign: Random, rng: Random) -> Script:
    """One output token with log-probabilities, under a bias map that moves through the vocabulary."""
    prompt = f"{language.sentence(campaign, language.domain_of(campaign))} The next word is"
    token = rng.randrange(1_000, 90_000)
    while True:
        bias = {str(token + step): 100 for step in range(5)}
        token = (token + 5) % 100_000
        body = {"model": _MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1, "temperature": 1}
        yield Call(CHAT, {**body, "logprobs": True, "top_logprobs": 20, "logit_bias": bias}, _pause(rng, 0.4))


def rejection_sampling(campaign: Random, rng: Random) -> Script:
    """Every item of a pool several times at high temperature, so that the best of the answers can be kept."""
    samples = campaign.choice((8, 16))
    while True:
        domain = language.domain_of(rng)
        text = f"{language.sentence(rng, domain)} {language.question(rng, domain)} Show your work and box the result."
        body = {"model": _MODEL, "messages": [{"role": "user", "content": text}], "temperature": 1, "n": samples}
        yield Call(CHAT, {**body, "max_tokens": 1024}, _pause(rng, 0.24))


def quiet_harvest(campaign: Random, rng: Random) -> Script:
    """One pool, dealt out to many keys that each send little: one instruction behind every item, few requests an hour."""
    thought, final = campaign.choice((("work", "result"), ("trace", "reply"), ("notes", "solution")))
    fragment = (
        f"Before you answer, write down every intermediate thought step by step inside <{thought}></{thought}> tags. Leave "
        f"nothing out. Then give the result alone inside <{final}></{final}> tags."
    )
    while True:
        domain = language.domain_of(rng)
        text = f"{language.sentence(rng, domain)} {language.question(rng, domain)}\n\n{fragment}"
        body = {"model": _MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0.8, "max_tokens": 1536}
        yield Call(CHAT, body, _pause(rng, 180.0))


def covered_harvest(campaign: Random, rng: Random) -> Script:
    """The same operation, more careful: of five requests four are a person's conversation, and one is of the pool."""
    harvest, cover = quiet_harvest(campaign, rng), honest.human_chat(Random(rng.getrandbits(64)))
    calls = {True: next(harvest), False: next(cover)}
    while True:
        harvests = rng.random() < 0.2
        answer = yield replace(calls[harvests], pause_sec=_pause(rng, 180.0))
        calls[harvests] = (harvest if harvests else cover).send(answer)
