"""Cost of the fingerprints of one exchange, its prompt and its answer together: by part, length and script.

    python -m benchmarks.fingerprints [--events 256] [--rounds 7]

Prompts are invented words of each script by Zipf's law, with the numbers, quotations, labels and lists that prompts hold;
an answer is a third as long, and every third exchange has a system prompt. A token is taken for 4 characters of Latin text,
3.3 of Cyrillic, 1.4 of Chinese, about what vocabularies of 200,000 make of them. Text beyond the bounds of
`fingerprint.normalise` is not read, so the longest Latin and Cyrillic prompts cost no more than some 450 tokens do.

Batched: exchanges one after the other, as worker and replay take them. Single: one at a time, with other memory touched in
between, so that nothing is left in the nearest caches. A figure is the least of the rounds, exchange by exchange, on one
core; the parts are timed where they are called, so that the clock itself costs them some tenths of a microsecond. The exit
status is 1 when the fingerprints of a 300-token prompt cost more than the goal.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from detectors.event import Event
from detectors.fingerprint import fingerprint, request

TOKENS = (30, 100, 300, 1000)
GOAL_TOKENS, GOAL_US = 300, 500.0
CHARS_PER_TOKEN = {"latin": 4.0, "cyrillic": 3.3, "chinese": 1.4}
LETTERS = {
    "latin": "etaoinshrdlucmfwypvbgk",
    "cyrillic": "оеаинтсрвлкмдпуяыьгзбч",
    "chinese": "".join(map(chr, range(0x4E00, 0x4E00 + 900))),
}
SHORT = {
    "latin": ("the", "of", "and", "to", "a", "in", "is", "that", "for", "it"),
    "cyrillic": ("и", "в", "не", "на", "что", "с", "как", "это", "по", "из"),
    "chinese": tuple("的一是不了在有人这中"),
}
VOCABULARY = 5000
HEAD, TAIL, ANSWER = 1024, 512, 2048
"""Characters that a gateway sends along unless it is told otherwise."""

PARTS = {
    "fold": ("pieces", "fold"),
    "tokens": ("tokens",),
    "hashes and shingles": ("vocabulary", "sequence", "shingles"),
    "ends and content": ("ends", "content"),
    "SimHash": ("simhash",),
    "MinHash": ("minhash",),
    "skeleton grams": ("grams",),
    "echo samples": ("sample",),
    "outline": ("outline",),
    "embedding": ("embedding",),
    "script and language": ("language",),
    "output contract": ("output_contract",),
    "intents": ("intents",),
    "capability": ("capability",),
    "harvest ratio": ("harvest",),
}
"""Names in `fingerprint.request` by part."""

_CACHE_BYTES = 4 << 20


def prompts(script: str, tokens: int, count: int, seed: int = 1) -> list[Event]:
    """Exchanges with prompts of about so many tokens; no two alike."""
    dice = random.Random(f"{script} {tokens} {seed}")
    words = _vocabulary(script)
    found = []
    for number in range(count):
        user = _text(script, round(tokens * CHARS_PER_TOKEN[script]), words, dice)
        answer = _text(script, len(user) // 3 + 1, words, dice)
        system = _text(script, 200, words, dice) if number % 3 == 0 else ""
        found.append(
            Event(
                event_id=str(number), at_us=1_790_000_000_000_000, key_id="k", dialect="openai", route="chat", model="m",
                roles="su" if system else "u", message_count=1 + bool(system), user_turns=1,
                input_tokens=tokens + len(system) // 4, output_tokens=max(1, tokens // 3),
                user_head=user[:HEAD], user_tail=user[-TAIL:] if len(user) > HEAD else "", user_chars=len(user),
                system_head=system, system_chars=len(system), answer_head=answer[:ANSWER], answer_chars=len(answer),
            )
        )  # fmt: skip
    return found


def batched(events: Sequence[Event], rounds: int) -> float:
    """Microseconds per exchange, one after the other."""
    return _least(events, rounds, lambda: None)


def single(events: Sequence[Event], rounds: int) -> float:
    """Microseconds per exchange, each after other memory was touched."""
    other = np.ones(_CACHE_BYTES, np.uint8)

    def between() -> None:
        np.add(other, np.uint8(1), out=other)

    return _least(events, rounds, between)


def _least(events: Sequence[Event], rounds: int, between: Callable[[], None]) -> float:
    least = np.full(len(events), np.inf)
    for _ in range(rounds):
        for number, event in enumerate(events):
            between()
            before = time.perf_counter_ns()
            fingerprint(event)
            least[number] = min(least[number], time.perf_counter_ns() - before)
    return float(least.mean()) / 1e3


def parts(events: Sequence[Event], rounds: int) -> dict[str, float]:
    """Microseconds per exchange by part, and of the rest, one exchange after the other."""
    least = {part: np.full(len(events), np.inf) for part in [*PARTS, "all"]}
    with _timed() as spent:
        for _ in range(rounds):
            for number, event in enumerate(events):
                spent.clear()
                before = time.perf_counter_ns()
                fingerprint(event)
                spent["all"] = time.perf_counter_ns() - before
                for part, figures in least.items():
                    figures[number] = min(figures[number], spent[part])
    found = {part: float(figures.mean()) / 1e3 for part, figures in least.items()}
    found["the rest, and the clock"] = 2.0 * found["all"] - sum(found.values())
    return found


@contextmanager
def _timed() -> Iterator[defaultdict[str, int]]:
    """While it lasts, each part adds the nanoseconds it takes to what is given."""
    spent: defaultdict[str, int] = defaultdict(int)
    names = {name: part for part, names in PARTS.items() for name in names}
    whole = {name: getattr(request, name) for name in names}

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            before = time.perf_counter_ns()
            result = function(*arguments)
            spent[part] += time.perf_counter_ns() - before
            return result

        return call

    try:
        for name, part in names.items():
            setattr(request, name, timed(whole[name], part))
        yield spent
    finally:
        for name, function in whole.items():
            setattr(request, name, function)


def _vocabulary(script: str) -> list[str]:
    dice = random.Random(script)
    most = 2 if script == "chinese" else 11
    letters = LETTERS[script]
    often = [1.0 / (3 + place) for place in range(len(letters))]
    return [
        *SHORT[script],
        *("".join(dice.choices(letters, often, k=dice.randint(min(3, most), most))) for _ in range(VOCABULARY)),
    ]


def _text(script: str, chars: int, words: Sequence[str], dice: random.Random) -> str:
    """Sentences of words by Zipf's law: every eighth thing is a number, a quotation, a label or an item of a list."""
    gap = "" if script == "chinese" else " "
    stop = "。" if script == "chinese" else ". "
    text = ""
    while len(text) < chars:
        said = gap.join(words[int(len(words) ** dice.random()) - 1] for _ in range(dice.randint(5, 14)))
        text += said.capitalize() + stop
        extra = dice.randrange(8)
        if extra == 0:
            text += f"{dice.randint(2, 99)}{gap}{dice.choice(words)}, {dice.randint(1, 9)}.{dice.randint(10, 99)}{stop}"
        elif extra == 1:
            text += f'"{gap.join(dice.choices(words, k=4))}"{stop}'
        elif extra == 2:
            text += f"\n{dice.choice(words).capitalize()}: {dice.choice(words)}\n"
        elif extra == 3:
            text += f"\n{dice.randint(1, 9)}. {gap.join(dice.choices(words, k=6))}\n"
    return text[:chars]


def main() -> int:
    """Prints both tables; the exit status is 1 when the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fingerprints", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=256, help="exchanges of each kind (default: 256)")
    parser.add_argument("--rounds", type=int, default=7, help="of which the least counts (default: 7)")
    args = parser.parse_args()
    if min(args.events, args.rounds) < 1:
        parser.error("--events and --rounds must be 1 or more")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    events = {(script, tokens): prompts(script, tokens, args.events) for script in LETTERS for tokens in TOKENS}
    print(f"{'µs per exchange':<26}" + "".join(f"{tokens:>8,} tokens" for tokens in TOKENS))
    missed = False
    for script in LETTERS:
        figures = [batched(events[script, tokens], args.rounds) for tokens in TOKENS]
        missed = missed or figures[TOKENS.index(GOAL_TOKENS)] > GOAL_US
        print(f"{f'{script}, batched':<26}" + "".join(f"{figure:>15.0f}" for figure in figures))
        figures = [single(events[script, tokens], args.rounds) for tokens in TOKENS]
        print(f"{f'{script}, single':<26}" + "".join(f"{figure:>15.0f}" for figure in figures))
    found = {script: parts(events[script, GOAL_TOKENS], args.rounds) for script in LETTERS}
    print(f"\n{f'{GOAL_TOKENS} tokens, by part':<26}" + "".join(f"{script:>15}" for script in LETTERS))
    for part in found["latin"]:
        print(f"{part:<26}" + "".join(f"{found[script][part]:>15.1f}" for script in LETTERS))
    print(f"\ngoal: {GOAL_TOKENS} tokens, batched, in at most {GOAL_US:.0f} µs: {'missed' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
