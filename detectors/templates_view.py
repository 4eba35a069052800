"""What the requests of one entity have in common, to be read by a person: constant words, and a mark where they vary.

Induced from a list of texts in the way of `sketch.templates`, and shown only where it holds for FEWEST of them or more: a
word is shown when it stands at its place in all of those, so nothing that varied is ever shown. Words come folded and
without signs. The texts are the caller's: nothing is kept here, and the sketch of a profile holds no word to show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from detectors.fingerprint.normalise import UNSPACED, fold
from detectors.fingerprint.outline import outline
from detectors.sketch.templates import Templates

SLOT = "⟨…⟩"
FEWEST = 5
"""Texts; what two or three share may be an accident of theirs, a name for instance."""

_HASH_BYTES = 2
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class View:
    """One template.

    Attributes:
        text: constant words, SLOT between two runs of them.
        texts: how many of those given are under it.
    """

    text: str
    texts: int


def views(texts: Sequence[str]) -> list[View]:
    """Templates of FEWEST texts or more, the most common first; texts that are equal count once."""
    folded = [fold(text) for text in dict.fromkeys(texts)]
    sketch = Templates()
    for text in folded:
        sketch.see(outline(text, ""), 1.0)
    found = sorted(sketch.induced(), key=lambda template: -template.weight)
    shown = [template for template in found if template.weight >= FEWEST]
    words = _constant(folded) if shown else {}
    return [View(_read(template.runs, words), round(template.weight)) for template in shown]


def _read(runs: Sequence[bytes], words: dict[bytes, str]) -> str:
    return f" {SLOT} ".join(
        " ".join(words.get(run[at : at + _HASH_BYTES], SLOT) for at in range(0, len(run), _HASH_BYTES)) for run in runs
    )


def _constant(folded: Sequence[str]) -> dict[bytes, str]:
    """Hash → word, of the words that stand in FEWEST texts or more: of words with one hash the most common one."""
    counts: dict[str, int] = {}
    for text in folded:
        for word in set(_WORD.findall(text)):
            counts[word] = counts.get(word, 0) + 1
    kept = sorted((word for word, count in counts.items() if count >= FEWEST), key=lambda word: (counts[word], word))
    return {outline(word, ""): word for word in kept}
