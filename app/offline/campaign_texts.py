"""What the members of a campaign write alike, for the report: constant words, never what varied.

A replay keeps no text. After its run the log is read once more, for the members of reported campaigns alone; an archive
holds no texts, so nothing is shown of it. A word is shown where it stands in FEWEST texts of FEWEST_KEYS different keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from app.offline.linking import Reported
from detectors.event import Event
from detectors.fingerprint.normalise import UNSPACED, fold
from detectors.templates_view import FEWEST, SLOT, View, views

MOST_TEXTS = 200
"""Read of a campaign, as evenly from its members as can be."""

FEWEST_KEYS = 3
MOST_VIEWS = 3
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
_SLOTS = re.compile(rf"(?:{SLOT}\s*)+")

Texts = dict[str, list[str]]
"""Key id → its texts."""


def seen_again(events: Iterator[Event], campaigns: Sequence[Reported]) -> list[list[View]]:
    """Per campaign what its members write alike, the most common first; empty where that is nothing.

    Args:
        events: of the members, in order; read until there are enough.
        campaigns: whose members they are.
    """
    texts: list[Texts] = [{key: [] for key in one.keys} for one in campaigns]
    homes: dict[str, list[int]] = {}
    for number, held in enumerate(texts):
        for key in held:
            homes.setdefault(key, []).append(number)
    each = [max(2, -(-MOST_TEXTS // max(1, len(held)))) for held in texts]
    left = [MOST_TEXTS] * len(texts)
    for event in events:
        if not event.user_head:
            continue
        for number in homes.get(event.key_id, ()):
            mine = texts[number][event.key_id]
            if left[number] and len(mine) < each[number]:
                mine.append(_text(event))
                left[number] -= 1
        if not any(left):
            break
    return [alike(held) for held in texts]


def alike(texts: Texts) -> list[View]:
    """Templates of the texts of several keys, without a word that fewer than FEWEST_KEYS of them write."""
    words: dict[str, tuple[int, set[str]]] = {}
    for key, held in texts.items():
        for text in dict.fromkeys(held):
            for word in set(_WORD.findall(fold(text))):
                count, keys = words.get(word, (0, set()))
                words[word] = count + 1, keys | {key}
    shown = {word for word, (count, keys) in words.items() if count >= FEWEST and len(keys) >= FEWEST_KEYS}
    found = []
    for view in views([text for held in texts.values() for text in held])[:MOST_VIEWS]:
        kept = " ".join(word if word in shown else SLOT for word in view.text.split())
        kept = _SLOTS.sub(f"{SLOT} ", kept).strip()
        if kept != SLOT:
            found.append(View(kept, view.texts))
    return found


def _text(event: Event) -> str:
    """Head and tail of the newest turn; a short text is whole in its head."""
    whole = event.user_chars <= len(event.user_head) or not event.user_tail
    return event.user_head if whole else f"{event.user_head}\n{event.user_tail}"
