"""Identifiers and randomness of the simulated model API: all of it follows from the seed and the order of requests."""

from __future__ import annotations

from itertools import count

from xxhash import xxh3_64_intdigest

from app.simulate.answers import Prompt, digest

_REMEMBERED = 65_536
"""Prompts whose repetitions are told apart; beyond it counting starts anew."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Dice:
    """Source of randomness of one server."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._serial = count(1)
        self._asked: dict[int, int] = {}

    def sources(self, prompt: Prompt, choices: int, *, fixed: bool) -> list[int]:
        """One number per choice. A sampled prompt that comes again gives new numbers, a `fixed` one the same."""
        root = digest(prompt, self.seed)
        turn = 0
        if not fixed:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            turn = self._asked.get(root, 0)
            self._asked[root] = turn + 1
        return [xxh3_64_intdigest(b"%d/%d" % (turn, place), root) for place in range(choices)]

    def identifier(self, prefix: str, length: int = 24) -> str:
        """A new id as the providers write them, e.g. ``chatcmpl-…``."""
        value = xxh3_64_intdigest(b"%d" % next(self._serial), self.seed)
        value |= xxh3_64_intdigest(value.to_bytes(8, "big"), self.seed) << 64
        letters = []
        for _ in range(length):
            value, rest = divmod(value, len(_ALPHABET))
            letters.append(_ALPHABET[rest])
            value = value or xxh3_64_intdigest("".join(letters).encode(), self.seed)
        return prefix + "".join(letters)
