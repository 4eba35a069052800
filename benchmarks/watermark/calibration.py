"""How often an innocent codeword falls below a p-value: on a templated corpus and on prose, with other keys guilty."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pydoc_data import topics

import numpy as np
from scipy.stats import binom

from benchmarks.watermark.texts import Tokens, Writer, profile, secret, table, tenants, words_of
from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.conditional import ConditionalNull
from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf
from detectors.watermark.single import log10_tails
from detectors.watermark.words import words

NAME = "calibration"


def add(parser: argparse.ArgumentParser) -> None:
    """How many decoys."""
    parser.add_argument("--decoys", type=int, default=100_000, help="codewords never issued (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    low, high = binom.interval(0.99, args.decoys, 1e-3)
    band = f"{low / args.decoys:.2e} to {high / args.decoys:.2e}"
    print(f"{args.decoys:,} codewords that nobody has; at 1e-3 the 99 % binomial band is {band}\n")
    table(
        (
            "corpus",
            "n-grams left",
            "pooled test at 1e-2",
            "at 1e-3",
            "both tests at 1e-3",
            "model channel, 20,000 decoys at 1e-3",
            "repeats counted too, at 1e-3",
        ),
        _rows(args.decoys),
    )
    return 0


def _rows(decoys: int) -> Iterator[tuple[object, ...]]:
    kind = profile()
    master = secret(7)
    prf = Prf(master, kind)
    codes = words_of(master, tenants(decoys), kind)
    writer = Writer(prf, kind, 1.0, 3)
    guilty = words_of(secret(8), tenants(5), kind)
    mixed = [writer.marked(guilty[number % 5], 250) for number in range(100)]
    corpora = {
        "templated: 2,000 letters of one form": templated(2000),
        "prose: the language reference, by paragraphs": prose(),
        "five other keys' text, 100 documents": mixed,
    }
    for name, documents in corpora.items():
        evidence = Evidence.of(prf, kind, documents)
        null = ConditionalNull(evidence.pooled())
        p = null.log_tail(null.scores(codes)) / np.log(10)
        both = attribute(evidence, [Roster(tenants(decoys), codes, np.arange(kind.positions))], best=0).log10_p[0]
        channel, counted = evidence.decoys(20_000)
        model = log10_tails(kind, np.full(len(channel), counted), channel)
        yield (
            f"{name} ({len(documents):,})",
            f"{len(evidence.seeds):,}",
            f"{(p <= -2).mean():.2e}",
            f"{(p <= -3).mean():.2e}",
            f"{(both <= -3).mean():.2e}",
            f"{(model <= -3).mean():.2e}",
            f"{_naive(prf, documents):.2e}",
        )


def _naive(prf: Prf, documents: list[Tokens]) -> float:
    """What the model channel would show without de-duplication over the corpus: repeats are evidence of repetition."""
    kind = profile()
    steps = [prf.steps(tokens) for tokens in documents]
    seeds = np.concatenate([part for part, _ in steps])
    positions = np.concatenate([part for _, part in steps])
    tokens = np.concatenate([text[prf.context_width :] for text in documents])
    some = slice(0, 1 << 15)
    evidence = Evidence(kind, seeds[some], tokens[some], positions[some], np.array([0, len(seeds[some])]))
    score, counted = evidence.decoys(20_000)
    return float((log10_tails(kind, np.full(len(score), counted), score) <= -3).mean())


def templated(count: int) -> list[Tokens]:
    """Letters of one form, of which a few words differ."""
    names = ["Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"]
    things = ["lamp", "chair", "kettle", "desk", "rug", "mirror"]
    randomness = np.random.default_rng(1)
    letters = []
    for _ in range(count):
        name, thing = randomness.choice(names), randomness.choice(things)
        letters.append(
            f"Dear {name}, thank you for your order of one {thing}. It was sent today and will reach you within "
            f"{randomness.integers(2, 9)} days. If anything about the {thing} is not as you expected, write to us and we "
            f"will make it right. With kind regards, the team. Order number {randomness.integers(1000, 9999)}."
        )
    return [words(letter) for letter in letters]


def prose() -> list[Tokens]:
    """Paragraphs of real English."""
    return [words(part) for text in topics.topics.values() for part in text.split("\n\n") if part.strip()]
