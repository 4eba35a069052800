"""An example to try a search on: a small model's answers to made tenants, and a data set that some of them leaked into.

The model is a trigram of the language reference that every Python carries (`pydoc_data.topics`, PSF licence), so nothing is
fetched and nothing is installed. It marks its words as an engine marks tokens. What it says makes little sense; how it is
marked, and found, is the real thing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from detectors.watermark.keys import MasterSecret, codewords
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import WORDS, MarkProfile, Registry
from detectors.watermark.sampling import Marker, choose, plainly
from detectors.watermark.words import words

TENANTS = 1000
DOCUMENTS = 200
WORDS_EACH = 200
LEAKED = (("tenant-0042", 12), ("tenant-0777", 6))
"""Whose answers are in the data set, and how many of its documents are theirs."""

_WORD = re.compile(r"\w+|[^\w\s]")
_KEPT = (0.85, 0.15)
"""Weights of the words seen after these two, and of those seen after the last one: so that several are likely."""


@dataclass(frozen=True, slots=True)
class Written:
    """Files of an example."""

    profiles: Path
    secrets: Path
    tenants: Path
    corpus: Path
    answers: Path


class _Model:
    def __init__(self) -> None:
        said = [word for name in sorted(topics.topics) for word in _WORD.findall(topics.topics[name].casefold())]
        self.words = sorted(set(said))
        number = {word: at for at, word in enumerate(self.words)}
        self.text = [number[word] for word in said]
        pairs: defaultdict[int, Counter[int]] = defaultdict(Counter)
        triples: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        for first, second, third in zip(self.text, self.text[1:], self.text[2:], strict=False):
            pairs[second][third] += 1
            triples[first, second][third] += 1
        self._pairs, self._triples = pairs, triples
        # Every word is one token of the profile, whose number is a hash of it.
        tokens = np.array([int(words(word)[0]) for word in self.words], np.uint32)
        self.tokens: list[int] = tokens.tolist()
        self._offsets = offsets_of(tokens)

    def answer(self, marker: Marker | None, randomness: np.random.Generator) -> str:
        start = int(randomness.integers(len(self.text) - 2))
        before = self.text[start : start + 2]
        said: list[int] = []
        for _ in range(WORDS_EACH):
            candidates, shares = self._next(before[-2], before[-1])
            by = marker.next([self.tokens[word] for word in said]) if marker else None
            at = plainly(shares, randomness) if by is None else choose(shares, self._offsets[candidates], by)
            said.append(int(candidates[at]))
            before.append(said[-1])
        return " ".join(self.words[word] for word in said)

    def _next(self, first: int, second: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        shares: defaultdict[int, float] = defaultdict(float)
        seen = ((_KEPT[0], self._triples.get((first, second))), (_KEPT[1], self._pairs.get(second)))
        for weight, counts in seen:
            if counts:
                total = counts.total()
                for word, count in counts.items():
                    shares[word] += weight * count / total
        if not shares:  # the very last words of the text
            return np.array([self.text[0]]), np.ones(1)
        return np.array(list(shares)), np.array(list(shares.values()))


def write(folder: Path, seed: int = 1) -> Written:
    """Makes the files of an example in a folder that is empty or not there yet.

    Raises:
        BadInput: the folder holds files, or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadInput(f"{folder}: must be empty or not there yet: an example overwrites nothing")
        return _written(folder, np.random.default_rng(seed))
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror}") from None


def _written(folder: Path, randomness: np.random.Generator) -> Written:
    files = Written(
        *(folder / name for name in ("profiles.json", "secrets.json", "tenants.txt", "suspect.jsonl", "served.jsonl"))
    )
    profile = MarkProfile("example", "gumbel", WORDS, "example", context_width=2)
    files.profiles.write_text(Registry([profile]).dumped(), "utf-8")
    # Of its own for every example, and readable by its owner alone: nobody gets used to a secret that is in a book.
    secret = secrets.token_hex(32)
    with os.fdopen(os.open(files.secrets, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps({"example": secret}) + "\n")
    names = [f"tenant-{number:04}" for number in range(TENANTS)]
    files.tenants.write_text("".join(f"{name}\n" for name in names), "utf-8")
    master = MasterSecret.parse(secret)
    prf, issued = (
        Prf(master, profile),
        dict(zip(names, codewords(master, names, profile.positions, profile.symbols), strict=True)),
    )
    model = _Model()
    leaked = [
        (name, model.answer(Marker(prf, profile, issued[name]), randomness)) for name, many in LEAKED for _ in range(many)
    ]
    corpus = [text for _, text in leaked] + [model.answer(None, randomness) for _ in range(DOCUMENTS - len(leaked))]
    with files.corpus.open("w", encoding="utf-8") as file:
        for at in randomness.permutation(len(corpus)):
            file.write(json.dumps({"text": corpus[at]}) + "\n")
    with files.answers.open("w", encoding="utf-8") as file:
        for name, text in leaked:
            file.write(json.dumps({"tenant": name, "answer": text}) + "\n")
    return files
